// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// Grant is an approved BreakGlass. Whoever makes one vouches for the approval:
// the engine only asks whom and what it covers, and until when.
type Grant struct {
	// Namespace and Name of the BreakGlass.
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid,omitempty"`
	Requester string    `json:"requester"`
	// Approver is empty for an emergency.
	Approver string `json:"approver,omitempty"`
	// Subjects who may use it; nobody where there are none.
	Subjects []v1alpha1.BreakGlassSubject `json:"subjects"`
	// Scope with its defaults filled in; see InScope.
	Scope     v1alpha1.BreakGlassScope `json:"scope"`
	Reason    string                   `json:"reason"`
	Ticket    string                   `json:"ticket,omitempty"`
	StartsAt  time.Time                `json:"startsAt"`
	ExpiresAt time.Time                `json:"expiresAt"`
	// HeldUntil is until when what was changed is held after the end; nil where
	// git's values come back at the end.
	HeldUntil *time.Time `json:"heldUntil,omitempty"`
	Emergency bool       `json:"emergency,omitempty"`
}

// grantPrefix starts the names of grants among those of rules.
const grantPrefix = "grant."

// Rule is how decisions and permits name the grant.
func (g *Grant) Rule() string { return grantPrefix + g.Key() }

// GrantOf is the BreakGlass that a rule's name stands for, as Permitted.Rule
// has it; false for the rule of a policy.
func GrantOf(rule string) (types.NamespacedName, bool) {
	key, ok := strings.CutPrefix(rule, grantPrefix)
	if !ok {
		return types.NamespacedName{}, false
	}
	namespace, name, ok := strings.Cut(key, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}, ok
}

// Key is namespace/name, the key in data.grants.
func (g *Grant) Key() string { return g.Namespace + "/" + g.Name }

// Words say whose grant it is, and why, in one sentence.
func (g *Grant) Words() string {
	if g.Emergency {
		return fmt.Sprintf("emergency break-glass %s of %s: %s", g.Name, g.Requester, g.Reason)
	}
	return fmt.Sprintf("break-glass %s of %s, approved by %s: %s", g.Name, g.Requester, g.Approver, g.Reason)
}

// maxGrantName keeps a warning within what the API server passes on.
const maxGrantName = 60

// warning is what kubectl prints when the grant is used.
func (g *Grant) warning(dryRun bool) string {
	name := g.Name
	if len(name) > maxGrantName {
		name = name[:maxGrantName-len("…")] + "…"
	}
	verb := "permitted"
	if dryRun {
		verb = "would be permitted"
	}
	return fmt.Sprintf("%s by break-glass %s until %s UTC", verb, name, g.ExpiresAt.UTC().Format("15:04"))
}

// covers tells whether the grant lets this user make a change like this one;
// which paths it covers is another question. A commit is brought in by Mainstay
// itself, whoever asked for the grant.
func (g *Grant) covers(c *Change, now time.Time) bool {
	if c.OfGit() {
		return now.Before(g.ExpiresAt) && inScope(&g.Scope, c)
	}
	return c.Origin == OriginRequest && c.User != nil && now.Before(g.ExpiresAt) &&
		slices.ContainsFunc(g.Subjects, func(s v1alpha1.BreakGlassSubject) bool { return IsSubject(s, c.User) }) &&
		inScope(&g.Scope, c)
}

// IsSubject tells whether a subject stands for a user.
func IsSubject(s v1alpha1.BreakGlassSubject, user *User) bool {
	switch s.Kind {
	case v1alpha1.SubjectUser:
		return s.Name == user.Username
	case v1alpha1.SubjectGroup:
		return slices.Contains(user.Groups, s.Name)
	case v1alpha1.SubjectServiceAccount:
		return user.Username == "system:serviceaccount:"+s.Namespace+":"+s.Name
	}
	return false
}

// coreKinds ends a kind of the core group where it must not mean another's.
const coreKinds = "core"

// ExactKind names a kind as a scope does that means no other group's.
func ExactKind(group, kind string) string { return kind + "." + cmp.Or(group, coreKinds) }

// Speaks tells whether the grant's scope has an object in it, whoever asks and
// for whatever operation.
func (g *Grant) Speaks(id ownership.ID) bool {
	among := func(list []string, match func(string) bool) bool {
		return len(list) == 0 || slices.ContainsFunc(list, match)
	}
	return among(g.Scope.Namespaces, func(x string) bool { return x == id.Namespace }) &&
		among(g.Scope.Kinds, func(x string) bool { return x == id.Kind || x == ExactKind(id.Group, id.Kind) }) &&
		among(g.Scope.Names, func(x string) bool { return nameMatches(x, id.Name) })
}

// inScope tells whether a scope speaks of a change's object and operation.
func inScope(s *v1alpha1.BreakGlassScope, c *Change) bool {
	id := c.ID()
	among := func(list []string, match func(string) bool) bool {
		return len(list) == 0 || slices.ContainsFunc(list, match)
	}
	operation, subResource := c.Operation, ""
	if c.Use() {
		// The subresources of pods are one thing to a grant, whichever operation
		// the API server calls them.
		operation, subResource = Connect, c.SubResource
	}
	if c.OfGit() {
		operation = Sync
	}
	operations := s.Operations
	if len(operations) == 0 {
		operations = []string{string(Update)}
	}
	return slices.Contains(operations, string(operation)) &&
		(operation != Connect || among(s.SubResources, func(x string) bool { return x == subResource })) &&
		among(s.Namespaces, func(x string) bool { return x == id.Namespace }) &&
		among(s.Kinds, func(x string) bool { return x == id.Kind || x == ExactKind(id.Group, id.Kind) }) &&
		among(s.Names, func(x string) bool { return nameMatches(x, id.Name) })
}

// nameMatches takes a * for any text. Names hold neither slashes nor what else
// means something to path.Match.
func nameMatches(pattern, name string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == name
	}
	literal := strings.NewReplacer(`\`, `\\`, `[`, `\[`, `?`, `\?`).Replace(pattern)
	ok, err := path.Match(literal, name)
	return err == nil && ok
}

// grants are those in force at one time. It is immutable.
type grants struct {
	given []Grant
	// answers are the grants as exceptions, in the same order.
	answers []*answer
	// data is data.grants.
	data ast.Value
}

// SetGrants puts grants in force, in place of all that were. One whose paths
// can't be read covers nothing.
func (e *Engine) SetGrants(list []Grant) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Grant) int { return strings.Compare(a.Key(), b.Key()) })
	next := &grants{given: list}
	data := ast.NewObjectWithCapacity(len(list))
	for i := range list {
		g := &list[i]
		next.answers = append(next.answers, g.answer())
		if value, err := ast.InterfaceToValue(g.data()); err == nil {
			data.Insert(ast.StringTerm(g.Key()), ast.NewTerm(value))
		}
	}
	// Hashing and sorting happen here, once, and not in evaluations.
	data.Foreach(func(*ast.Term, *ast.Term) {})
	next.data = data
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := e.cluster.grants.Load(); now != nil && reflect.DeepEqual(now.given, list) {
		return
	}
	e.cluster.grants.Store(next)
	close(e.changed)
	e.changed = make(chan struct{})
}

func (g *Grant) answer() *answer {
	a := &answer{name: g.Rule(), reason: g.Words(), until: &g.ExpiresAt, held: g.HeldUntil, grant: g}
	paths := g.Scope.Paths
	if len(paths) == 0 {
		paths = []string{"**"}
	}
	for _, text := range paths {
		p, err := fieldset.ParsePattern(text)
		if err != nil {
			return &answer{name: a.name, grant: &Grant{}} // nobody's, for nothing
		}
		a.patterns = append(a.patterns, p)
	}
	a.exact = g.Scope.Paths
	return a
}

// data is what policies see of a grant.
func (g *Grant) data() map[string]any {
	list := func(values []string) []any {
		out := make([]any, len(values))
		for i, v := range values {
			out[i] = v
		}
		return out
	}
	subjects := make([]any, len(g.Subjects))
	for i, s := range g.Subjects {
		subjects[i] = map[string]any{"kind": s.Kind, "name": s.Name, "namespace": s.Namespace}
	}
	atEnd := v1alpha1.AtEndRevert
	if g.HeldUntil != nil {
		atEnd = v1alpha1.AtEndHold
	}
	return map[string]any{
		"atEnd": atEnd, "namespace": g.Namespace, "name": g.Name, "requester": g.Requester, "approver": g.Approver,
		"reason": g.Reason, "ticket": g.Ticket, "emergency": g.Emergency, "subjects": subjects,
		"startsAt": g.StartsAt.UTC().Format(time.RFC3339), "expiresAt": g.ExpiresAt.UTC().Format(time.RFC3339),
		"scope": map[string]any{
			"namespaces": list(g.Scope.Namespaces), "kinds": list(g.Scope.Kinds), "names": list(g.Scope.Names),
			"operations": list(g.Scope.Operations), "subResources": list(g.Scope.SubResources), "paths": list(g.Scope.Paths),
		},
	}
}

// granted is the grant that covers most of the fields, or else nil: grants are
// never put together, so that two of them permit no more than each does.
func (j *judgement) granted(fields []Field) *answer {
	now := j.engine.cluster.grants.Load()
	if now == nil {
		return nil
	}
	var best *answer
	most := -1
	for _, a := range now.answers {
		if !a.grant.covers(j.change, j.now) {
			continue
		}
		n := 0
		for _, f := range fields {
			if a.covers(f.Path, f.Path.String()) {
				n++
			}
		}
		if n > most || n == most && a.until.After(*best.until) {
			best, most = a, n
		}
	}
	return best
}

// beats is the decision by a grant that alone covers a change which a deny rule
// refused.
func (j *judgement) beats(denied Decision) (Decision, bool) {
	if denied.Final || denied.Class == RuleError {
		return Decision{}, false
	}
	a := j.granted(j.change.Fields)
	if a == nil {
		return Decision{}, false
	}
	d := j.cover([]*answer{a})
	return d, d.Verdict == Permit
}
