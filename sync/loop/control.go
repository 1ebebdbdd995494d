// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// control has Reconcile called for changes of a GitSync's spec, annotations
// and deletion, and for all of them when the webhook's registration or a
// suspension changes, since their status speaks of it. The writes of their own status are not news.
func (l *Loop) control(mgr ctrl.Manager) error {
	registration := manager.RunnableFunc(func(ctx context.Context) error {
		for {
			changed, suspended := l.Registration.Changed(), l.Suspended.Changed()
			for _, s := range l.Index.Syncs() {
				gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}}
				select {
				case l.news <- event.GenericEvent{Object: gs}:
				case <-ctx.Done():
					return nil
				}
			}
			select {
			case <-changed:
			case <-suspended:
			case <-ctx.Done():
				return nil
			}
		}
	})
	if err := mgr.Add(registration); err != nil {
		return fmt.Errorf("watch the registration: %w", err)
	}
	if err := mgr.Add(l.thawing(l.news)); err != nil {
		return fmt.Errorf("watch the policies: %w", err)
	}
	if err := mgr.Add(manager.RunnableFunc(func(ctx context.Context) error { return l.deliver(ctx, l.news) })); err != nil {
		return fmt.Errorf("deliver news: %w", err)
	}
	err := ctrl.NewControllerManagedBy(mgr).
		Named("gitsync").
		For(&v1alpha1.GitSync{}, builder.WithPredicates(predicate.Or(
			predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, unbound(), pushHeard()))).
		Watches(&v1alpha1.ChangePolicy{}, handler.EnqueueRequestsFromMapFunc(l.policiesTouched),
			builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		WatchesRawSource(source.Channel(l.news, &handler.EnqueueRequestForObject{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}).
		Complete(l)
	if err != nil {
		return fmt.Errorf("set up the gitsync controller: %w", err)
	}
	return nil
}

// thawing has the GitSyncs whose commit waits looked at again when policies or
// grants change, at most once a second.
func (l *Loop) thawing(news chan<- event.GenericEvent) manager.RunnableFunc {
	return func(ctx context.Context) error {
		pause := time.NewTicker(time.Second)
		defer pause.Stop()
		for {
			changed := l.Judge.Changed()
			for _, key := range l.thaw() {
				gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
				select {
				case news <- event.GenericEvent{Object: gs}:
				case <-ctx.Done():
					return nil
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
			select {
			case <-pause.C:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// unbound lets through that somebody took Mainstay's finalizer off a GitSync:
// it has to come back before the GitSync is deleted.
func unbound() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return controllerutil.ContainsFinalizer(e.ObjectOld, v1alpha1.GitSyncFinalizer) &&
			!controllerutil.ContainsFinalizer(e.ObjectNew, v1alpha1.GitSyncFinalizer)
	}}
}

// pushHeard lets through that a push webhook was heard, by whichever replica.
func pushHeard() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false }, DeleteFunc: func(event.DeleteEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, was := e.ObjectOld.(*v1alpha1.GitSync)
			now, is := e.ObjectNew.(*v1alpha1.GitSync)
			return was && is && now.Status.LastPush != nil && !now.Status.LastPush.Equal(before.Status.LastPush)
		},
	}
}

// policiesTouched has a GitSync's policies written anew when somebody changed
// or deleted the ChangePolicy that carries them.
func (l *Loop) policiesTouched(_ context.Context, o client.Object) []reconcile.Request {
	name, ok := v1alpha1.GitSyncOfPolicy(o.GetName())
	if !ok {
		return nil
	}
	key := types.NamespacedName{Namespace: o.GetNamespace(), Name: name}
	l.pass(key).stale.Store(true)
	return []reconcile.Request{{NamespacedName: key}}
}
