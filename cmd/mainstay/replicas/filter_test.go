// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package replicas_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/replicas"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

func TestTimesAreReadAsPeopleWriteThem(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"30m": "2026-11-26T11:30:00Z", "7d": "2026-11-19T12:00:00Z", "0s": "2026-11-26T12:00:00Z",
		"2026-11-01": "2026-11-01T00:00:00Z", "2026-11-01T08:30": "2026-11-01T08:30:00Z", "2026-11-01T08:30:00+01:00": "2026-11-01T07:30:00Z",
	} {
		got, err := replicas.ParseTime(text, now)
		if err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s is %s (%v), want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-5m", "-2d", "yesterday", "26.11.2026"} {
		if got, err := replicas.ParseTime(text, now); err == nil {
			t.Errorf("%q is read as %s", text, got)
		}
	}
}

func TestAFilterIsRefusedByItsFlag(t *testing.T) {
	for name, tt := range map[string]struct {
		filter replicas.Filter
		want   string
	}{
		"a verdict that there is not": {replicas.Filter{Verdict: "maybe"}, "--verdict maybe"},
		"a time that is none":         {replicas.Filter{Since: "soon"}, "--since"},
		"an end that is none":         {replicas.Filter{Until: "soon"}, "--until"},
	} {
		if _, err := tt.filter.Query("", time.Now()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	q, err := (&replicas.Filter{Object: "Deployment/web", Verdict: "refuse"}).Query("shop", time.Now())
	if err != nil || q.Kind != "Deployment" || q.Name != "web" || q.Namespace != "shop" {
		t.Errorf("%+v, %v", q, err)
	}
}

func TestLinesOfTheLedgerAreFoundAmongOthers(t *testing.T) {
	const ledger = `
{"level":"info","msg":"another log"}
2026-11-26 stdout F {"kind":"decision","decision":"u2rd1u4"}
no JSON
{"kind":"lost","count":3}
`
	var ids []string
	if err := replicas.Lines(strings.NewReader(ledger), func(r record.Record) error {
		ids = append(ids, r.Decision)
		return nil
	}); err != nil || len(ids) != 1 || ids[0] != "u2rd1u4" {
		t.Errorf("%v, %v", ids, err)
	}
	if err := replicas.Lines(strings.NewReader("\n{\"kind\": \"deci"), nil); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a line that is cut off: %v", err)
	}
}
