// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package suspend

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct {
		value  string
		d      time.Duration
		reason string
		err    string
	}{
		"a duration and a reason":         {"1h INC-4711 bad rollout", time.Hour, "INC-4711 bad rollout", ""},
		"spaces around":                   {"  90m   INC-4711 ", 90 * time.Minute, "INC-4711", ""},
		"the longest":                     {"24h why", 24 * time.Hour, "why", ""},
		"a reason in another script":      {"1h 紧急回滚", time.Hour, "紧急回滚", ""},
		"longer than the longest":         {"24h0m1s why", 0, "", "at most 24h0m0s, is 24h0m1s"},
		"no reason":                       {"1h", 0, "", "a reason has to follow the duration"},
		"nothing but spaces for a reason": {"1h   ", 0, "", "a reason has to follow the duration"},
		"a reason first":                  {"INC-4711 1h", 0, "", `"INC-4711" is no duration, such as 30m or 2h`},
		"a number":                        {"60 why", 0, "", `"60" is no duration`},
		"empty":                           {"", 0, "", `"" is no duration`},
		"no time":                         {"0s why", 0, "", "more than zero, is 0s"},
		"less than no time":               {"-1h why", 0, "", "more than zero, is -1h0m0s"},
		"two lines":                       {"1h why\nbecause", 0, "", "one line of plain text"},
		"a control character":             {"1h why\x1b[31m", 0, "", "one line of plain text"},
		"a novel":                         {"1h " + strings.Repeat("x", 201), 0, "", "at most 200 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			d, reason, err := Parse(tt.value, 24*time.Hour)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if d != tt.d || reason != tt.reason {
				t.Errorf("%s %q, want %s %q", d, reason, tt.d, tt.reason)
			}
		})
	}
}
