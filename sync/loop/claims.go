// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
)

const (
	// askedWithin bounds a look at another GitSync's repository, askedAtOnce how
	// many are looked at.
	askedWithin = 20 * time.Second
	askedAtOnce = 4
)

// claims finds which of the objects that leave the GitSync key another one
// declares, in its inventory or by what its ref says now: an object that moves
// must not be deleted, whichever of the two is looked at first. A repository
// that can't be read claims nothing.
func (l *Loop) claims(ctx context.Context, key types.NamespacedName, ids []ownership.ID) (map[ownership.ID]types.NamespacedName, error) {
	var all v1alpha1.GitSyncList
	if err := l.Client.List(ctx, &all); err != nil {
		return nil, fmt.Errorf("list gitsyncs: %w", err)
	}
	var mu sync.Mutex
	claimed := map[ownership.ID]types.NamespacedName{}
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for i := range all.Items {
		other := &all.Items[i]
		may := l.mayDeclare(other, ids)
		if client.ObjectKeyFromObject(other) == key || !other.DeletionTimestamp.IsZero() || observing(other) || len(may) == 0 {
			continue
		}
		group.Go(func() error {
			declared, err := l.declaredBy(ctx, other)
			if err != nil {
				ctrl.LoggerFrom(ctx).Info("not known what another GitSync declares", "gitsync", client.ObjectKeyFromObject(other).String(), "error", err.Error())
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range may {
				to, taken := claimed[id]
				if name := client.ObjectKeyFromObject(other); declared(id) && (!taken || name.String() < to.String()) {
					claimed[id] = name
				}
			}
			return nil
		})
	}
	return claimed, group.Wait()
}

// mayDeclare are those of the objects that a GitSync is allowed to declare.
func (l *Loop) mayDeclare(gs *v1alpha1.GitSync, ids []ownership.ID) []ownership.ID {
	if !l.tenant(gs) {
		return ids
	}
	var out []ownership.ID
	for _, id := range ids {
		if id.Namespace == gs.Namespace {
			out = append(out, id)
		}
	}
	return out
}

// declaredBy tells what a GitSync's ref declares now.
func (l *Loop) declaredBy(ctx context.Context, gs *v1alpha1.GitSync) (func(ownership.ID) bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askedWithin)
	defer cancel()
	if l.tenant(gs) && !l.o.TenantFileSources && onDisk(gs.Spec.Source.URL) {
		return nil, fmt.Errorf("it may not read repositories from Mainstay's own disk")
	}
	unseen := &pass{}
	request, err := l.request(ctx, gs, unseen)
	if err != nil {
		return nil, err
	}
	snapshot, err := l.fetch(ctx, gs, unseen, request)
	if err != nil {
		return nil, err
	}
	if err := l.accept(ctx, gs, unseen, request, snapshot); err != nil {
		return nil, err // what may not be applied hands nothing over
	}
	key := client.ObjectKeyFromObject(gs)
	if known, ok := l.Index.Sync(key); ok && known.Applied.Commit == snapshot.Revision.Commit && known.AppliedSpec == gs.Generation {
		entries := l.Index.Entries(key)
		return func(id ownership.ID) bool { return entries[id] != nil && !unfinished(entries[id]) }, nil
	}
	objects, _, err := l.render(ctx, gs, unseen, snapshot)
	if err != nil {
		return nil, err
	}
	if objects, err = render.Settle(objects, gs.Spec.TargetNamespace, newKinds(l.Mapper, objects).namespaced); err != nil {
		return nil, err
	}
	declared := make(map[ownership.ID]bool, len(objects))
	for i := range objects {
		declared[objects[i].ID] = true
	}
	return func(id ownership.ID) bool { return declared[id] }, nil
}

// moving turns the failure of an attempt into one that says so where all it
// lacks are objects that other GitSyncs are about to hand over.
func (l *Loop) moving(ctx context.Context, a *attempt, err error) error {
	if a == nil || len(a.conflicting) == 0 || a.observe {
		return err
	}
	byOwner := map[types.NamespacedName][]*ownership.Record{}
	for _, r := range a.conflicting {
		byOwner[r.Sync.Key()] = append(byOwner[r.Sync.Key()], r)
	}
	for key, records := range byOwner {
		owner := new(v1alpha1.GitSync)
		if getErr := l.Client.Get(ctx, key, owner); getErr != nil {
			return err
		}
		declared, asked := l.declaredBy(ctx, owner)
		if asked != nil {
			return err
		}
		for _, r := range records {
			if declared(r.ID) {
				return err
			}
		}
	}
	for key := range byOwner {
		l.wake(key)
	}
	first := a.conflicting[0]
	return &failure{"MovePending", fmt.Errorf("%s comes from GitSync %s, which no longer declares it and hands it over with its next sync (%d objects in all)",
		first.ID, first.Sync.Key(), len(a.conflicting))}
}

// wake has a GitSync looked at now.
func (l *Loop) wake(key types.NamespacedName) {
	l.pass(key).soon.Store(true)
	gs := new(v1alpha1.GitSync)
	gs.Namespace, gs.Name = key.Namespace, key.Name
	select {
	case l.news <- event.GenericEvent{Object: gs}:
	default: // its next look is soon enough
	}
}
