// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/reading"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func shown(t *testing.T, all bool, show func(*printer) error) string {
	t.Helper()
	var out strings.Builder
	if err := show(&printer{out: &out, zone: time.UTC, now: noon, all: all}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func object(edits ...func(*reading.Object)) *reading.Object {
	o := &reading.Object{
		Object: audit.LineObject{Kind: "Deployment", Namespace: "shop", Name: "web"}, Live: true,
		Declared: &reading.Declared{Mode: "Enforce", File: "web.yaml", Line: 3, Repo: "https://git.example.org/shop.git", Author: "Bo", Time: noon.Add(-time.Hour), Sync: "mainstay-system/shop"},
	}
	for _, edit := range edits {
		edit(o)
	}
	return o
}

func TestAnObjectInWords(t *testing.T) {
	end := noon.Add(90 * time.Minute)
	field := func(f reading.Field) func(*reading.Object) {
		return func(o *reading.Object) { f.Path = "spec.replicas"; o.Fields = []reading.Field{f} }
	}
	for want, edit := range map[string]func(*reading.Object){
		"is declared in git and held":                                   func(*reading.Object) {},
		"changes are permitted and recorded (mode Audit)":               func(o *reading.Object) { o.Declared.Mode = "Audit" },
		"is not declared in git: anyone may change it":                  func(o *reading.Object) { o.Declared = nil },
		"last by   Bo, 2026-11-23 11:00 UTC, 1h ago, without a subject": func(*reading.Object) {},
		"suspended by carol until 2026-11-23 13:30 UTC, in 1h: INC-1": func(o *reading.Object) {
			o.Declared.Suspended = &reading.Suspended{By: "carol", Until: end, Reason: "INC-1"}
		},
		"the object is not there":                                      func(o *reading.Object) { o.Live = false },
		"git no longer declares it: it is being deleted":               func(o *reading.Object) { o.Declared.Pruning = true },
		"1 fields are as git sets them (--all shows them)":             field(reading.Field{Owner: reading.OwnerGit}),
		"permitted to alice by sale.exception, until 2026-11-23 13:30": field(reading.Field{Owner: reading.OwnerPermit, Account: "alice", Rule: "sale.exception", Until: &end}),
		"let stand by hpa.exception, no end, written by kubelet":       field(reading.Field{Owner: reading.OwnerPolicy, Rule: "hpa.exception", Manager: "kubelet"}),
		"drift: nothing permits it, git: 2 (web.yaml:9)":               field(reading.Field{Owner: reading.OwnerNobody, Git: json.RawMessage("2"), File: "web.yaml", Line: 9}),
		"No exception of its own applies":                              func(*reading.Object) {},
		"policy p.exception (changepolicy/a/b): without a title": func(o *reading.Object) {
			o.Exceptions = []reading.Exception{{Kind: "policy", Name: "p.exception", Source: "changepolicy/a/b"}}
		},
		"permit of p.exception to somebody for spec.replicas, no end (d": func(o *reading.Object) {
			o.Exceptions = []reading.Exception{{Kind: "permit", Name: "p.exception", Paths: []string{"spec.replicas"}}}
		},
		"Decisions are not shown: alice may not": func(o *reading.Object) { o.DecisionsHidden = "alice may not" },
		"12:00:00  d1  refuse  drift  update  spec.replicas": func(o *reading.Object) {
			o.Decisions = []record.Record{{Line: audit.Line{Time: noon, Decision: "d1", Verdict: "refuse", Origin: "drift", Operation: "UPDATE", Changes: []audit.LineField{{Path: "spec.replicas"}}}}}
		},
	} {
		if got := shown(t, false, func(p *printer) error { return p.object(object(edit)) }); !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
}

func TestADecisionInWords(t *testing.T) {
	end := noon.Add(time.Hour)
	for want, edit := range map[string]func(*reading.Explained){
		"Decision d1: refused":                              func(*reading.Explained) {},
		"permitted, since the mode is Warn; it would be":    func(d *reading.Explained) { d.Mode = "Warn" },
		"update of Deployment shop/web, a request of alice": func(*reading.Explained) {},
		"update scale of Deployment":                        func(d *reading.Explained) { d.SubResource = "scale" },
		"drift that the sync loop found":                    func(d *reading.Explained) { d.User = nil },
		"a dry run: nothing came of it":                     func(d *reading.Explained) { d.DryRun = true },
		"spec.replicas  git: 2  asked: 4  not covered":      func(*reading.Explained) {},
		"until 2026-11-23 13:00 UTC, in 1h":                 func(d *reading.Explained) { d.Until = &end },
		"It can't be judged again: the review is larger":    func(d *reading.Explained) { d.Again, d.Basis = nil, &record.Basis{LeftOut: "the review is larger"} },
		"Judged again it is another: permit (p.exception)": func(d *reading.Explained) {
			d.Again = &reading.Again{Differs: true, Verdict: policy.Permit, Rule: "p.exception"}
		},
		"The policies are others than then":    func(d *reading.Explained) { d.Again.PoliciesChanged = true },
		"No rule has anything to say about it": func(*reading.Explained) {},
		"p.exception (p.rego:3 in k): r, for spec.x, no end": func(d *reading.Explained) {
			d.Again.Rules = []reading.Said{{Rule: "p.exception", File: "p.rego", Line: 3, Source: "k", Reason: "r", Covers: []string{"spec.x"}}}
		},
		"Values are not shown: alice may not get deployments": func(d *reading.Explained) { d.Withheld = "alice may not get deployments" },
	} {
		d := &reading.Explained{Record: record.Record{Line: audit.Line{
			Time: noon, Decision: "d1", Origin: "request", Operation: "UPDATE", Verdict: "refuse", Mode: "Enforce", Class: "default", User: &audit.LineUser{Username: "alice"},
			Object:    audit.LineObject{Kind: "Deployment", Namespace: "shop", Name: "web"},
			Changes:   []audit.LineField{{Path: "spec.replicas", Git: json.RawMessage("2"), To: json.RawMessage("4")}},
			Uncovered: []string{"spec.replicas"},
		}}, Again: &reading.Again{Verdict: policy.Refuse}}
		edit(d)
		if got := shown(t, false, func(p *printer) error { return p.decision(d) }); !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
}
