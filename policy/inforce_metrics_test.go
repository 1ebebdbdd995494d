// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func TestTheNextEndOfEachExceptionIsExported(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) *time.Time {
		at := now.Add(d)
		return &at
	}
	many := make([]RuleInfo, maxEnds+5)
	for i := range many {
		many[i] = RuleInfo{Name: fmt.Sprintf("r%d.exception", i), Kind: kindException, Until: in(time.Duration(len(many)-i) * time.Minute)}
	}
	for what, c := range map[string]struct {
		rules []RuleInfo
		want  map[string]time.Duration
	}{
		"an end": {[]RuleInfo{{Name: "a.exception", Kind: kindException, Until: in(time.Hour)}}, map[string]time.Duration{"a.exception": time.Hour}},
		"no end": {[]RuleInfo{{Name: "a.exception", Kind: kindException}}, map[string]time.Duration{}},
		"the end of a deny is that of no exception": {
			[]RuleInfo{{Name: "a.deny", Kind: kindDeny, Until: in(time.Hour)}}, map[string]time.Duration{},
		},
		"the nearest of one package": {[]RuleInfo{
			{Name: "a.exception", Kind: kindException, Until: in(2 * time.Hour)},
			{Name: "a.exception", Kind: kindException, Until: in(time.Hour)},
		}, map[string]time.Duration{"a.exception": time.Hour}},
		"what is over hides no end that is to come": {[]RuleInfo{
			{Name: "a.exception", Kind: kindException, Until: in(-time.Hour)},
			{Name: "a.exception", Kind: kindException, Until: in(time.Hour)},
		}, map[string]time.Duration{"a.exception": time.Hour}},
		"the last one, where all are over": {[]RuleInfo{
			{Name: "a.exception", Kind: kindException, Until: in(-2 * time.Hour)},
			{Name: "a.exception", Kind: kindException, Until: in(-time.Hour)},
		}, map[string]time.Duration{"a.exception": -time.Hour}},
	} {
		t.Run(what, func(t *testing.T) {
			got := map[string]time.Duration{}
			for _, e := range ends([]*source{{Source: Source{Key: "gitsync/a/shop"}, loaded: Loaded{Rules: c.rules}}}, now) {
				if e.source != "gitsync/a/shop" {
					t.Errorf("source %q", e.source)
				}
				got[e.rule] = e.at.Sub(now)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("ends (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("of too many the nearest", func(t *testing.T) {
		got := ends([]*source{{loaded: Loaded{Rules: many}}}, now)
		if len(got) != maxEnds || !got[0].at.Equal(now.Add(time.Minute)) || got[maxEnds-1].at.After(now.Add(maxEnds*time.Minute)) {
			t.Errorf("%d ends, the first at %s, the last at %s", len(got), got[0].at, got[len(got)-1].at)
		}
	})
}

func TestWhatIsInForceIsExportedWhileItIs(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	e, err := New(t.Context(), Options{Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	loaded, err := e.Load(t.Context(), Source{Key: "changepolicy/a/b", Modules: map[string]string{"hpa.rego": fmt.Sprintf(
		"package hpa\n\n# METADATA\n# title: t\nexception contains {\"reason\": \"r\", \"paths\": [\"spec.replicas\"], \"until\": %q} if input.name == \"web\"\n", until.Format(time.RFC3339))}})
	if err != nil {
		t.Fatal(err)
	}
	exported := func() map[string]float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				labels := map[string]string{}
				for _, l := range m.GetLabel() {
					labels[l.GetName()] = l.GetValue()
				}
				if labels["source"] == "changepolicy/a/b" {
					got[family.GetName()+" "+labels["digest"]+labels["rule"]] = m.GetGauge().GetValue()
				}
			}
		}
		return got
	}
	want := map[string]float64{"mainstay_policy_info " + loaded.Digest: 1, "mainstay_exception_end_timestamp_seconds hpa.exception": float64(until.Unix())}
	if diff := cmp.Diff(want, exported()); diff != "" {
		t.Errorf("in force (-want +got):\n%s", diff)
	}
	e.Unload("changepolicy/a/b")
	if diff := cmp.Diff(map[string]float64{}, exported()); diff != "" {
		t.Errorf("unloaded (-want +got):\n%s", diff)
	}
}
