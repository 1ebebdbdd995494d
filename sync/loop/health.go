// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/health"
)

// healthChanged has the object's GitSync looked at soon: its status speaks of
// it, and others may wait for it.
func (l *Loop) healthChanged(id ownership.ID) {
	if record, ok := l.Index.Lookup(id); ok {
		l.told.of(record.Sync.Key())
	}
}

// saw notes the health of a live object.
func (l *Loop) saw(record *ownership.Record, live *fastjson.Value) {
	l.health.Saw(record.ID, string(live.GetStringBytes("metadata", "resourceVersion")), health.Of(record.GVK(), live))
}

// healthOf sums up the objects of a GitSync. What git says not to wait for
// counts as healthy as long as it is there, and so does the GitSync itself.
func (l *Loop) healthOf(key types.NamespacedName) health.Summary {
	entries := l.Index.Entries(key)
	objects := make([]health.Object, 0, len(entries))
	for id, e := range entries {
		if e.Pruning {
			continue
		}
		o := health.Object{ID: id, Result: l.health.Of(id)}
		switch {
		case e.Applied == nil:
			o.Result = health.Result{State: health.NotFound, Message: "not applied yet"}
		case o.State != health.NotFound && !o.Ready() && (itself(key, id) || ignoresHealth(e)):
			o.Result = health.Result{State: health.Current}
		}
		objects = append(objects, o)
	}
	return health.Summarize(objects)
}

// itself tells whether an object is the GitSync that declares it: it can't wait
// for itself.
func itself(key types.NamespacedName, id ownership.ID) bool {
	return id.Group == v1alpha1.GroupVersion.Group && id.Kind == "GitSync" && id.Namespace == key.Namespace && id.Name == key.Name
}

func ignoresHealth(e *ownership.Entry) bool {
	return fastjson.GetString(e.Applied.Desired, "metadata", "annotations", v1alpha1.HealthAnnotation) == string(v1alpha1.HealthIgnore)
}

// sayReady sets Ready for a GitSync whose commit was brought in: True, or what
// is waited for. Whatever it says, the commit is enforced.
func (l *Loop) sayReady(gs *v1alpha1.GitSync, s *v1alpha1.GitSyncStatus, p *pass) {
	key := client.ObjectKeyFromObject(gs)
	sum := l.healthOf(key)
	if before := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady); sum.Unseen > 0 && before != nil && before.ObservedGeneration == gs.Generation {
		return // this leader has just begun; what the last one said still holds
	}
	set(s, gs, v1alpha1.ConditionReconciling, metav1.ConditionFalse, "Idle", "")
	status, reason, message := metav1.ConditionTrue, "Applied", "applied "+s.LastAppliedRevision
	if did := p.did(s.LastAppliedRevision); did != "" {
		message += ": " + did
	}
	if but := l.mutations(key); but != "" {
		message += "; " + but
	}
	if len(sum.NotReady) == 0 || gs.Spec.Health == v1alpha1.HealthIgnore {
		p.unhealthySince, p.late = time.Time{}, false
		set(s, gs, v1alpha1.ConditionReady, status, reason, message)
		return
	}
	now := time.Now()
	if p.unhealthySince.IsZero() {
		p.unhealthySince = now
	}
	limit := timeout(gs)
	late := now.Sub(p.unhealthySince) >= limit
	p.late = late
	switch {
	case sum.Failed > 0:
		status, reason = metav1.ConditionFalse, "Unhealthy"
	case late:
		status, reason = metav1.ConditionFalse, "HealthTimeout"
	default:
		status, reason = metav1.ConditionUnknown, "Progressing"
	}
	message += "; " + sum.String()
	if status == metav1.ConditionFalse {
		message += fmt.Sprintf("\n%s is enforced all the same", s.LastAppliedRevision)
	}
	if late {
		message = strings.Replace(message, "; waiting for ", fmt.Sprintf(" after %s (spec.timeout); waiting for ", limit), 1)
	}
	set(s, gs, v1alpha1.ConditionReady, status, reason, message)
	set(s, gs, v1alpha1.ConditionReconciling, truth(!late && sum.Failed == 0), reason, sum.String())
}

// truth is True or False.
func truth(yes bool) metav1.ConditionStatus {
	if yes {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// againAt is when a GitSync looks at its repository again. Before that it is
// reminded of what time alone brings about: the end of a fight, and of the
// patience with objects that do not become healthy.
func (l *Loop) againAt(gs *v1alpha1.GitSync, p *pass) time.Duration {
	key := client.ObjectKeyFromObject(gs)
	if !p.unhealthySince.IsZero() && !p.late {
		l.remind(p, key, max(time.Until(p.unhealthySince.Add(timeout(gs))), 0)+time.Millisecond)
	} else if len(l.guard.fightsOf(key)) > 0 {
		l.remind(p, key, fightLook)
	}
	return max(time.Until(p.nextLook), time.Millisecond)
}

// remind has the status written after a while.
func (l *Loop) remind(p *pass, key types.NamespacedName, after time.Duration) {
	if p.reminder == nil {
		p.reminder = time.AfterFunc(after, func() { l.told.of(key) })
		return
	}
	p.reminder.Reset(after)
}

// objectCounts are what status says of the objects' health; what it said
// before stands until all of them have been seen.
func (l *Loop) objectCounts(key types.NamespacedName, before v1alpha1.ObjectCounts) v1alpha1.ObjectCounts {
	sum := l.healthOf(key)
	if sum.Unseen > 0 && before.Ready > 0 {
		before.Declared = count(len(l.Index.Entries(key)))
		return before
	}
	counts := v1alpha1.ObjectCounts{Declared: count(len(l.Index.Entries(key))), Ready: count(sum.Ready)}
	for _, k := range sum.Kinds[:min(len(sum.Kinds), maxKinds)] {
		counts.Kinds = append(counts.Kinds, v1alpha1.KindCounts{
			Group: k.Group, Kind: k.Kind, Declared: count(k.Total), Ready: count(k.Ready),
		})
	}
	for _, o := range sum.NotReady[:min(len(sum.NotReady), maxNotReady)] {
		counts.NotReady = append(counts.NotReady, v1alpha1.NotReady{
			Group: o.ID.Group, Kind: o.ID.Kind, Namespace: o.ID.Namespace, Name: o.ID.Name,
			State: string(o.State), Message: short(o.Message),
		})
	}
	return counts
}

// What status lists at most; the API bounds it, too.
const (
	maxKinds    = 100
	maxNotReady = 10
	maxDrifted  = 20
	maxPaths    = 5
)

func count(n int) int32 { return int32(n) } //nolint:gosec // far below 2^31
