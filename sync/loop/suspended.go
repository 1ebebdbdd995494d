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
	"github.com/mainstay-gitops/mainstay/policy/ending"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
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

// The reasons of what is told of a suspension.
const (
	eventSuspended  = "Suspended"
	eventSuspending = "SuspensionEnding"
	eventResumed    = "Resumed"
)

// reportSuspended says in the status that a GitSync is suspended, and tells
// when that begins, soon ends, and has ended.
func (l *Loop) reportSuspended(gs *v1alpha1.GitSync, status *v1alpha1.GitSyncStatus) bool {
	s, ok := l.suspended(client.ObjectKeyFromObject(gs))
	if !ok {
		l.metrics.suspended.DeleteLabelValues(gs.Namespace, gs.Name)
		if status.Suspended != nil {
			if _, lingers := l.lingering(client.ObjectKeyFromObject(gs)); lingers {
				return false // what was changed stays yet, and people have to see why
			}
			status.Suspended = nil
			l.tellSuspended(gs, eventResumed, "", "git is enforced again; what was changed meanwhile goes back")
		}
		return false
	}
	l.metrics.suspended.WithLabelValues(gs.Namespace, gs.Name).Set(1)
	now := &v1alpha1.Suspended{
		By: s.By, Since: metav1.NewTime(s.Since.Truncate(time.Second)), Until: metav1.NewTime(s.Until.Truncate(time.Second)), Reason: s.Reason,
	}
	if before := status.Suspended; before != nil && before.By == now.By && before.Since.Equal(&now.Since) {
		now.Told = before.Told
	} else {
		l.event(gs, corev1.EventTypeWarning, eventSuspended, "Suspend", s.String())
	}
	if due, _ := ends(now).Due(l.o.Notices, l.now()); due != nil {
		now.Told = due
		l.tellSuspended(gs, eventSuspending, "warning", l.endOf(gs, now))
	}
	status.Suspended = now
	set(status, gs, v1alpha1.ConditionEnforcing, metav1.ConditionFalse, "Suspended", s.String()+
		"; changes are permitted and recorded, and go back at the end; remove the annotation "+v1alpha1.SuspendAnnotation+" to end it now")
	return true
}

func ends(s *v1alpha1.Suspended) ending.Exception {
	return ending.Exception{From: s.Since.Time, End: s.Until.Time, Told: s.Told}
}

// untilSaid is how long nothing is to be said of a suspension: at its end, or
// before that at a notice of it.
func (l *Loop) untilSaid(gs *v1alpha1.GitSync, s suspend.Suspension) time.Duration {
	now := l.now()
	wait := s.Until.Sub(now) + time.Millisecond
	if was := gs.Status.Suspended; was != nil {
		if _, next := ends(was).Due(l.o.Notices, now); next > 0 {
			wait = min(wait, next)
		}
	}
	return max(wait, time.Millisecond)
}

// endOf says that a suspension ends, and what comes back then.
func (l *Loop) endOf(gs *v1alpha1.GitSync, s *v1alpha1.Suspended) string {
	text := fmt.Sprintf("the suspension by %s (%s) ends %s; ", s.By, s.Reason, ending.When(s.Until.Time, l.now()))
	var list []v1alpha1.BreakGlassChange
	for _, d := range l.guard.drifted(client.ObjectKeyFromObject(gs)) {
		if d.State != v1alpha1.StateDiffers {
			continue
		}
		id := ownership.ID{Group: d.Group, Kind: d.Kind, Namespace: d.Namespace, Name: d.Name}
		change := v1alpha1.BreakGlassChange{Object: id.String(), Paths: d.Paths}
		for _, text := range d.Paths {
			if path, err := fieldset.Parse(text); err == nil {
				change.RestartsPods = change.RestartsPods || policy.RestartsPods(id, path)
			}
		}
		list = append(list, change)
	}
	if len(list) == 0 {
		return text + "nothing of it differs from git"
	}
	return text + "then git's values come back: " + ending.Changes(list) + "; put what has to stay into git first"
}

// tellSuspended records a step in a suspension that comes by itself.
func (l *Loop) tellSuspended(gs *v1alpha1.GitSync, event, severity, reason string) {
	group := v1alpha1.GroupVersion
	l.Recorder.Record(&policy.Change{
		Origin: policy.OriginRequest, Operation: policy.Update, Time: l.now(), User: &policy.User{Username: l.o.Account},
		Kind: group.WithKind("GitSync"), Resource: group.WithResource("gitsyncs"),
		Record: &ownership.Record{
			Entry: &ownership.Entry{
				ID:      ownership.ID{Group: group.Group, Kind: "GitSync", Namespace: gs.Namespace, Name: gs.Name},
				Version: group.Version, Resource: "gitsyncs",
			},
			Sync: &ownership.Sync{Namespace: gs.Namespace, Name: gs.Name, Mode: v1alpha1.ModeEnforce},
		},
	}, policy.Decision{
		ID: policy.NewDecisionID(), Verdict: policy.Permit, Class: policy.RuleSuspended, Rule: suspend.Rule,
		Event: event, Severity: severity, Reason: reason,
	})
}

// resume takes the annotation of a suspension off that has had its time, so
// that the next one can be set without a second thought.
func (l *Loop) resume(ctx context.Context, gs *v1alpha1.GitSync) error {
	over := gs.Status.Suspended
	value, ok := gs.Annotations[v1alpha1.SuspendAnnotation]
	if over == nil || !ok || l.now().Before(over.Until.Time) {
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
