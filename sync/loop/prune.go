// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/valyala/fastjson"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// prune does what was decided about the objects that leave git: the inventory
// says so first, so that the webhook lets them go, and loses them when they are
// gone.
func (l *Loop) prune(ctx context.Context, a *attempt) error {
	if len(a.leaving) == 0 {
		return nil
	}
	a.markFates()
	if err := l.persist(ctx, a); err != nil {
		return err
	}
	gone := make([]bool, len(a.leaving))
	failures := make([]error, len(a.leaving))
	for _, wave := range a.waves() {
		var group errgroup.Group
		group.SetLimit(l.o.Parallelism)
		for _, i := range wave {
			group.Go(func() error {
				gone[i], failures[i] = l.end(ctx, a, a.entries[a.leaving[i]])
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	var problems []error
	for i, id := range a.leaving {
		if gone[i] {
			delete(a.entries, id)
			a.tally.end(a.fates[id].what)
		}
		if failures[i] != nil {
			problems = append(problems, objectFailure(a.before[id], failures[i]))
		}
	}
	if len(problems) > 0 {
		return errors.Join(limited("PruneFailed", problems), l.persist(ctx, a))
	}
	return nil
}

// markFates writes what was decided into the entries.
func (a *attempt) markFates() {
	for _, id := range a.leaving {
		f := a.fates[id]
		entry := *a.entries[id]
		entry.Attempted, entry.Pruning, entry.Released, entry.HandedTo, entry.HandedAs = nil, false, false, "", ""
		if entry.Applied == nil {
			entry.Attempted = a.before[id].Attempted
		}
		switch f.what {
		case pruned:
			entry.Pruning = true
		case released:
			entry.Released = true
		case handedOver:
			entry.HandedTo, entry.HandedAs = f.to.String(), f.as
		}
		a.entries[id] = &entry
	}
}

// waves are the indexes of what leaves, in the order in which it goes: the
// reverse of that in which it came. Namespaces and definitions take along what
// is in them, and are last.
func (a *attempt) waves() [][]int {
	stages := a.stages()
	out := make([][]int, 0, len(stages))
	for _, s := range slices.Backward(stages) {
		var wave []int
		for i, id := range a.leaving {
			if stageOf(id) == s {
				wave = append(wave, i)
			}
		}
		out = append(out, wave)
	}
	return out
}

// end does what was decided about one object and tells whether nothing is left
// to do.
func (l *Loop) end(ctx context.Context, a *attempt, e *ownership.Entry) (bool, error) {
	f := a.fates[e.ID]
	switch f.what {
	case released:
		err := l.Applier.Release(ctx, a.target(e), ownership.LabelValue(a.sync.Key(), e.ID))
		return err == nil, err
	case handedOver:
		r, ok := l.Index.Lookup(e.ID)
		return ok && r.Sync.Key() == f.to && r.Applied != nil && r.Attempted == nil, nil
	case pruned:
	}
	return l.pruneOne(ctx, a, e, f)
}

// pruneOne deletes an object and tells whether it is gone; finalizers may keep
// it for a while. One that was never known to be applied goes only if it has
// our label: else we never wrote it.
func (l *Loop) pruneOne(ctx context.Context, a *attempt, e *ownership.Entry, f fate) (bool, error) {
	if e.Applied == nil {
		live, err := l.Applier.Get(ctx, a.target(e))
		if err != nil && !apierrors.IsNotFound(err) {
			return false, err
		}
		if fastjson.GetString(live, "metadata", "labels", v1alpha1.SyncLabel) != ownership.LabelValue(a.sync.Key(), e.ID) {
			return true, nil
		}
	}
	return l.Applier.Delete(ctx, a.target(e), f.uid)
}

// end takes note of an object that has left.
func (t *tally) end(what fateKind) {
	switch what {
	case pruned:
		t.pruned++
	case released:
		t.released++
	case handedOver:
		t.handedOver++
	}
}

// sayLetGo makes an Event of the objects that were let go, and why, where prune
// would have deleted them.
func (l *Loop) sayLetGo(gs *v1alpha1.GitSync, a *attempt) {
	byReason := map[string][]string{}
	for id, f := range a.fates {
		if f.what == released && f.why != "" {
			byReason[f.why] = append(byReason[f.why], id.String())
		}
	}
	for _, why := range slices.Sorted(maps.Keys(byReason)) {
		ids := byReason[why]
		slices.Sort(ids)
		l.event(gs, corev1.EventTypeNormal, "LetGo", "Prune", fmt.Sprintf("left git, kept in the cluster and held no longer (%s): %s", why, strings.Join(ids, ", ")))
	}
}

// unfinished tells that something of an inventory still has to leave.
func unfinished(e *ownership.Entry) bool {
	return e.Pruning || e.Released || e.HandedTo != ""
}
