// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package log

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func line(minute int, edits ...func(*record.Record)) record.Record {
	r := record.Record{Line: audit.Line{
		Time: noon.Add(time.Duration(minute) * time.Minute), Decision: "d1", Origin: "request", Operation: "UPDATE", Verdict: "refuse", Mode: "Enforce", Class: "default",
		Reason: "git says otherwise", User: &audit.LineUser{Username: "alice"},
		Object:  audit.LineObject{Kind: "Deployment", Namespace: "shop", Name: "web"},
		Changes: []audit.LineField{{Path: "spec.replicas"}},
	}}
	for _, edit := range edits {
		edit(&r)
	}
	return r
}

func printed(t *testing.T, each bool, records ...record.Record) []string {
	t.Helper()
	var out strings.Builder
	table := newTable(&out, time.UTC, each)
	for _, r := range records {
		table.add(r)
	}
	if err := table.flush(io.Discard, false); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}

func TestWhatIsRefusedAgainAndAgainIsOneLine(t *testing.T) {
	permitted := func(r *record.Record) { r.Verdict = "permit" }
	other := func(r *record.Record) { r.Changes = []audit.LineField{{Path: "spec.paused"}} }
	for name, test := range map[string]struct {
		records []record.Record
		each    bool
		lines   int
		last    string
	}{
		"three times the same":        {[]record.Record{line(0), line(1), line(2)}, false, 1, "(3 times, until 12:02:00)"},
		"another path":                {[]record.Record{line(0), line(1, other)}, false, 2, "spec.paused"},
		"a day later":                 {[]record.Record{line(0), line(24 * 60)}, false, 2, "2026-11-24"},
		"what is permitted is not":    {[]record.Record{line(0, permitted), line(1, permitted)}, false, 2, "permit"},
		"each, where it is asked for": {[]record.Record{line(0), line(1)}, true, 2, "12:01:00"},
	} {
		t.Run(name, func(t *testing.T) {
			got := printed(t, test.each, test.records...)[1:]
			if len(got) != test.lines || !strings.Contains(got[len(got)-1], test.last) {
				t.Errorf("got %q, want %d lines, the last with %q", got, test.lines, test.last)
			}
		})
	}
}

func TestWordsForAVerdict(t *testing.T) {
	for want, edit := range map[string]func(*record.Record){
		"would refuse":      func(r *record.Record) { r.Mode = "Audit" },
		"revert":            func(r *record.Record) { r.Origin, r.User = "drift", nil },
		"refuse (dry run)":  func(r *record.Record) { r.DryRun = true },
		"manager k9s":       func(r *record.Record) { r.User, r.Changes[0].Manager = nil, "k9s" },
		"update scale":      func(r *record.Record) { r.SubResource = "scale" },
		"a, b and 1 more":   func(r *record.Record) { r.Changes = []audit.LineField{{Path: "a"}, {Path: "b"}, {Path: "c"}} },
		"until 14:00 UTC":   func(r *record.Record) { until := noon.Add(2 * time.Hour); r.Until = &until },
		"p.deny: git says ": func(r *record.Record) { r.Rule = "p.deny" },
	} {
		if got := printed(t, false, line(0, edit))[1]; !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
}
