// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
)

// EventEnded is the reason of the Event at a grant's end.
const EventEnded = "GrantEnded"

// Recorder records steps in the life of a grant. audit.Recorder does.
type Recorder interface {
	Record(change *policy.Change, decision policy.Decision)
}

// KeeperOptions of a Keeper. All but Notices, Registerer and Clock are
// required.
type KeeperOptions struct {
	// Client reads BreakGlasses and writes their status, uncached.
	Client   client.Client
	Store    *Store
	Refusals *Refusals
	// Permits are the records of what grants permitted.
	Permits Permits
	// Recorder takes the ends and the notices of them, and tells people.
	Recorder Recorder
	// Notices are how long before an end it is told, the longest first.
	Notices []time.Duration
	// Registerer takes the metric mainstay_grants.
	Registerer prometheus.Registerer
	// Clock is time.Now where it is nil.
	Clock func() time.Time
}

// Keeper shows in the status of BreakGlasses how they stand, and sweeps away
// records that can never count again. It needs leadership.
type Keeper struct {
	o     KeeperOptions
	gauge *prometheus.GaugeVec
	again chan event.TypedGenericEvent[*v1alpha1.BreakGlass]

	mu     sync.Mutex
	phases map[types.NamespacedName]string
	// settled says how changes are over whose permits are about to go.
	settled map[change]string
}

var _ reconcile.Reconciler = (*Keeper)(nil)

// NewKeeper checks the options.
func NewKeeper(o KeeperOptions) (*Keeper, error) {
	switch {
	case o.Client == nil:
		return nil, errors.New("grant: KeeperOptions.Client is required")
	case o.Store == nil:
		return nil, errors.New("grant: KeeperOptions.Store is required")
	case o.Refusals == nil:
		return nil, errors.New("grant: KeeperOptions.Refusals is required")
	case o.Permits == nil:
		return nil, errors.New("grant: KeeperOptions.Permits is required")
	case o.Recorder == nil:
		return nil, errors.New("grant: KeeperOptions.Recorder is required")
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	k := &Keeper{
		o: o, phases: map[types.NamespacedName]string{}, settled: map[change]string{}, again: make(chan event.TypedGenericEvent[*v1alpha1.BreakGlass]),
		gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mainstay_grants", Help: "BreakGlasses by phase, as the leader sees them.",
		}, []string{"phase"}),
	}
	for _, phase := range phases {
		k.gauge.WithLabelValues(phase)
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(k.gauge); err != nil {
			return nil, fmt.Errorf("register metrics of grants: %w", err)
		}
	}
	if err := o.Store.register(o.Registerer, o.Clock); err != nil {
		return nil, err
	}
	return k, nil
}

var phases = []string{v1alpha1.PhaseRequested, v1alpha1.PhaseActive, v1alpha1.PhaseEnded, v1alpha1.PhaseRevoked}

const sweepInterval = time.Minute

// Start has the status of all BreakGlasses looked at when records change, and
// sweeps, until ctx ends.
func (k *Keeper) Start(ctx context.Context) error {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	var group sync.WaitGroup
	group.Go(func() { k.follow(ctx) })
	defer group.Wait()
	for {
		changed := k.o.Store.Changed()
		for _, key := range k.o.Store.Requests() {
			bg := &v1alpha1.BreakGlass{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
			select {
			case <-ctx.Done():
				return nil
			case k.again <- event.TypedGenericEvent[*v1alpha1.BreakGlass]{Object: bg}:
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-ticker.C:
			if err := errors.Join(k.o.Store.Sweep(ctx), k.o.Refusals.Sweep(ctx)); err != nil && ctx.Err() == nil {
				ctrl.LoggerFrom(ctx).Error(err, "records of grants not swept, trying again")
			}
		}
	}
}

// NeedLeaderElection tells that one replica writes status and sweeps.
func (k *Keeper) NeedLeaderElection() bool { return true }

// Reconcile writes the status of one BreakGlass.
func (k *Keeper) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if !k.o.Store.Synced() {
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	bg := new(v1alpha1.BreakGlass)
	switch err := k.o.Client.Get(ctx, req.NamespacedName, bg); {
	case apierrors.IsNotFound(err):
		k.count(req.NamespacedName, "")
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("get breakglass %s: %w", req.NamespacedName, err)
	}
	if err := k.giveUp(ctx, bg); err != nil {
		return reconcile.Result{}, err
	}
	before := bg.DeepCopy()
	again := k.describe(bg)
	notice, next := k.notice(bg)
	if next > 0 && (again == 0 || next < again) {
		again = next
	}
	if notice != nil {
		bg.Status.Told = notice.Due
	}
	k.count(req.NamespacedName, bg.Status.Phase)
	if equality.Semantic.DeepEqual(before.Status, bg.Status) {
		return reconcile.Result{RequeueAfter: again}, nil
	}
	if err := k.o.Client.Status().Patch(ctx, bg, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("write status of breakglass %s: %w", req.NamespacedName, err)
	}
	if before.Status.Phase == v1alpha1.PhaseActive && bg.Status.Phase == v1alpha1.PhaseEnded {
		k.tell(bg, EventEnded, fmt.Sprintf("break-glass %s of %s has ended after %s%s", bg.Name, bg.Spec.RequestedBy, bg.Spec.Duration.Duration, after(bg)))
	}
	if notice != nil {
		k.tell(bg, EventEnding, notice.Text)
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

// giveUp seals that somebody has given up what was changed under a grant that has
// ended, so that nobody takes it back by removing the annotation.
func (k *Keeper) giveUp(ctx context.Context, bg *v1alpha1.BreakGlass) error {
	if bg.Annotations[v1alpha1.RevertAnnotation] == "" {
		return nil
	}
	known, ok := k.o.Store.Known(bg.UID)
	now := k.o.Clock()
	if !ok || known.GivenUpAt != nil || known.StartsAt == nil || known.live(now) && known.standsFor(bg) {
		return nil
	}
	r, ok, err := k.o.Store.Read(ctx, bg.UID)
	if err != nil || !ok || r.GivenUpAt != nil {
		return err
	}
	r.GivenUpAt = new(now.UTC())
	if err := k.o.Store.Put(ctx, r); err != nil && !apierrors.IsConflict(err) {
		return err
	}
	return nil
}

// describe fills in the status, and returns when to look again. It speaks of the
// BreakGlass as it was read, of which the Store may know another state.
func (k *Keeper) describe(bg *v1alpha1.BreakGlass) time.Duration {
	now := k.o.Clock()
	status := &bg.Status
	r, ok := k.o.Store.Known(bg.UID)
	if ok {
		status.Scope, status.Subjects = r.Scope.DeepCopy(), r.Subjects
		status.StartsAt, status.ExpiresAt, status.HeldUntil = nil, nil, nil
		if r.StartsAt != nil && bg.Spec.ApprovedBy == r.Approver {
			start, end := metav1.NewTime(*r.StartsAt).Rfc3339Copy(), metav1.NewTime(*r.ExpiresAt).Rfc3339Copy()
			status.StartsAt, status.ExpiresAt = &start, &end
			if r.HeldUntil != nil {
				held := metav1.NewTime(*r.HeldUntil).Rfc3339Copy()
				status.HeldUntil = &held
			}
		}
	}
	k.changes(bg, now)
	switch {
	case bg.Spec.Revoked:
		status.Phase = v1alpha1.PhaseRevoked
	case ok && r.live(now) && r.standsFor(bg):
		status.Phase = v1alpha1.PhaseActive
		return max(r.ExpiresAt.Sub(now), time.Millisecond)
	case status.ExpiresAt != nil && !now.Before(status.ExpiresAt.Time):
		status.Phase = v1alpha1.PhaseEnded
	default:
		status.Phase = v1alpha1.PhaseRequested
	}
	return 0
}

// count keeps the metric; an empty phase is that of one that is gone.
func (k *Keeper) count(key types.NamespacedName, phase string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if before, ok := k.phases[key]; ok {
		k.gauge.WithLabelValues(before).Dec()
	}
	delete(k.phases, key)
	if phase != "" {
		k.phases[key] = phase
		k.gauge.WithLabelValues(phase).Inc()
	}
}

// SetupWithManager has Reconcile called for every change of a BreakGlass or of
// its record.
func (k *Keeper) SetupWithManager(mgr ctrl.Manager) error {
	if err := mgr.Add(k); err != nil {
		return fmt.Errorf("set up the breakglass controller: %w", err)
	}
	err := ctrl.NewControllerManagedBy(mgr).
		Named("breakglass").
		For(&v1alpha1.BreakGlass{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(source.TypedChannel(k.again, &handler.TypedEnqueueRequestForObject[*v1alpha1.BreakGlass]{})).
		Complete(k)
	if err != nil {
		return fmt.Errorf("set up the breakglass controller: %w", err)
	}
	return nil
}
