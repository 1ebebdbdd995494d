// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

const (
	defaultInterval = time.Minute
	defaultTimeout  = 5 * time.Minute
	// maxBackoff bounds the time between two tries of a commit that fails.
	maxBackoff = time.Minute
	// maxWait is after what time a commit that waits is tried again without news.
	maxWait = 30 * time.Second
)

var _ reconcile.Reconciler = (*Loop)(nil)

// Reconcile looks at one GitSync's repository once and asks to be called again
// after its interval. Errors end in the GitSync's status, not in the queue.
func (l *Loop) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if err := l.awaitLive(ctx); err != nil {
		return reconcile.Result{}, err
	}
	gs := new(v1alpha1.GitSync)
	err := l.Client.Get(ctx, req.NamespacedName, gs)
	switch {
	case apierrors.IsNotFound(err):
		l.forget(req.NamespacedName)
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("get gitsync %s: %w", req.NamespacedName, err)
	case !gs.DeletionTimestamp.IsZero():
		return l.letGo(ctx, gs)
	}
	if l.tenant(gs) && gs.Spec.ServiceAccountName == "" {
		return reconcile.Result{}, l.stalled(ctx, gs, "ServiceAccountRequired", fmt.Sprintf(
			"outside namespace %s a GitSync writes in the name of an account of its own namespace: set spec.serviceAccountName", l.o.Namespace))
	}
	if l.forbidden(gs) {
		return reconcile.Result{}, l.stalled(ctx, gs, "SourceNotAllowed", fmt.Sprintf(
			"outside namespace %s a GitSync may not read repositories from Mainstay's own disk: write https://host/path.git or ssh://git@host/path.git as spec.source.url", l.o.Namespace))
	}
	if controllerutil.AddFinalizer(gs, v1alpha1.GitSyncFinalizer) {
		finalizers, err := json.Marshal(gs.Finalizers)
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("encode finalizers: %w", err)
		}
		patch := fmt.Appendf(nil, `{"metadata":{"resourceVersion":%q,"finalizers":%s}}`, gs.ResourceVersion, finalizers)
		if err := l.Client.Patch(ctx, gs, client.RawPatch(types.MergePatchType, patch)); err != nil {
			return reconcile.Result{}, fmt.Errorf("add finalizer to gitsync %s: %w", req.NamespacedName, err)
		}
	}
	return l.look(ctx, gs)
}

// look runs a sync unless it has to wait, and reports.
func (l *Loop) look(ctx context.Context, gs *v1alpha1.GitSync) (reconcile.Result, error) {
	interval := intervalOf(gs)
	p := l.pass(client.ObjectKeyFromObject(gs))
	p.remember(gs, l.Index)
	if err := l.loosen(ctx, gs, p); err != nil {
		return reconcile.Result{}, err
	}
	if l.onlyNews(gs, p) {
		return reconcile.Result{RequeueAfter: l.againAt(gs, p)}, l.report(ctx, gs, p, nil)
	}
	p.due = false
	if observing(gs) {
		interval = min(interval, observeInterval)
		p.due = p.observed == nil || p.observed.due(time.Now())
	}
	if p.thawed.Swap(false) {
		p.notBefore = time.Time{}
	}
	woken := p.soon.Swap(false)
	asked := p.requested(gs) || p.pushed(gs) || p.answered != answers(gs) || woken
	if wait := time.Until(p.notBefore); wait > 0 && p.generation == gs.Generation && !asked {
		return reconcile.Result{RequeueAfter: min(wait, interval)}, l.report(ctx, gs, p, nil)
	}
	if active, reason, until := l.Off.State(l.now()); active {
		return reconcile.Result{RequeueAfter: time.Second}, l.reportOff(ctx, gs, reason, until)
	}
	if s, ok := l.suspended(client.ObjectKeyFromObject(gs)); ok {
		return reconcile.Result{RequeueAfter: min(l.untilSaid(gs, s), interval)}, l.report(ctx, gs, p, nil)
	}
	if err := l.resume(ctx, gs); err != nil {
		return reconcile.Result{}, err
	}
	limit := timeout(gs)
	syncCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	p.answered = answers(gs)
	commit := p.commit
	revision, err := l.sync(syncCtx, gs, p)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = &failure{"Timeout", fmt.Errorf("not done after %s (spec.timeout): %w", limit, err)}
	}
	if ctx.Err() != nil {
		return reconcile.Result{}, ctx.Err()
	}
	next := untilNext(gs.Spec.Source.URL, interval, time.Now())
	p.waits(err)
	held, frozen := errors.AsType[*withheld](err)
	p.held.Store(frozen)
	w, waits := errors.AsType[*waiting](err)
	switch {
	case frozen:
		p.failures, p.commit, p.generation = 0, "", gs.Generation
		next = held.next(time.Now(), interval)
		p.notBefore = time.Now().Add(next)
		l.metrics.syncSeconds.WithLabelValues("frozen").Observe(time.Since(start).Seconds())
	case waits:
		// Nothing is wrong; news of what is waited for has it tried again.
		p.commit, p.generation = "", gs.Generation
		next = min(interval, maxWait)
		err = w.overdue(p, limit)
	case err != nil:
		p.failures++
		// The generation is remembered, so that an edit of the spec is tried at
		// once and an unchanged one waits.
		p.commit, p.generation = "", gs.Generation
		next = pause(err, min(time.Second<<min(p.failures-1, 10), max(interval, time.Second), maxBackoff))
		p.notBefore = time.Now().Add(next)
		l.metrics.syncSeconds.WithLabelValues("failed").Observe(time.Since(start).Seconds())
	default:
		p.failures, p.notBefore = 0, time.Time{}
		if p.commit != commit && !observing(gs) {
			l.metrics.syncSeconds.WithLabelValues("applied").Observe(time.Since(start).Seconds())
		}
		l.metrics.lastSuccess.WithLabelValues(gs.Namespace, gs.Name).SetToCurrentTime()
	}
	p.nextLook = time.Now().Add(next)
	err = l.report(ctx, gs, p, &outcome{revision, err})
	return reconcile.Result{RequeueAfter: l.againAt(gs, p)}, err
}

// tenant tells that a GitSync may speak about its own namespace only.
func (l *Loop) tenant(gs *v1alpha1.GitSync) bool { return gs.Namespace != l.o.Namespace }

// onDisk tells that a repository is a folder of this machine.
func onDisk(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "file" // one that can't be parsed can't be fetched
}

// outcome of one look.
type outcome struct {
	revision ownership.Revision
	err      error
}

// awaitLive waits until everything that is declared was compared once, so that
// a restarted leader knows what is permitted before it applies anything.
func (l *Loop) awaitLive(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ready:
		return nil
	}
}

func (l *Loop) forget(key types.NamespacedName) {
	l.mu.Lock()
	delete(l.passes, key)
	delete(l.waiters, key)
	l.mu.Unlock()
	l.metrics.hide(key.Namespace, key.Name)
}

// SetupWithManager lets the manager call the loop for every change of a
// GitSync's spec or annotations.
func (l *Loop) SetupWithManager(mgr ctrl.Manager) error {
	if err := mgr.Add(l); err != nil {
		return fmt.Errorf("add the sync loop: %w", err)
	}
	return l.control(mgr)
}
