// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

const imagePath = "spec.template.spec.containers[name=web].image"

// hotfix is an active grant of alice for the Deployment shop/web.
func hotfix(edits ...func(*Grant)) Grant {
	g := Grant{
		Namespace: "mainstay-system", Name: "hotfix", UID: "u-1", Requester: "alice", Approver: "bob",
		Subjects: []v1alpha1.BreakGlassSubject{{Kind: v1alpha1.SubjectUser, Name: "alice"}},
		Scope: v1alpha1.BreakGlassScope{
			Namespaces: []string{"shop"}, Kinds: []string{"Deployment"}, Names: []string{"web"},
		},
		Reason: "INC-7", StartsAt: noon.Add(-time.Minute), ExpiresAt: noon.Add(time.Hour),
	}
	for _, edit := range edits {
		edit(&g)
	}
	return g
}

func scope(edit func(*v1alpha1.BreakGlassScope)) func(*Grant) {
	return func(g *Grant) { edit(&g.Scope) }
}

func paths(paths ...string) func(*Grant) {
	return scope(func(s *v1alpha1.BreakGlassScope) { s.Paths = paths })
}

func named(name string) func(*Grant) { return func(g *Grant) { g.Name = name } }

func TestGrantsPermitWhatTheyCover(t *testing.T) {
	twoFields := func(c *Change) { c.Fields = append(c.Fields, field("spec.replicas", "1", "2")) }
	operation := func(o Operation) func(*Change) {
		return func(c *Change) {
			c.Operation = o
			if o == Delete || o == Connect {
				c.Fields = nil
			}
		}
	}
	operations := func(o ...string) func(*Grant) {
		return scope(func(s *v1alpha1.BreakGlassScope) { s.Operations = o })
	}
	subject := func(s v1alpha1.BreakGlassSubject) func(*Grant) {
		return func(g *Grant) { g.Subjects = []v1alpha1.BreakGlassSubject{s} }
	}
	for name, tt := range map[string]struct {
		grants []Grant
		rego   string
		change func(*Change)
		rule   string // empty: refused
		class  string
	}{
		"an update":             {grants: []Grant{hotfix()}, rule: "grant.mainstay-system/hotfix"},
		"its very path":         {grants: []Grant{hotfix(paths(imagePath))}, rule: "grant.mainstay-system/hotfix"},
		"not another path":      {grants: []Grant{hotfix(paths("spec.replicas"))}},
		"not a path more":       {grants: []Grant{hotfix(paths(imagePath))}, change: twoFields},
		"not after its end":     {grants: []Grant{hotfix()}, change: func(c *Change) { c.Time = noon.Add(time.Hour) }},
		"not for somebody else": {grants: []Grant{hotfix()}, change: func(c *Change) { c.User = &User{Username: "mallory"} }},
		"a group":               {grants: []Grant{hotfix(subject(v1alpha1.BreakGlassSubject{Kind: "Group", Name: "ops"}))}, rule: "grant.mainstay-system/hotfix"},
		"not a user who is called like the group":  {grants: []Grant{hotfix(subject(v1alpha1.BreakGlassSubject{Kind: "Group", Name: "alice"}))}},
		"not a group that is called like the user": {grants: []Grant{hotfix(subject(v1alpha1.BreakGlassSubject{Kind: "User", Name: "ops"}))}},
		"a service account": {
			grants: []Grant{hotfix(subject(v1alpha1.BreakGlassSubject{Kind: "ServiceAccount", Namespace: "ci", Name: "deployer"}))},
			change: func(c *Change) { c.User = &User{Username: "system:serviceaccount:ci:deployer"} },
			rule:   "grant.mainstay-system/hotfix",
		},
		"nobody, where it has no subjects": {grants: []Grant{hotfix(func(g *Grant) { g.Subjects = nil })}},
		"not another name":                 {grants: []Grant{hotfix(scope(func(s *v1alpha1.BreakGlassScope) { s.Names = []string{"api"} }))}},
		"a name by a star":                 {grants: []Grant{hotfix(scope(func(s *v1alpha1.BreakGlassScope) { s.Names = []string{"w*"} }))}, rule: "grant.mainstay-system/hotfix"},
		"not another kind":                 {grants: []Grant{hotfix(scope(func(s *v1alpha1.BreakGlassScope) { s.Kinds = []string{"StatefulSet"} }))}},
		"a kind with its group":            {grants: []Grant{hotfix(scope(func(s *v1alpha1.BreakGlassScope) { s.Kinds = []string{"Deployment.apps"} }))}, rule: "grant.mainstay-system/hotfix"},
		"not a kind of another group":      {grants: []Grant{hotfix(scope(func(s *v1alpha1.BreakGlassScope) { s.Kinds = []string{"Deployment.core"} }))}},
		"not another namespace":            {grants: []Grant{hotfix(scope(func(s *v1alpha1.BreakGlassScope) { s.Namespaces = []string{"bank"} }))}},
		"no object of cluster scope, where it names namespaces": {
			grants: []Grant{hotfix()}, change: func(c *Change) { c.Record.Namespace = "" },
		},
		"no deletion, unless it says so": {grants: []Grant{hotfix()}, change: operation(Delete)},
		"a deletion":                     {grants: []Grant{hotfix(operations("DELETE"))}, change: operation(Delete), rule: "grant.mainstay-system/hotfix"},
		"no creation, unless it says so": {grants: []Grant{hotfix()}, change: operation(Create)},
		"a creation":                     {grants: []Grant{hotfix(operations("CREATE"))}, change: operation(Create), rule: "grant.mainstay-system/hotfix"},
		"no update, where it is for deletions": {
			grants: []Grant{hotfix(operations("DELETE"))},
		},
		"no drift, which nobody has asked for": {grants: []Grant{hotfix()}, change: func(c *Change) { drift(c, "kubectl-edit") }},
		"nothing, where its paths can't be read": {
			grants: []Grant{hotfix(paths("**", "spec..x"))},
		},
		"together with an exception": {
			grants: []Grant{hotfix(paths(imagePath))}, change: twoFields,
			rego: `exception contains {"reason": "r", "paths": ["spec.replicas"]}`,
			rule: "grant.mainstay-system/hotfix, p.exception",
		},
		"never together with another grant": {
			grants: []Grant{hotfix(paths(imagePath)), hotfix(named("second"), paths("spec.replicas"))}, change: twoFields,
		},
		"of several the one that covers most": {
			grants: []Grant{hotfix(paths(imagePath)), hotfix(named("second"), paths("spec.**")), hotfix(named("third"), paths("spec.replicas"))},
			change: twoFields, rule: "grant.mainstay-system/second",
		},
		"of equals the one that lasts longest": {
			grants: []Grant{hotfix(), hotfix(named("longer"), func(g *Grant) { g.ExpiresAt = noon.Add(2 * time.Hour) })},
			rule:   "grant.mainstay-system/longer",
		},
		"an exception is preferred to it": {
			grants: []Grant{hotfix()}, rego: `exception contains {"reason": "r", "paths": ["**"]}`,
			rule: "p.exception", class: RulePolicy,
		},
		"it beats a deny": {
			grants: []Grant{hotfix()}, rego: `deny contains {"reason": "frozen"}`, rule: "grant.mainstay-system/hotfix",
		},
		"it beats no deny that is final": {
			grants: []Grant{hotfix()}, rego: `deny contains {"reason": "frozen"}
			deny contains {"reason": "never", "final": true}`,
		},
		"it beats no deny that fails": {
			grants: []Grant{hotfix()}, rego: `deny contains {"reason": lower("frozen"), lower("X"): 1}`,
		},
		"it beats a deny only where it covers all alone": {
			grants: []Grant{hotfix(paths(imagePath))}, change: twoFields,
			rego: `exception contains {"reason": "r", "paths": ["spec.replicas"]}
			deny contains {"reason": "frozen"}`,
		},
		"it beats a deny of the use of a pod": {
			grants: []Grant{hotfix(operations("CONNECT"))}, rego: `deny contains {"reason": "no shells"} if input.operation == "CONNECT"`,
			change: func(c *Change) { operation(Connect)(c); c.Pod, c.SubResource = "web-1", "exec" },
			rule:   "grant.mainstay-system/hotfix",
		},
		"one for updates beats no deny of the use of a pod": {
			grants: []Grant{hotfix()}, rego: `deny contains {"reason": "no shells"} if input.operation == "CONNECT"`,
			change: func(c *Change) { operation(Connect)(c); c.Pod, c.SubResource = "web-1", "exec" },
		},
		"one for exec beats no deny of attach": {
			grants: []Grant{hotfix(operations("CONNECT"), scope(func(s *v1alpha1.BreakGlassScope) { s.SubResources = []string{"exec"} }))},
			rego:   `deny contains {"reason": "no shells"} if input.operation == "CONNECT"`,
			change: func(c *Change) { operation(Connect)(c); c.Pod, c.SubResource = "web-1", "attach" },
		},
		"policies read it": {
			grants: []Grant{hotfix(paths("spec.replicas"))},
			rego: `exception contains {"reason": g.reason, "paths": ["**.image"]} if {
				some g in data.grants
				g.requester == input.userInfo.username
				g.scope.names == ["web"]
				data.grants["mainstay-system/hotfix"].approver == "bob"
				data.grants["mainstay-system/hotfix"].atEnd == "Revert"
			}`,
			rule: "p.exception", class: RulePolicy,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			if tt.rego != "" {
				if _, err := e.Load(t.Context(), module("package p\n\n"+tt.rego)); err != nil {
					t.Fatal(err)
				}
			}
			e.SetGrants(tt.grants)
			c := imageChange()
			if tt.change != nil {
				tt.change(c)
			}
			got := e.Decide(t.Context(), c)
			if tt.rule == "" {
				if got.Verdict != Refuse || got.Class == RuleGrant || len(got.Permits) > 0 {
					t.Errorf("Decide = %+v, want a refusal", got)
				}
				return
			}
			class := tt.class
			if class == "" {
				class = RuleGrant
			}
			if got.Verdict != Permit || got.Class != class || sorted(got.Rule) != tt.rule {
				t.Errorf("Decide = %+v, want a permit by %s", got, tt.rule)
			}
		})
	}
}

func sorted(rule string) string {
	a, b, ok := strings.Cut(rule, ", ")
	if ok && b < a {
		return b + ", " + a
	}
	return rule
}

func TestAGrantSaysWhoseItIsAndUntilWhen(t *testing.T) {
	e := newEngine(t)
	held := noon.Add(73 * time.Hour)
	g := hotfix(func(g *Grant) { g.HeldUntil = &held })
	e.SetGrants([]Grant{g})
	c := imageChange()
	got := e.Decide(t.Context(), c)
	want := Decision{
		Verdict: Permit, Class: RuleGrant, Rule: "grant.mainstay-system/hotfix",
		Reason: "break-glass hotfix of alice, approved by bob: INC-7", Until: &g.ExpiresAt, Grant: &g,
		Warnings: []string{"permitted by break-glass hotfix until 13:00 UTC"},
		Permits:  []Permitted{{Field: c.Fields[0], Rule: "grant.mainstay-system/hotfix", Until: &g.ExpiresAt, Held: &held, Recorded: true}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Decision{}, "ID", "Policies", "Elapsed"), cmpopts.IgnoreFields(Permitted{}, "Field")); diff != "" {
		t.Errorf("Decide (-want +got):\n%s", diff)
	}

	c.DryRun = true
	if got := e.Decide(t.Context(), c).Warnings; len(got) != 1 || got[0] != "would be permitted by break-glass hotfix until 13:00 UTC" {
		t.Errorf("a dry run: %q", got)
	}

	e.SetGrants([]Grant{hotfix()})
	if got := e.Decide(t.Context(), imageChange()).Warnings; len(got) != 2 || got[0] != "at 13:00 UTC this is reverted, which restarts the pods of deployment/web" {
		t.Errorf("one that reverts warns %q", got)
	}

	emergency := hotfix(func(g *Grant) { g.Emergency, g.Approver = true, "" }, named(strings.Repeat("x", 253)))
	if got := emergency.warning(true); len(got) > 120 || !strings.HasSuffix(got, "until 13:00 UTC") {
		t.Errorf("a warning of %d bytes: %s", len(got), got)
	}
	if got := emergency.Words(); !strings.HasPrefix(got, "emergency break-glass ") || !strings.HasSuffix(got, " of alice: INC-7") {
		t.Errorf("an emergency: %s", got)
	}

	c = imageChange()
	c.Operation, c.Fields = Delete, nil
	e.SetGrants([]Grant{hotfix(scope(func(s *v1alpha1.BreakGlassScope) { s.Operations = []string{"DELETE"} }))})
	if got := e.Decide(t.Context(), c).Permits; len(got) != 1 || !got[0].Recorded || got[0].Field.Path != nil || got[0].Until == nil {
		t.Errorf("a deletion has the permits %+v, want one to be recorded", got)
	}
}

func TestGrantsThatBeginAndEndAreTold(t *testing.T) {
	e := newEngine(t)
	g := hotfix(func(g *Grant) { g.ExpiresAt = time.Now().Add(time.Hour) })
	changed := e.Changed()
	e.SetGrants([]Grant{g})
	select {
	case <-changed:
	default:
		t.Error("nobody is told of the grant")
	}
	if e.InForce(imageChange().Record, g.Rule()) {
		t.Error("a grant is taken for a policy's rule")
	}
	changed = e.Changed()
	e.SetGrants([]Grant{g})
	select {
	case <-changed:
		t.Error("the same grants again count as a change")
	default:
	}
	e.SetGrants(nil)
	select {
	case <-changed:
	default:
		t.Error("nobody is told of the end")
	}
}

func TestNoPolicyPretendsToBeAGrant(t *testing.T) {
	_, err := newEngine(t).Load(t.Context(), module("package grants\n\nexception contains {\"reason\": \"r\", \"paths\": [\"**\"]}"))
	if err == nil || !strings.Contains(err.Error(), "package grants is reserved") {
		t.Errorf("Load = %v", err)
	}
}
