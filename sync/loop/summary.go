// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// tally counts what an attempt did.
type tally struct {
	created, changed, adopted, recreated, pruned, released, handedOver int
}

// String is a part of the condition's message; empty where nothing was done.
func (t tally) String() string {
	return counted("created", t.created, "changed", t.changed, "taken over", t.adopted, "made anew", t.recreated,
		"pruned", t.pruned, "let go", t.released, "handed over", t.handedOver)
}

// written is the number of objects that were applied.
func (t tally) written() int { return t.created + t.changed + t.adopted + t.recreated }

// counted joins pairs of a word and a number, those with 0 left out.
func counted(pairs ...any) string {
	var parts []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", pairs[i+1], pairs[i]))
		}
	}
	return strings.Join(parts, ", ")
}

// plan says what the attempt is about to do.
func (a *attempt) plan() string {
	var create, change, adopt, anew, prune, release, hand int
	for id, p := range a.planned {
		switch {
		case p.anew:
			anew++
		case p.adopts:
			adopt++
		case p.version != "" || a.entries[id].Applied != nil && !p.done:
			change++
		default:
			create++
		}
	}
	for _, id := range a.leaving {
		switch a.fates[id].what {
		case pruned:
			prune++
		case released:
			release++
		case handedOver:
			hand++
		}
	}
	return counted("to create", create, "to change", change, "to take over", adopt, "to make anew", anew,
		"to prune", prune, "to let go", release, "to hand over", hand, "left alone until accepted", len(a.pending))
}

// sayPlan puts the plan into the status, before the first write.
func (l *Loop) sayPlan(ctx context.Context, gs *v1alpha1.GitSync, a *attempt) {
	plan := a.plan()
	if plan == "" || gs.Status.LastAppliedRevision == a.revision.Name {
		return
	}
	err := l.updateStatus(ctx, gs, func(s *v1alpha1.GitSyncStatus) {
		set(s, gs, v1alpha1.ConditionReconciling, metav1.ConditionTrue, "Applying", "bringing in "+a.revision.Name+": "+plan)
	})
	if err != nil { // the status is for people; a sync does not fail because of it
		l.event(gs, corev1.EventTypeWarning, "StatusFailed", "Sync", err.Error())
	}
}

// summarize remembers what was done for a revision, over all tries.
func (p *pass) summarize(revision ownership.Revision, t tally) {
	if p.counted != revision.Name {
		p.counted, p.tally = revision.Name, tally{}
	}
	p.tally.created += t.created
	p.tally.changed += t.changed
	p.tally.adopted += t.adopted
	p.tally.recreated += t.recreated
	p.tally.pruned += t.pruned
	p.tally.released += t.released
	p.tally.handedOver += t.handedOver
}

// did says what was done for a revision; empty where that is nothing, or not
// known to this process.
func (p *pass) did(revision string) string {
	if p.counted != revision {
		return ""
	}
	return p.tally.String()
}
