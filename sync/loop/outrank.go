// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// outranks tells that the attempt may declare an object that a record of
// another GitSync has: those of Mainstay's own namespace come before a tenant's,
// so that no team can keep the platform's commits out by declaring a name first.
func (a *attempt) outranks(r *ownership.Record) bool {
	return !a.tenant && r.Sync.Namespace != a.sync.Namespace
}

// outrank takes the changed objects of a stage from tenants that have them. It
// is called when the inventory of the attempt says that they are its own, and
// before they are written, so that somebody holds them at any time.
func (l *Loop) outrank(ctx context.Context, a *attempt, s stage) error {
	if a.tenant {
		return nil
	}
	byOwner := map[types.NamespacedName][]ownership.ID{}
	for _, id := range a.changed(s) {
		if r, ok := l.Index.Lookup(id); ok && a.outranks(r) {
			byOwner[r.Sync.Key()] = append(byOwner[r.Sync.Key()], id)
		}
	}
	owners := slices.SortedFunc(maps.Keys(byOwner), func(x, y types.NamespacedName) int {
		return slices.Compare([]string{x.Namespace, x.Name}, []string{y.Namespace, y.Name})
	})
	for _, owner := range owners {
		if err := l.takeFrom(ctx, owner, byOwner[owner]); err != nil {
			return err
		}
	}
	return nil
}

// takeFrom takes objects out of a tenant's inventory, and has the tenant look at
// its commit again: it is told then whose they are.
func (l *Loop) takeFrom(ctx context.Context, owner types.NamespacedName, ids []ownership.ID) error {
	p := l.pass(owner)
	if !p.mu.TryLock() {
		return &failure{"MovePending", fmt.Errorf("%s is taken over from GitSync %s, which is syncing just now: tried again", ids[0], owner)}
	}
	defer p.mu.Unlock()
	known, ok := l.Index.Sync(owner)
	if !ok {
		return nil
	}
	entries := l.Index.Entries(owner)
	for _, id := range ids {
		delete(entries, id)
	}
	sync := *known
	sync.AppliedSpec = 0 // what it declares is not applied as a whole, for a new leader as well
	if err := l.Inventory.Save(ctx, &sync, slices.Collect(maps.Values(entries))); err != nil {
		return &failure{"InventoryFailed", fmt.Errorf("take objects over from GitSync %s: %w", owner, err)}
	}
	p.stale.Store(true)
	l.wake(owner)
	return nil
}
