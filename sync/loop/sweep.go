// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
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
		now := l.now()
		for _, p := range l.Permits.All() {
			// A suspension is of a GitSync, which git need not declare.
			if p.Rule == suspend.Rule && p.Live(now) || l.needed(p, now) {
				continue
			}
			if _, declared := l.Index.Lookup(p.ID); !declared {
				l.Grants.Settled(p, v1alpha1.SettledInGit) // git has dropped the object
			} else {
				l.Grants.Settled(p, v1alpha1.SettledReverted)
			}
			if err := l.Permits.Delete(ctx, p); err != nil {
				ctrl.LoggerFrom(ctx).Error(err, "permit not deleted, trying again", "object", p.ID.String())
			}
		}
	}
}
