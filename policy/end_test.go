// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

func TestAnEndIsSaidBeforehand(t *testing.T) {
	const image = "spec.template.spec.containers[name=web].image"
	exception := func(more string) string {
		return `package p

exception contains {"reason": "r", "paths": ["**"]` + more + `}`
	}
	for name, tt := range map[string]struct {
		rego   string
		change func(c *Change)
		want   string
	}{
		"of a pod template": {rego: exception(`, "until": "2026-11-23T14:05:00Z"`), want: "at 14:05 UTC this is reverted, which restarts the pods of deployment/web"},
		"counted from now":  {rego: exception(`, "ttl": "2h5m"`), want: "at 14:05 UTC this is reverted, which restarts the pods of deployment/web"},
		"on another day":    {rego: exception(`, "until": "2026-11-24T14:05:00Z"`), want: "on 2026-11-24 at 14:05 UTC this is reverted, which restarts the pods of deployment/web"},
		"of what restarts nothing": {rego: exception(`, "ttl": "2h5m"`), change: func(c *Change) {
			c.Fields = []Field{field("spec.replicas", "1", "2")}
		}, want: "at 14:05 UTC this is reverted"},
		"of what makes no pods anew": {rego: exception(`, "ttl": "2h5m"`), change: func(c *Change) { c.Record.Kind = "CronJob" }, want: "at 14:05 UTC this is reverted"},
		"there is none":              {rego: exception("")},
		"nothing is reverted":        {rego: exception(`, "ttl": "2h5m"`), change: func(c *Change) { c.Record.Sync.Mode = v1alpha1.ModeAudit }},
	} {
		t.Run(name, func(t *testing.T) {
			c := imageChange()
			c.Fields = []Field{field(image, `"a"`, `"b"`)}
			if tt.change != nil {
				tt.change(c)
			}
			d := newEngine(t, module(tt.rego)).Decide(t.Context(), c)
			if d.Verdict != Permit || tt.want != "" && !slices.Equal(d.Warnings, []string{tt.want}) || tt.want == "" && len(d.Warnings) > 0 {
				t.Errorf("Decide = %s, warnings %q, want %q", d.Verdict, d.Warnings, tt.want)
			}
			if len(tt.want) > 120 {
				t.Errorf("the warning has %d characters", len(tt.want))
			}
		})
	}
}

func TestAnEndHoldsToTheSecond(t *testing.T) {
	e := newEngine(t, module(`package p

exception contains {"reason": "r", "paths": ["**"], "until": "2026-11-23T12:00:10Z"}`))
	frozen := newEngine(t, module(`package p

deny contains {"reason": "r", "until": "2026-11-23T12:00:10Z"}`), Source{Key: "x", Modules: map[string]string{"x.rego": `package x

exception contains {"reason": "r", "paths": ["**"]}`}})
	for after, within := range map[time.Duration]bool{
		0: true, 9*time.Second + 999*time.Millisecond: true, 10 * time.Second: false, 11 * time.Second: false,
	} {
		for _, origin := range []Origin{OriginRequest, OriginDrift} {
			change := func() *Change {
				c := imageChange()
				if origin == OriginDrift {
					drift(c, "kubectl-edit")
				}
				c.Time = noon.Add(after)
				return c
			}
			if d := e.Decide(t.Context(), change()); (d.Verdict == Permit) != within {
				t.Errorf("exception, %s after %s: %s", origin, after, d.Verdict)
			}
			if d := frozen.Decide(t.Context(), change()); (d.Verdict == Refuse) != within {
				t.Errorf("deny, %s after %s: %s", origin, after, d.Verdict)
			}
		}
	}
	t.Run("a ttl is counted from the request, and drift has none", func(t *testing.T) {
		e := newEngine(t, module(`package p

exception contains {"reason": "r", "paths": ["**"], "ttl": "90s"}`))
		d := e.Decide(t.Context(), imageChange())
		if d.Until == nil || !d.Until.Equal(noon.Add(90*time.Second)) {
			t.Errorf("until %v", d.Until)
		}
		if d := e.Decide(t.Context(), drift(imageChange(), "kubectl-edit")); d.Verdict != Refuse {
			t.Errorf("drift: %s", d.Verdict)
		}
	})
}
