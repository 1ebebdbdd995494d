// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// Asked is what a request asks for, with its defaults filled in.
type Asked struct {
	Scope    v1alpha1.BreakGlassScope
	Subjects []v1alpha1.BreakGlassSubject
	// Extends is the uid of the BreakGlass that is extended.
	Extends types.UID
}

// Sources are where Ask looks up what a request refers to.
type Sources struct {
	// Refusal finds what a decision refused.
	Refusal func(decision string) (Refusal, bool)
	// Extendable finds the record of a BreakGlass that may be extended; the
	// error says why it may not.
	Extendable func(key types.NamespacedName, now time.Time) (Record, error)
}

// Ask finds out what a request asks for. system is Mainstay's own namespace,
// whose requests may speak about the whole cluster. The errors are for whoever
// asks.
func Ask(bg *v1alpha1.BreakGlass, system string, sources Sources, now time.Time) (Asked, error) {
	if bg.Spec.Extends != "" {
		return extension(bg, sources, now)
	}
	asked := Asked{Subjects: bg.Spec.Subjects}
	if len(asked.Subjects) == 0 {
		asked.Subjects = []v1alpha1.BreakGlassSubject{subjectOf(bg.Spec.RequestedBy)}
	}
	switch {
	case bg.Spec.Scope != nil:
		asked.Scope = *bg.Spec.Scope.DeepCopy()
	case bg.Spec.Decision != "":
		r, ok := sources.Refusal(bg.Spec.Decision)
		if !ok || r.old(now) {
			return Asked{}, fmt.Errorf("decision %s is not known (any more): use spec.scope, or repeat what was refused and take the id of that refusal", bg.Spec.Decision)
		}
		if r.Long {
			return Asked{}, fmt.Errorf("decision %s is about more fields than are remembered: use spec.scope", bg.Spec.Decision)
		}
		if bg.Namespace != system && r.Object.Namespace != bg.Namespace {
			return Asked{}, fmt.Errorf("decision %s is about %s, and a request in namespace %s can only be about objects of that namespace: make it in namespace %s",
				bg.Spec.Decision, r.Object, bg.Namespace, system)
		}
		asked.Scope = r.scope()
	default:
		return Asked{}, fmt.Errorf("spec has neither decision nor scope nor extends")
	}
	return asked, checkScope(&asked.Scope, bg.Namespace, system)
}

// extension asks for what the BreakGlass that it names stood for, no more.
func extension(bg *v1alpha1.BreakGlass, sources Sources, now time.Time) (Asked, error) {
	key := types.NamespacedName{Namespace: bg.Namespace, Name: bg.Spec.Extends}
	r, err := sources.Extendable(key, now)
	if err != nil {
		return Asked{}, fmt.Errorf("spec.extends: %w", err)
	}
	return Asked{Scope: *r.Scope.DeepCopy(), Subjects: slices.Clone(r.Subjects), Extends: r.UID}, nil
}

// checkScope fills in the defaults.
func checkScope(s *v1alpha1.BreakGlassScope, namespace, system string) error {
	for i, text := range s.Paths {
		if _, err := fieldset.ParsePattern(text); err != nil {
			return fmt.Errorf("spec.scope.paths[%d]: %w", i, err)
		}
	}
	if len(s.Operations) == 0 {
		s.Operations = []string{string(policy.Update)}
	}
	if namespace == system {
		if len(s.Namespaces)+len(s.Kinds)+len(s.Names) == 0 {
			return fmt.Errorf("spec.scope would cover the whole cluster: name namespaces, kinds or names")
		}
		return nil
	}
	if len(s.Namespaces) > 0 && !slices.Equal(s.Namespaces, []string{namespace}) {
		return fmt.Errorf("a request in namespace %s can only be about objects of that namespace, not of %q: make it in namespace %s",
			namespace, s.Namespaces, system)
	}
	s.Namespaces = []string{namespace}
	return nil
}

// subjectOf is how a scope names an account.
func subjectOf(username string) v1alpha1.BreakGlassSubject {
	user := policy.User{Username: username}
	if namespace, name, ok := user.ServiceAccount(); ok {
		return v1alpha1.BreakGlassSubject{Kind: v1alpha1.SubjectServiceAccount, Namespace: namespace, Name: name}
	}
	return v1alpha1.BreakGlassSubject{Kind: v1alpha1.SubjectUser, Name: username}
}
