// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// commit is the change of an image by a commit.
func commit() *Change {
	c := imageChange()
	c.Origin, c.Options = OriginSync, nil
	c.User = &User{Username: "system:serviceaccount:mainstay-system:mainstay", Groups: []string{"system:serviceaccounts"}}
	return c
}

func TestACommitIsAskedOfDenyRulesAlone(t *testing.T) {
	const freeze = `package freeze

deny contains {"reason": "frozen", "until": "2026-11-24T00:00:00Z"} if `
	syncGrant := func(change func(g *Grant)) *Grant {
		g := &Grant{
			Namespace: "mainstay-system", Name: "g", Requester: "alice", Approver: "bo", Reason: "hotfix",
			Subjects:  []v1alpha1.BreakGlassSubject{{Kind: "User", Name: "alice"}},
			Scope:     v1alpha1.BreakGlassScope{Operations: []string{"SYNC"}, Namespaces: []string{"shop"}},
			ExpiresAt: noon.Add(time.Hour),
		}
		if change != nil {
			change(g)
		}
		return g
	}
	operation := func(o Operation) func() *Change {
		return func() *Change {
			c := commit()
			c.Operation, c.Fields = o, nil
			return c
		}
	}
	for name, tt := range map[string]struct {
		rego   string
		change func() *Change
		grant  *Grant
		want   Verdict
		class  string
	}{
		"no rule speaks against it":                   {rego: freeze + `input.origin == "drift"`, want: Permit, class: RuleGit},
		"no exception is needed, whatever they say":   {rego: "package p\n\nexception contains {\"reason\": \"r\", \"paths\": [\"spec.x\"]}", want: Permit, class: RuleGit},
		"a freeze of everything":                      {rego: freeze + "true", want: Refuse, class: RulePolicy},
		"a freeze of git":                             {rego: freeze + `input.origin == "sync"`, want: Refuse, class: RulePolicy},
		"a freeze of people lets git through":         {rego: freeze + `input.actor.person`, want: Permit, class: RuleGit},
		"a freeze of creating, and it is created":     {rego: freeze + `input.operation == "CREATE"`, change: operation(Create), want: Refuse, class: RulePolicy},
		"a freeze of deleting, and it is deleted":     {rego: freeze + `input.operation == "DELETE"`, change: operation(Delete), want: Refuse, class: RulePolicy},
		"a freeze of what a commit changes":           {rego: freeze + `input.changes[_].path == "spec.template.spec.containers[name=web].image"`, want: Refuse, class: RulePolicy},
		"a freeze of what it does not change":         {rego: freeze + `input.changes[_].path == "spec.replicas"`, want: Permit, class: RuleGit},
		"a freeze that has ended":                     {rego: "package p\n\ndeny contains {\"reason\": \"r\", \"until\": \"2026-11-23T12:00:00Z\"}", want: Permit, class: RuleGit},
		"a rule that fails":                           {rego: freeze + `to_number(input.name) == 1`, want: Refuse, class: RuleError},
		"a grant for it":                              {rego: freeze + "true", grant: syncGrant(nil), want: Permit, class: RuleGrant},
		"a grant for it, to create":                   {rego: freeze + "true", change: operation(Create), grant: syncGrant(nil), want: Permit, class: RuleGrant},
		"a grant for a rule that fails":               {rego: freeze + `to_number(input.name) == 1`, grant: syncGrant(nil), want: Refuse, class: RuleError},
		"a grant for requests":                        {rego: freeze + "true", grant: syncGrant(func(g *Grant) { g.Scope.Operations = []string{"UPDATE"} }), want: Refuse, class: RulePolicy},
		"a grant for another namespace":               {rego: freeze + "true", grant: syncGrant(func(g *Grant) { g.Scope.Namespaces = []string{"bank"} }), want: Refuse, class: RulePolicy},
		"a grant for other paths":                     {rego: freeze + "true", grant: syncGrant(func(g *Grant) { g.Scope.Paths = []string{"spec.replicas"} }), want: Refuse, class: RulePolicy},
		"a grant that has ended":                      {rego: freeze + "true", grant: syncGrant(func(g *Grant) { g.ExpiresAt = noon }), want: Refuse, class: RulePolicy},
		"a grant against what is final":               {rego: "package p\n\ndeny contains {\"reason\": \"r\", \"final\": true}", grant: syncGrant(nil), want: Refuse, class: RulePolicy},
		"a freeze that the commit itself takes back":  {rego: freeze + "true", change: func() *Change { c := commit(); c.Replaced = []string{module("").Key}; return c }, want: Permit, class: RuleGit},
		"a commit that takes back some other freeze":  {rego: freeze + "true", change: func() *Change { c := commit(); c.Replaced = []string{"changepolicy/x/y"}; return c }, want: Refuse, class: RulePolicy},
		"a rule that exempts an author by the commit": {rego: freeze + `input.source.author != "Bo"`, want: Permit, class: RuleGit},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, module(tt.rego))
			if tt.grant != nil {
				e.SetGrants([]Grant{*tt.grant})
			}
			change := commit
			if tt.change != nil {
				change = tt.change
			}
			d := e.Decide(t.Context(), change())
			if d.Verdict != tt.want || d.Class != tt.class {
				t.Errorf("Decide = %s %s: %s, want %s %s", d.Verdict, d.Class, d.Reason, tt.want, tt.class)
			}
		})
	}
}

func TestAGrantForCommitsPermitsNoRequest(t *testing.T) {
	e := newEngine(t)
	e.SetGrants([]Grant{{
		Namespace: "mainstay-system", Name: "g", Subjects: []v1alpha1.BreakGlassSubject{{Kind: "User", Name: "alice"}},
		Scope: v1alpha1.BreakGlassScope{Operations: []string{"SYNC"}}, ExpiresAt: noon.Add(time.Hour),
	}})
	if d := e.Decide(t.Context(), imageChange()); d.Verdict != Refuse {
		t.Errorf("Decide = %+v", d)
	}
}

func TestDenies(t *testing.T) {
	record := imageChange().Record
	for name, tt := range map[string]struct {
		source Source
		want   bool
	}{
		"exceptions only":          {module("package p\n\nexception contains {\"reason\": \"r\", \"paths\": [\"**\"]}"), false},
		"a deny rule":              {module("package p\n\ndeny contains {\"reason\": \"r\"} if input.name == \"x\""), true},
		"one of another namespace": {Source{Key: "k", Namespace: "bank", Modules: map[string]string{"p.rego": "package p\n\ndeny contains {\"reason\": \"r\"}"}}, false},
	} {
		if got := newEngine(t, tt.source).Denies(record); got != tt.want {
			t.Errorf("%s: Denies = %v", name, got)
		}
	}
}
