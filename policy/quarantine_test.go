// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestWhenAQuarantineBeginsAndEnds(t *testing.T) {
	rules := func() string { return "p.deny" }
	at := noon.Add
	over := func(b *breaker, now time.Time, n int) (began bool) {
		for range n {
			began = b.note(now, true, rules) || began
		}
		return began
	}
	t.Run("half of the last evaluations begin one", func(t *testing.T) {
		b := new(breaker)
		if over(b, noon, 4) || b.shut(noon) != nil {
			t.Fatal("it began too soon")
		}
		for range 5 {
			b.note(noon, false, rules)
		}
		if !over(b, noon, 1) {
			t.Fatal("it did not begin")
		}
		err := b.shut(at(9 * time.Second))
		if !errors.As(err, new(*quarantined)) || !strings.Contains(err.Error(), "p.deny: quarantined since 12:00:00 UTC") ||
			!strings.Contains(err.Error(), "until 12:00:10 UTC") {
			t.Errorf("shut: %v", err)
		}
		if err := b.shut(at(10 * time.Second)); err != nil {
			t.Errorf("it did not end: %v", err)
		}
	})
	t.Run("those that are long ago don't count", func(t *testing.T) {
		b := new(breaker)
		over(b, noon, 4)
		for range quarantineWindow {
			b.note(noon, false, rules)
		}
		if over(b, noon, 4) {
			t.Error("it began")
		}
	})
	t.Run("the next one begins with the first that is over, and lasts twice as long", func(t *testing.T) {
		b, now := new(breaker), noon
		over(b, now, 5)
		for want := 2 * quarantineFirst; want < 4*quarantineMost; want *= 2 {
			now = b.until
			if err := b.shut(now); err != nil {
				t.Fatalf("it did not end: %v", err)
			}
			if !over(b, now, 1) {
				t.Fatal("it did not begin anew")
			}
			if got := b.until.Sub(now); got != min(want, quarantineMost) {
				t.Errorf("it lasts %s, want %s", got, min(want, quarantineMost))
			}
		}
		now = b.until
		if err := b.shut(now); err != nil {
			t.Fatal(err)
		}
		for range quarantineWindow {
			b.note(now, false, rules)
		}
		if over(b, now, 5); b.until.Sub(now) != quarantineFirst {
			t.Errorf("after calm it lasts %s", b.until.Sub(now))
		}
	})
	t.Run("one that can't be stopped begins it at once, and it lasts", func(t *testing.T) {
		b := new(breaker)
		ended := b.stick(noon, rules)
		if b.shut(at(time.Hour)) == nil {
			t.Error("it ended while the evaluation goes on")
		}
		ended()
		if err := b.shut(b.until); err != nil {
			t.Errorf("it did not end: %v", err)
		}
	})
}

// quarantine asks until a rule that is too slow is asked no more.
func quarantine(t *testing.T, e *Engine, key string) {
	t.Helper()
	for range quarantineWindow {
		e.Decide(t.Context(), imageChange())
		if trouble, ok := e.Trouble(key); ok && trouble.Quarantined != "" {
			return
		}
	}
	t.Fatal("there is no quarantine")
}

func TestWhatKeepsBeingTooSlowIsAskedNoMore(t *testing.T) {
	registry := prometheus.NewRegistry()
	e, err := New(t.Context(), Options{Deadline: 30 * time.Millisecond, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	load := func(s Source) {
		t.Helper()
		if _, err := e.Load(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	key := module("").Key
	t.Run("denials refuse, and say why", func(t *testing.T) {
		load(module("package p\n\ndeny contains {\"reason\": \"r\"} if " + slow))
		quarantine(t, e, key)
		d := e.Decide(t.Context(), imageChange())
		if d.Verdict != Refuse || d.Class != RuleError || !strings.Contains(d.Reason, key+": p.deny: quarantined since ") || d.Elapsed > 25*time.Millisecond {
			t.Errorf("Decide = %+v", d)
		}
		trouble, _ := e.Trouble(key)
		if trouble.Errors < quarantineLimit || !strings.Contains(trouble.Last, "took longer than") || !strings.Contains(trouble.Quarantined, "p.deny") {
			t.Errorf("Trouble = %+v", trouble)
		}
		if got := testutil.ToFloat64(e.metrics.failures.WithLabelValues(kindDeny, causeQuarantine)); got < 1 {
			t.Errorf("%v evaluations in quarantine", got)
		}
		if err := testutil.GatherAndCompare(registry, strings.NewReader(`# HELP mainstay_policy_quarantined Sources of policies of which rules are not asked, since they kept exceeding their limit.
# TYPE mainstay_policy_quarantined gauge
mainstay_policy_quarantined 1
`), "mainstay_policy_quarantined"); err != nil {
			t.Error(err)
		}
	})
	t.Run("a source that is loaded anew is asked again", func(t *testing.T) {
		load(module("package p\n\nexception contains {\"reason\": \"r\", \"paths\": [\"**\"]}"))
		if d := e.Decide(t.Context(), imageChange()); d.Verdict != Permit {
			t.Errorf("Decide = %+v", d)
		}
		if trouble, ok := e.Trouble(key); ok {
			t.Errorf("Trouble = %+v", trouble)
		}
	})
	t.Run("exceptions permit nothing; those of other packages do", func(t *testing.T) {
		load(Source{Key: key, Modules: map[string]string{
			"slow.rego": "package slow\n\nexception contains {\"reason\": \"r\", \"paths\": [\"**\"]} if " + slow,
			"good.rego": "package good\n\nexception contains {\"reason\": \"r\", \"paths\": [\"spec.replicas\"]}",
		}})
		quarantine(t, e, key)
		if d := e.Decide(t.Context(), imageChange()); d.Verdict != Refuse {
			t.Errorf("Decide = %+v", d)
		}
		c := imageChange()
		c.Fields = []Field{field("spec.replicas", "1", "2")}
		if d := e.Decide(t.Context(), c); d.Verdict != Permit || d.Rule != "good.exception" {
			t.Errorf("Decide = %+v", d)
		}
	})
	t.Run("what is built in never is", func(t *testing.T) {
		s := &source{Source: Source{Key: builtinKey}}
		if s.breaker(&s.denyBreaker) != nil {
			t.Error("it may be")
		}
	})
}
