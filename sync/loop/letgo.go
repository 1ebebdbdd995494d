// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// letGoRetry is the time between two looks at a GitSync that is going away.
const letGoRetry = time.Second

// letGo handles the deletion of a GitSync: its objects are let go or deleted,
// and then it goes. It waits for that no longer than spec.timeout: whatever
// keeps an object, the GitSync itself ends.
func (l *Loop) letGo(ctx context.Context, gs *v1alpha1.GitSync) (reconcile.Result, error) {
	key := client.ObjectKeyFromObject(gs)
	if !controllerutil.ContainsFinalizer(gs, v1alpha1.GitSyncFinalizer) {
		return reconcile.Result{}, nil
	}
	p := l.pass(key)
	p.commit = "" // Ready is about the end from now on
	// Nothing can be written into a namespace that is going away, and all that a
	// GitSync of it declares goes with it.
	taken := l.tenant(gs) && l.terminating(ctx, gs.Namespace)
	if why, again := l.postponed(gs); why != "" && !taken {
		return reconcile.Result{RequeueAfter: again}, errors.Join(l.report(ctx, gs, p, nil), l.leaving(ctx, gs, why))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var left []ownership.ID
	var err error
	if !taken {
		left, err = l.letGoObjects(ctx, gs)
	}
	if ctx.Err() != nil {
		return reconcile.Result{}, ctx.Err()
	}
	end := gs.DeletionTimestamp.Add(timeout(gs))
	if err != nil || len(left) > 0 {
		message := leftMessage(left, err)
		if time.Now().Before(end) {
			return reconcile.Result{RequeueAfter: letGoRetry}, l.leaving(ctx, gs, fmt.Sprintf("%s; waited for until %s", message, end.UTC().Format(time.RFC3339)))
		}
		l.event(gs, corev1.EventTypeWarning, "LetGoIncomplete", "LetGo", "no longer waited for: "+message)
	}
	if err := l.Inventory.Delete(ctx, key); err != nil {
		return reconcile.Result{}, err
	}
	l.Policies.Unload(policy.GitSyncSource(key))
	controllerutil.RemoveFinalizer(gs, v1alpha1.GitSyncFinalizer)
	if err := l.Client.Update(ctx, gs); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("remove finalizer of gitsync %s: %w", key, err)
	}
	l.forget(key)
	return reconcile.Result{}, nil
}

// postponed tells why nothing becomes of the objects of a GitSync that is being
// deleted yet, and when to look again; empty where nothing stands against it.
func (l *Loop) postponed(gs *v1alpha1.GitSync) (why string, again time.Duration) {
	if active, reason, until := l.Off.State(l.now()); active {
		return fmt.Sprintf("mainstay-off is in force until %s: %s; its objects are let go or deleted then", until.UTC().Format(time.RFC3339), reason), letGoRetry
	}
	if s, ok := l.suspended(client.ObjectKeyFromObject(gs)); ok && gs.Spec.DeletionPolicy == "Delete" {
		return fmt.Sprintf("%s; its objects are deleted then; remove the annotation %s to have that now", s, v1alpha1.SuspendAnnotation),
			min(s.Until.Sub(l.now())+time.Millisecond, defaultInterval)
	}
	return "", 0
}

// letGoObjects deletes the objects of a GitSync, or lets go of them all. It
// returns those that are not gone yet.
func (l *Loop) letGoObjects(ctx context.Context, gs *v1alpha1.GitSync) ([]ownership.ID, error) {
	known, ok := l.Index.Sync(client.ObjectKeyFromObject(gs))
	if !ok || observing(gs) {
		return nil, nil
	}
	a := &attempt{
		sync:    *known,
		prune:   gs.Spec.DeletionPolicy == "Delete",
		ends:    true,
		before:  l.Index.Entries(known.Key()),
		entries: l.Index.Entries(known.Key()),
		planned: map[ownership.ID]*planned{},

		confirmed: true,
	}
	a.leaving = sorted(a.before)
	ctx, cancel := context.WithTimeout(ctx, timeout(gs))
	defer cancel()
	if err := l.decideFates(ctx, a); err != nil {
		return a.leaving, err
	}
	if err := l.prune(ctx, a); err != nil {
		return a.left(), err
	}
	left := a.left()
	if len(left) == 0 {
		return nil, nil
	}
	return left, l.persist(ctx, a)
}

// left are the objects that have not left yet.
func (a *attempt) left() []ownership.ID { return sorted(a.entries) }

func leftMessage(left []ownership.ID, err error) string {
	if err != nil {
		return err.Error()
	}
	names := make([]string, 0, maxPending+1)
	for i, id := range left {
		if i == maxPending {
			names = append(names, fmt.Sprintf("and %d more", len(left)-i))
			break
		}
		names = append(names, id.String())
	}
	return "still there: " + strings.Join(names, ", ")
}

// leaving says what a GitSync that is going away waits for.
func (l *Loop) leaving(ctx context.Context, gs *v1alpha1.GitSync, message string) error {
	return l.updateStatus(ctx, gs, func(s *v1alpha1.GitSyncStatus) {
		set(s, gs, v1alpha1.ConditionReady, metav1.ConditionFalse, "Deleting", message)
	})
}

// terminating tells whether a namespace is going away, or gone.
func (l *Loop) terminating(ctx context.Context, name string) bool {
	namespace := new(corev1.Namespace)
	err := l.Client.Get(ctx, types.NamespacedName{Name: name}, namespace)
	if err != nil {
		if client.IgnoreNotFound(err) != nil {
			ctrl.LoggerFrom(ctx).Error(err, "not known whether the namespace is going away", "namespace", name)
		}
		return client.IgnoreNotFound(err) == nil
	}
	return !namespace.DeletionTimestamp.IsZero()
}

// timeout of one sync of a GitSync.
func timeout(gs *v1alpha1.GitSync) time.Duration {
	if gs.Spec.Timeout != nil {
		return gs.Spec.Timeout.Duration
	}
	return defaultTimeout
}
