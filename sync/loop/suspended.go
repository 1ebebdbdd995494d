// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
)

func (l *Loop) suspended(key types.NamespacedName) (suspend.Suspension, bool) {
	return l.Suspended.State(key, l.now())
}

// maySync stops a sync that a suspension overtakes.
func (l *Loop) maySync(a *attempt) error {
	if s, ok := l.suspended(a.sync.Key()); ok {
		return &failure{"Suspended", fmt.Errorf("not brought in: %s", s)}
	}
	return nil
}

// stands records what may not stand of an object of a suspended GitSync, once
// for each difference, and touches nothing. It returns when to look again.
func (g *guard) stands(record *ownership.Record, st *standing, fields []policy.Field, s suspend.Suspension) time.Duration {
	st.decision = policy.Decision{
		Verdict: policy.Permit, Class: policy.RuleSuspended, Until: &s.Until, Uncovered: st.refused,
		Reason: fmt.Sprintf("GitSync %s is %s", record.Sync.Name, s),
	}
	g.expose(record, st, time.Now())
	if g.note(record, st, fields) {
		g.l.metrics.found(record.Sync.Key())
		g.l.Recorder.Record(st.change, st.decision)
	}
	return max(s.Until.Sub(g.l.now()), time.Millisecond)
}

// reportSuspended says in the status that a GitSync is suspended, and tells
// when that begins and ends.
func (l *Loop) reportSuspended(gs *v1alpha1.GitSync, status *v1alpha1.GitSyncStatus) bool {
	s, ok := l.suspended(client.ObjectKeyFromObject(gs))
	if !ok {
		l.metrics.suspended.DeleteLabelValues(gs.Namespace, gs.Name)
		if status.Suspended != nil {
			if _, still := l.still(client.ObjectKeyFromObject(gs)); still {
				return false // what was changed stays yet, and the next leader has to know why
			}
			status.Suspended = nil
			l.event(gs, corev1.EventTypeNormal, "Resumed", "Resume", "git is enforced again; what was changed meanwhile goes back")
		}
		return false
	}
	l.metrics.suspended.WithLabelValues(gs.Namespace, gs.Name).Set(1)
	now := &v1alpha1.Suspended{
		By: s.By, Since: metav1.NewTime(s.Since.Truncate(time.Second)), Until: metav1.NewTime(s.Until.Truncate(time.Second)), Reason: s.Reason,
	}
	if before := status.Suspended; before == nil || before.By != now.By || !before.Since.Equal(&now.Since) {
		l.event(gs, corev1.EventTypeWarning, "Suspended", "Suspend", s.String())
	}
	status.Suspended = now
	set(status, gs, v1alpha1.ConditionEnforcing, metav1.ConditionFalse, "Suspended", s.String()+
		"; changes are permitted and recorded, and go back at the end; remove the annotation "+v1alpha1.SuspendAnnotation+" to end it now")
	return true
}

// resume takes the annotation of a suspension off that has had its time, so
// that the next one can be set without a second thought.
func (l *Loop) resume(ctx context.Context, gs *v1alpha1.GitSync) error {
	over := gs.Status.Suspended
	value, ok := gs.Annotations[v1alpha1.SuspendAnnotation]
	if over == nil || !ok || time.Now().Before(over.Until.Time) {
		return nil
	}
	if !strings.HasSuffix(strings.TrimSpace(value), " "+over.Reason) {
		return nil // it is another one
	}
	patch := fmt.Appendf(nil, `{"metadata":{"resourceVersion":%q,"annotations":{%q:null}}}`, gs.ResourceVersion, v1alpha1.SuspendAnnotation)
	if err := l.Client.Patch(ctx, gs, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("take the suspension off gitsync %s/%s: %w", gs.Namespace, gs.Name, err)
	}
	return nil
}
