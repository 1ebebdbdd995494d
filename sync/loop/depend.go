// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// dependencyNotReady is the reason of Ready while a commit waits.
const dependencyNotReady = "DependencyNotReady"

// dependenciesReady returns a waiting error where a GitSync that this one
// depends on is not ready, and a failure where that can never be.
func (l *Loop) dependenciesReady(ctx context.Context, gs *v1alpha1.GitSync, revision ownership.Revision) error {
	if len(gs.Spec.DependsOn) == 0 || observing(gs) {
		return nil
	}
	if err := l.dependencyCycle(ctx, gs); err != nil {
		return err
	}
	for _, d := range gs.Spec.DependsOn {
		key := dependencyKey(gs, d)
		on := new(v1alpha1.GitSync)
		err := l.Client.Get(ctx, key, on)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get gitsync %s of spec.dependsOn: %w", key, err)
		}
		words := "does not exist"
		if err == nil {
			words = lacks(gs, on, revision)
		}
		if words == "" {
			continue
		}
		l.awaits(key, client.ObjectKeyFromObject(gs))
		return &waiting{err: fmt.Errorf("waits for GitSync %s (spec.dependsOn): it %s", l.relative(gs, key), words)}
	}
	return nil
}

// lacks says why a GitSync is not ready for those who depend on it; empty where
// it is.
func lacks(gs, on *v1alpha1.GitSync, revision ownership.Revision) string {
	ready := meta.FindStatusCondition(on.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case observing(on):
		return "has the mode Observe, in which nothing is applied"
	case on.Status.LastAppliedRevision == "" && ready == nil:
		return "was not applied yet"
	case on.Status.ObservedGeneration != on.Generation:
		return "was edited, and what it says now was not applied yet"
	case ready == nil || ready.Status != "True":
		if ready == nil || ready.Message == "" {
			return "is not ready"
		}
		return "is not ready: " + strings.SplitN(ready.Message, "\n", 2)[0]
	case sameRef(gs, on) && on.Status.LastAppliedRevision != revision.Name:
		return "follows the same branch, and " + revision.Name + " was not applied there yet"
	}
	return ""
}

// sameRef tells whether two GitSyncs follow the same ref, so that a commit may
// concern both.
func sameRef(a, b *v1alpha1.GitSync) bool {
	return a.Spec.Source.URL == b.Spec.Source.URL && a.Spec.Source.Ref == b.Spec.Source.Ref
}

func dependencyKey(gs *v1alpha1.GitSync, d v1alpha1.Dependency) types.NamespacedName {
	return types.NamespacedName{Namespace: cmp.Or(d.Namespace, gs.Namespace), Name: d.Name}
}

// relative is the name of a GitSync as its dependent would write it.
func (l *Loop) relative(gs *v1alpha1.GitSync, key types.NamespacedName) string {
	if key.Namespace == gs.Namespace {
		return key.Name
	}
	return key.String()
}

// dependencyCycle follows spec.dependsOn and is a failure where it leads back,
// or to a namespace that is none of the GitSync's business.
func (l *Loop) dependencyCycle(ctx context.Context, gs *v1alpha1.GitSync) error {
	start := client.ObjectKeyFromObject(gs)
	seen := map[types.NamespacedName]bool{}
	var walk func(on *v1alpha1.GitSync, path []string) error
	walk = func(on *v1alpha1.GitSync, path []string) error {
		for _, d := range on.Spec.DependsOn {
			key := dependencyKey(on, d)
			if key.Namespace != on.Namespace && key.Namespace != l.o.Namespace {
				if on == gs {
					return &failure{"Invalid", fmt.Errorf("spec.dependsOn: GitSync %s is in another namespace: only those of %s and %s can be named", key, gs.Namespace, l.o.Namespace)}
				}
				continue // its own status says so
			}
			next := append(slices.Clone(path), l.relative(gs, key))
			if key == start {
				return &failure{"DependencyCycle", fmt.Errorf("spec.dependsOn leads back here: %s: take one of them away", strings.Join(next, " → "))}
			}
			if seen[key] {
				continue
			}
			seen[key] = true
			other := new(v1alpha1.GitSync)
			switch err := l.Client.Get(ctx, key, other); {
			case apierrors.IsNotFound(err):
				continue
			case err != nil:
				return fmt.Errorf("get gitsync %s of spec.dependsOn: %w", key, err)
			}
			if err := walk(other, next); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(gs, []string{gs.Name})
}

// awaits remembers who waits for a GitSync, and has that one looked at: it may
// not know of a new commit yet.
func (l *Loop) awaits(on, waiter types.NamespacedName) {
	l.mu.Lock()
	if l.waiters[on] == nil {
		l.waiters[on] = map[types.NamespacedName]bool{}
	}
	known := l.waiters[on][waiter]
	l.waiters[on][waiter] = true
	l.mu.Unlock()
	if !known {
		l.told.ask(on)
	}
}

// tell has those looked at that wait for a GitSync which is ready now.
func (l *Loop) tell(on types.NamespacedName) {
	l.mu.Lock()
	waiters := l.waiters[on]
	delete(l.waiters, on)
	l.mu.Unlock()
	for waiter := range waiters {
		l.told.ask(waiter)
	}
}
