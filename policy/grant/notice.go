// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ending"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// EventEnding is the reason of the Event before an end.
const EventEnding = "GrantEnding"

// Notice says that an end comes: that of a grant, or that of holding what was
// changed under it.
type Notice struct {
	BreakGlass types.NamespacedName
	// Requester and Approver are who should know; an emergency has no approver.
	Requester, Approver string
	// Due is which notice of which end this is.
	Due *v1alpha1.EndNotice
	// Reverts tells that git's values come back then.
	Reverts bool
	// Changes that stand.
	Changes []v1alpha1.BreakGlassChange
	// Text says all of it.
	Text string
}

// notice is the one that is due now, if any, and when to look for the next. What
// was told is in the status, so that the next leader does not tell it again.
func (k *Keeper) notice(bg *v1alpha1.BreakGlass) (*Notice, time.Duration) {
	status := &bg.Status
	if status.StartsAt == nil || status.ExpiresAt == nil || k.givenUp(bg) {
		return nil, 0
	}
	now := k.o.Clock()
	from, end, reverts := status.StartsAt.Time, status.ExpiresAt.Time, status.HeldUntil == nil
	if !now.Before(end) || bg.Spec.Revoked {
		if status.HeldUntil == nil || len(status.AwaitingGit) == 0 {
			return nil, 0 // nothing comes back
		}
		from, end, reverts = end, status.HeldUntil.Time, true
	}
	told, next := ending.Exception{From: from, End: end, Told: status.Told}.Due(k.o.Notices, now)
	if told == nil {
		return nil, next
	}
	due := &Notice{Due: told}
	due.BreakGlass = types.NamespacedName{Namespace: bg.Namespace, Name: bg.Name}
	due.Requester, due.Approver, due.Reverts, due.Changes = bg.Spec.RequestedBy, bg.Spec.ApprovedBy, reverts, status.AwaitingGit
	due.Text = due.words(now)
	return due, next
}

func (k *Keeper) givenUp(bg *v1alpha1.BreakGlass) bool {
	r, _ := k.o.Store.Known(bg.UID)
	return (link{bg: bg, record: r}).undone()
}

func (n *Notice) words(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "break-glass %s of %s", n.BreakGlass.Name, n.Requester)
	comma := ""
	if n.Approver != "" {
		fmt.Fprintf(&b, ", approved by %s", n.Approver)
		comma = ","
	}
	what := ending.Changes(n.Changes)
	switch when := ending.When(n.Due.End.Time, now); {
	case !n.Reverts && what == "":
		fmt.Fprintf(&b, comma+" ends %s", when)
		return b.String()
	case !n.Reverts:
		fmt.Fprintf(&b, comma+" ends %s; then this is held as it is until git says the same: %s", when, what)
	case what == "":
		fmt.Fprintf(&b, comma+" ends %s; then git's values come back", when)
		return b.String()
	default:
		fmt.Fprintf(&b, ": %s, git's values come back: %s", when, what)
	}
	fmt.Fprintf(&b, "; bring it into git: kubectl mainstay breakglass patch %s -n %s", n.BreakGlass.Name, n.BreakGlass.Namespace)
	return b.String()
}

// after says what becomes of what was changed under a grant that has ended.
func after(bg *v1alpha1.BreakGlass) string {
	what := ending.Changes(bg.Status.AwaitingGit)
	switch {
	case what == "":
		return "; nothing that was changed under it awaits git"
	case bg.Status.HeldUntil == nil:
		return "; git's values come back: " + what
	}
	return fmt.Sprintf("; held as it is until git says the same, until %s at most: %s; bring it into git: kubectl mainstay breakglass patch %s -n %s",
		bg.Status.HeldUntil.UTC().Format(time.RFC3339), what, bg.Name, bg.Namespace)
}

// tell records a step in the life of a grant that comes by itself.
func (k *Keeper) tell(bg *v1alpha1.BreakGlass, event, reason string) {
	group := v1alpha1.GroupVersion
	k.o.Recorder.Record(&policy.Change{
		Origin: policy.OriginRequest, Operation: policy.Update, Time: k.o.Clock(),
		User: &policy.User{Username: v1alpha1.FieldManager},
		Kind: group.WithKind("BreakGlass"), Resource: group.WithResource("breakglasses"),
		Record: &ownership.Record{
			Entry: &ownership.Entry{
				ID:      ownership.ID{Group: group.Group, Kind: "BreakGlass", Namespace: bg.Namespace, Name: bg.Name},
				Version: group.Version, Resource: breakGlasses.Resource,
			},
			Sync: &ownership.Sync{Namespace: k.o.Store.options.Namespace, Mode: v1alpha1.ModeEnforce},
		},
	}, policy.Decision{
		ID: policy.NewDecisionID(), Verdict: policy.Permit, Class: policy.RuleGrant, Event: event, Reason: reason,
		Rule: (&policy.Grant{Namespace: bg.Namespace, Name: bg.Name}).Rule(),
	})
}
