// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/drift"
)

// fightLook is how often it is looked whether a fight is over.
const fightLook = 5 * time.Second

// held is how long what is to be done about an object has to wait, because
// somebody undoes it again and again.
func (g *guard) held(id ownership.ID, action drift.Action) time.Duration {
	if action != drift.Revert && action != drift.Recreate {
		return 0
	}
	return g.fights.Hold(id, time.Now())
}

// fought counts what was put back, and tells of a fight that this shows.
func (g *guard) fought(record *ownership.Record, st *standing) {
	now := time.Now()
	fields := st.refused
	if st.change.Operation == policy.Delete {
		fields = []policy.Field{{}}
	}
	for _, f := range fields {
		fight, began, found := g.fights.Reverted(record.ID, f.Path.String(), f.Manager, now)
		if !found {
			continue
		}
		if began {
			g.l.warn(record.Sync, record.Entry, "Fight", "Revert", fightWords(fight))
		}
		g.l.told.of(record.Sync.Key())
	}
}

// fightWords name both sides and say what can be done.
func fightWords(f drift.Fight) string {
	who := "somebody whom managedFields do not name"
	if f.Manager != "" {
		who = "field manager " + f.Manager
	}
	what := "the existence"
	if f.Path != "" {
		what = f.Path
	}
	return fmt.Sprintf("%s and %s fight about %s of %s: put back %d times, now at most every %s; "+
		"stop the other side, take the field out of git, or permit its change by an exception",
		who, v1alpha1.FieldManager, what, f.ID, f.Times, f.Every)
}

// fightsOf are the fights about a GitSync's objects.
func (g *guard) fightsOf(key types.NamespacedName) []drift.Fight {
	var mine []drift.Fight
	for _, f := range g.fights.All(time.Now()) {
		if r, ok := g.l.Index.Lookup(f.ID); ok && r.Sync.Key() == key {
			mine = append(mine, f)
		}
	}
	return mine
}

// fightsMessage sums fights up for the condition Drifted.
func fightsMessage(fights []drift.Fight) string {
	message := fightWords(fights[0])
	if n := len(fights) - 1; n > 0 {
		message += fmt.Sprintf("; and %d more fights", n)
	}
	return message
}
