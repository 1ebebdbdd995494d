// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
)

// maxMessage bounds a condition's message; the API allows 32 KiB.
const maxMessage = 4096

// report writes the status after a look; a nil outcome refreshes the counts.
func (l *Loop) report(ctx context.Context, gs *v1alpha1.GitSync, p *pass, o *outcome) error {
	err := l.updateStatus(ctx, gs, func(s *v1alpha1.GitSyncStatus) {
		if known, ok := l.Index.Sync(client.ObjectKeyFromObject(gs)); ok {
			s.LastAppliedRevision = known.Applied.Name
		}
		l.counts(gs, s)
		p.reach.describe(s, l.now(), l.o.AfterOutage)
		if _, lingers := l.lingering(client.ObjectKeyFromObject(gs)); !lingers && !l.off() {
			s.Off = nil
		}
		l.enforcing(ctx, gs, s)
		if o == nil {
			if p.commit != "" && p.generation == gs.Generation && !observing(gs) {
				l.sayReady(gs, s, p)
			}
			return
		}
		s.ObservedGeneration = gs.Generation
		if p.request != "" {
			s.LastHandledRequest = p.request
		}
		if o.revision.Name != "" {
			s.LastAttemptedRevision = o.revision.Name
		}
		set(s, gs, v1alpha1.ConditionReconciling, metav1.ConditionFalse, "Idle", "")
		set(s, gs, v1alpha1.ConditionStalled, metav1.ConditionFalse, "Retrying", "")
		verifiedCondition(gs, s, p)
		if o.err == nil {
			s.NextSync = nil
			p.remembers(s)
			if observing(gs) && p.observed != nil {
				set(s, gs, v1alpha1.ConditionReady, metav1.ConditionTrue, "Observing", p.observed.String())
			} else {
				l.sayReady(gs, s, p)
			}
			l.policiesCondition(ctx, gs, s, p)
			return
		}
		next := metav1.NewTime(p.notBefore)
		s.NextSync = &next
		reason := "SyncFailed"
		if f, ok := errors.AsType[*failure](o.err); ok {
			reason = f.reason
		}
		message := o.err.Error()
		if s.LastAppliedRevision != "" && !observing(gs) {
			message += "\n" + s.LastAppliedRevision + " stays enforced"
		}
		set(s, gs, v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
		if reason == dependencyNotReady {
			set(s, gs, v1alpha1.ConditionReconciling, metav1.ConditionTrue, reason, o.err.Error())
		}
		if o.revision.Commit != "" {
			l.policiesCondition(ctx, gs, s, p)
		}
		l.complain(ctx, gs, p, o.revision, reason, o.err)
	})
	if err == nil && meta.IsStatusConditionTrue(gs.Status.Conditions, v1alpha1.ConditionReady) {
		l.tell(client.ObjectKeyFromObject(gs))
	}
	return err
}

// complain makes an Event of a failure, once for each message.
func (l *Loop) complain(ctx context.Context, gs *v1alpha1.GitSync, p *pass, revision ownership.Revision, reason string, err error) {
	if p.failed == revision.Commit && p.said == err.Error() {
		return
	}
	p.failed, p.said = revision.Commit, err.Error()
	if reason == dependencyNotReady {
		ctrl.LoggerFrom(ctx).Info("sync waits, the last good revision stays enforced", "revision", revision.Name, "for", err.Error())
		l.event(gs, corev1.EventTypeNormal, reason, "Sync", err.Error())
		return
	}
	ctrl.LoggerFrom(ctx).Info("sync failed, the last good revision stays enforced", "revision", revision.Name, "reason", reason, "error", err.Error())
	l.event(gs, corev1.EventTypeWarning, reason, "Sync", err.Error())
}

// announce makes an Event of an applied revision.
func (l *Loop) announce(ctx context.Context, gs *v1alpha1.GitSync, a *attempt) {
	p := l.pass(client.ObjectKeyFromObject(gs))
	p.failed, p.said = "", ""
	p.pruning = false
	for _, e := range a.entries {
		p.pruning = p.pruning || unfinished(e)
	}
	l.metrics.objects.WithLabelValues(gs.Namespace, gs.Name).Set(float64(len(a.entries)))
	l.sayLetGo(gs, a)
	for owner := range a.movedFrom {
		l.wake(owner)
	}
	for _, f := range a.fates {
		if f.what == handedOver {
			l.wake(f.to)
		}
	}
	if gs.Status.LastAppliedRevision == a.revision.Name && a.tally == (tally{}) {
		return
	}
	p.history = appliedRevision(a)
	ctrl.LoggerFrom(ctx).Info("applied", "revision", a.revision.Name, "objects", len(a.entries), "done", a.tally.String())
	l.event(gs, corev1.EventTypeNormal, "Applied", "Sync", fmt.Sprintf("%s by %s: %s; %d objects: %s",
		a.revision.Name, a.revision.Author, a.revision.Subject, len(a.entries), cmp.Or(a.tally.String(), "nothing to write")))
}

// observedEvent makes an Event of a commit that was looked at in mode Observe.
func (l *Loop) observedEvent(ctx context.Context, gs *v1alpha1.GitSync, p *pass, revision ownership.Revision) {
	p.failed, p.said = "", ""
	l.metrics.objects.WithLabelValues(gs.Namespace, gs.Name).Set(float64(len(l.Index.Entries(client.ObjectKeyFromObject(gs)))))
	if gs.Status.LastAttemptedRevision == revision.Name && p.commit == revision.Commit {
		return
	}
	ctrl.LoggerFrom(ctx).Info("observed", "revision", revision.Name, "found", p.observed.String())
	l.event(gs, corev1.EventTypeNormal, "Observed", "Sync", revision.Name+": "+p.observed.String())
}

func (l *Loop) policiesCondition(ctx context.Context, gs *v1alpha1.GitSync, s *v1alpha1.GitSyncStatus, p *pass) {
	if p.policies == (policiesResult{}) {
		return // not looked at since this leader began
	}
	before := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionPoliciesReady)
	gauge := l.metrics.policies.WithLabelValues(gs.Namespace, gs.Name)
	gauge.Set(1)
	if p.policies.err != nil {
		gauge.Set(0)
		message := p.policies.err.Error() + "\nthe last good policies stay in force"
		if before == nil || before.Message != clip(message) {
			l.event(gs, corev1.EventTypeWarning, "PoliciesFailed", "LoadPolicies", p.policies.err.Error())
		}
		set(s, gs, v1alpha1.ConditionPoliciesReady, metav1.ConditionFalse, "LoadFailed", message)
		return
	}
	if failing := l.policiesFail(ctx, gs, p); failing != nil {
		set(s, gs, v1alpha1.ConditionPoliciesReady, metav1.ConditionFalse, failing.Reason, p.policies.message+"; "+failing.Message)
		return
	}
	set(s, gs, v1alpha1.ConditionPoliciesReady, metav1.ConditionTrue, "Loaded", p.policies.message)
}

// policiesFail is what the ChangePolicy that carries a GitSync's policies says of
// judging by them, whichever replica it happens to; nil where that goes well.
func (l *Loop) policiesFail(ctx context.Context, gs *v1alpha1.GitSync, p *pass) *metav1.Condition {
	if !p.policies.carried {
		return nil
	}
	cp := policyObject(gs)
	if err := l.Client.Get(ctx, client.ObjectKeyFromObject(cp), cp); err != nil {
		return nil // what is loaded is known all the same; it is asked again at the next sync
	}
	if c := meta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionFailing); c != nil && c.Status == metav1.ConditionTrue {
		return c
	}
	return nil
}

// reconciling says that a new commit is being brought in.
func (l *Loop) reconciling(ctx context.Context, gs *v1alpha1.GitSync, revision ownership.Revision) {
	if gs.Status.LastAttemptedRevision == revision.Name && gs.Status.ObservedGeneration == gs.Generation {
		return // another try of the same: the status says so already
	}
	// The status is for people; a sync does not fail because of it.
	err := l.updateStatus(ctx, gs, func(s *v1alpha1.GitSyncStatus) {
		s.LastAttemptedRevision = revision.Name
		reason, message := "Applying", "bringing in "+revision.Name
		if observing(gs) {
			reason, message = "Observing", "looking at "+revision.Name
		}
		set(s, gs, v1alpha1.ConditionReconciling, metav1.ConditionTrue, reason, message)
	})
	if err != nil {
		l.event(gs, corev1.EventTypeWarning, "StatusFailed", "Sync", err.Error())
	}
}

// stalled reports what only an edit of the GitSync can mend.
func (l *Loop) stalled(ctx context.Context, gs *v1alpha1.GitSync, reason, message string) error {
	return l.updateStatus(ctx, gs, func(s *v1alpha1.GitSyncStatus) {
		s.ObservedGeneration = gs.Generation
		set(s, gs, v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, message)
		set(s, gs, v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
	})
}

// reportOff says that mainstay-off is in force.
func (l *Loop) reportOff(ctx context.Context, gs *v1alpha1.GitSync, reason string, until time.Time) error {
	return l.updateStatus(ctx, gs, func(s *v1alpha1.GitSyncStatus) {
		l.counts(gs, s)
		s.Off = &v1alpha1.Off{Until: metav1.NewTime(until.Truncate(time.Second)), Reason: reason}
		message := fmt.Sprintf("mainstay-off is in force until %s: %s; delete the ConfigMap to turn enforcement on again",
			until.UTC().Format(time.RFC3339), reason)
		set(s, gs, v1alpha1.ConditionEnforcing, metav1.ConditionFalse, "Off", message)
	})
}

// enforcing tells whether a manual change would be refused.
func (l *Loop) enforcing(ctx context.Context, gs *v1alpha1.GitSync, s *v1alpha1.GitSyncStatus) {
	if l.reportSuspended(gs, s) {
		return
	}
	mode, message := l.Registration.State()
	switch {
	case observing(gs):
		set(s, gs, v1alpha1.ConditionEnforcing, metav1.ConditionFalse, string(v1alpha1.ModeObserve),
			"mode is Observe: nothing is written, and changes are permitted and recorded")
	case gs.Spec.Enforcement.Mode != v1alpha1.ModeEnforce:
		set(s, gs, v1alpha1.ConditionEnforcing, metav1.ConditionFalse, string(gs.Spec.Enforcement.Mode),
			"mode is "+string(gs.Spec.Enforcement.Mode)+": changes are permitted and recorded")
	case mode != "Fail":
		set(s, gs, v1alpha1.ConditionEnforcing, metav1.ConditionFalse, "Webhook"+mode, message)
	case s.LastAppliedRevision == "":
		set(s, gs, v1alpha1.ConditionEnforcing, metav1.ConditionFalse, "NothingApplied", "no revision was applied yet")
	default:
		message := "changes that git did not make are refused"
		if but := l.onlyReverted(ctx, client.ObjectKeyFromObject(gs)); but != "" {
			message += "; " + but
		}
		set(s, gs, v1alpha1.ConditionEnforcing, metav1.ConditionTrue, "Enforcing", message)
	}
}

func (l *Loop) counts(gs *v1alpha1.GitSync, s *v1alpha1.GitSyncStatus) {
	key := client.ObjectKeyFromObject(gs)
	s.Objects = l.objectCounts(key, s.Objects)
	s.Drift.Objects = l.guard.drifted(key)
	s.Drift.Current, s.Drift.Permitted, s.Drift.Reverted24h = l.guard.counts(key)
	s.Drift.Refused24h = l.Recorder.Refused24h(key)
	if found := l.pass(key).observed; found != nil && observing(gs) {
		s.Drift.Current = found.count[wouldChange]
	}
	fights := l.guard.fightsOf(key)
	l.metrics.fights.WithLabelValues(gs.Namespace, gs.Name).Set(float64(len(fights)))
	if n := s.Drift.Current; n > 0 || len(fights) > 0 {
		reason, message := "Drift", fmt.Sprintf("%d objects differ from git", n)
		if n == 1 {
			message = "1 object differs from git"
		}
		if failures := l.guard.failures(key); failures != "" {
			reason, message = "RevertFailed", message+"; not put back, and tried again: "+failures
		}
		if len(fights) > 0 {
			reason, message = "Fight", fightsMessage(fights)
		}
		if past, lingers := l.lingering(key); lingers && reason == "Drift" {
			reason, message = v1alpha1.ReasonAwaitingGit, message+"; changed while "+whatWas(past)+": "+past.Reason
		}
		set(s, gs, v1alpha1.ConditionDrifted, metav1.ConditionTrue, reason, message)
	} else if held := l.guard.awaiting(key); len(held) > 0 {
		set(s, gs, v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonAwaitingGit, awaitingGit(held))
	} else {
		set(s, gs, v1alpha1.ConditionDrifted, metav1.ConditionFalse, "AsGitSays", "")
	}
}

// whatWas names an exception that is over.
func whatWas(past suspend.Suspension) string {
	if past.By == v1alpha1.OffConfigMap {
		return "mainstay-off was in force"
	}
	return "it was suspended by " + past.By
}

// maxHeld is how many held objects a message names.
const maxHeld = 10

// awaitingGit says what is held as it is, and what to do.
func awaitingGit(held []string) string {
	n := len(held)
	text := fmt.Sprintf("%d objects are held as they are until git says the same: ", n)
	if n == 1 {
		text = "1 object is held as it is until git says the same: "
	}
	if n > maxHeld {
		held = append(held[:maxHeld:maxHeld], fmt.Sprintf("and %d more", n-maxHeld))
	}
	return text + strings.Join(held, "; ") + "; kubectl mainstay breakglass patch NAME makes the commit, and breakglass revert NAME gives it up"
}

// updateStatus writes the status if change changes it.
func (l *Loop) updateStatus(ctx context.Context, gs *v1alpha1.GitSync, change func(*v1alpha1.GitSyncStatus)) error {
	before := gs.DeepCopy()
	change(&gs.Status)
	l.metrics.show(gs)
	if equality.Semantic.DeepEqual(before.Status, gs.Status) {
		return nil
	}
	if err := l.Client.Status().Patch(ctx, gs, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write status of gitsync %s/%s: %w", gs.Namespace, gs.Name, err)
	}
	return nil
}

func set(s *v1alpha1.GitSyncStatus, gs *v1alpha1.GitSync, condition string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{
		Type: condition, Status: status, Reason: reason, Message: clip(message), ObservedGeneration: gs.Generation,
	})
}

func clip(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage-len("…")], "") + "…"
}

// event makes an Event on a GitSync.
func (l *Loop) event(gs *v1alpha1.GitSync, kind, reason, action, note string) {
	l.Events.Eventf(gs, nil, kind, reason, action, "%s", short(note))
}

// warn makes an Event on a declared object.
func (l *Loop) warn(sync *ownership.Sync, e *ownership.Entry, reason, action, note string) {
	object := &corev1.ObjectReference{APIVersion: e.APIVersion(), Kind: e.Kind, Namespace: e.Namespace, Name: e.Name}
	declaredBy := &corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "GitSync", Namespace: sync.Namespace, Name: sync.Name,
	}
	l.Events.Eventf(object, declaredBy, corev1.EventTypeWarning, reason, action, "%s", short(note))
}

// short bounds the note of an Event, which is at most 1 KiB by the API.
func short(note string) string {
	if len(note) <= 1000 {
		return note
	}
	return strings.ToValidUTF8(note[:1000], "") + "…"
}
