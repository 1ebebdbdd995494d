// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"time"

	"github.com/valyala/fastjson"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
	"github.com/mainstay-gitops/mainstay/sync/apply"
)

const (
	sweepInterval = time.Minute
	// sweepAfter keeps a permit for an object that the inventory does not have
	// yet: another replica may have written it a moment ago.
	sweepAfter = 10 * time.Minute
)

// sweep deletes what can never count again: permits whose end has come or whose
// object nobody declares any more, and chunks that no inventory names.
func (l *Loop) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if l.off() {
			continue
		}
		if err := l.Inventory.Sweep(ctx, sweepAfter); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "inventory not swept, trying again")
		}
		l.sweepPermits(ctx)
		if err := l.sweepOff(ctx); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "trying again")
		}
	}
}

// sweepOff takes mainstay-off away whose time is over, once nothing lingers
// because of it: until then a new leader has to find it.
func (l *Loop) sweepOff(ctx context.Context) error {
	if _, _, _, ok := l.Off.Asked(); !ok {
		return nil
	}
	for _, s := range l.Index.Syncs() {
		if _, lingers := l.lingering(s.Key()); lingers {
			return nil
		}
	}
	return l.Off.Remove(ctx, l.now())
}

func (l *Loop) sweepPermits(ctx context.Context) {
	now := l.now()
	live := map[ownership.ID]types.UID{}
	for _, p := range l.Permits.All() {
		var how string
		switch _, declared := l.Index.Lookup(p.ID); {
		case p.Rule == suspend.Rule && (p.Live(now) || l.lingers(p.ID)):
			continue // of a GitSync, which git need not declare
		case !l.needed(p, now):
			if how = v1alpha1.SettledReverted; !declared {
				how = v1alpha1.SettledInGit // git has dropped the object
			}
		case l.ofAnother(ctx, p, now, live):
			how = v1alpha1.SettledReverted
		default:
			continue
		}
		l.Grants.Settled(p, how)
		if err := l.Permits.Delete(ctx, p); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "permit not deleted, trying again", "object", p.ID.String())
		}
	}
}

// lingers tells whether a new leader has to find the suspension of a GitSync that
// is over.
func (l *Loop) lingers(sync ownership.ID) bool {
	_, lingers := l.lingering(types.NamespacedName{Namespace: sync.Namespace, Name: sync.Name})
	return lingers
}

// ofAnother tells whether a grant's permit is for an object that is gone, in whose
// place another one may be: what was changed of it went with it. live remembers
// what was read.
func (l *Loop) ofAnother(ctx context.Context, p permit.Permit, now time.Time, live map[ownership.ID]types.UID) bool {
	if _, ok := policy.GrantOf(p.Rule); !ok || p.OfDeletion() || now.Sub(p.At) < inFlight {
		return false
	}
	record, ok := l.Index.Lookup(p.ID)
	if !ok || record.Entry == nil || record.Sync == nil {
		return false
	}
	uid, read := live[p.ID]
	if !read {
		raw, err := l.Applier.Get(ctx, apply.TargetOf(record.Sync, record.Entry))
		switch {
		case err == nil:
			uid = types.UID(fastjson.GetString(raw, "metadata", "uid"))
		case !apierrors.IsNotFound(err):
			uid = p.UID // it is read the next time
		}
		live[p.ID] = uid
	}
	return uid != p.UID
}
