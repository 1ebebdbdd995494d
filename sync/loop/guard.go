// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/valyala/fastjson"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/drift"
	"github.com/mainstay-gitops/mainstay/sync/watch"
)

// guard compares what the watches see with what git says, and brings back what
// may not stand. It works at any time, also while a sync runs or fails.
type guard struct {
	l       *Loop
	queue   workqueue.TypedRateLimitingInterface[ownership.ID]
	parsers fastjson.ParserPool

	mu sync.Mutex
	// kind of each followed resource.
	kind map[schema.GroupVersionResource]string
	// pending is the newest state of objects that wait to be compared.
	pending map[ownership.ID]seen
	// waiting is the newest state of objects that were never applied, or not
	// yet: they are compared once they are.
	waiting map[ownership.ID]seen
	// state of objects that differ from git, details of those of them that may
	// not or that an exception permits.
	state   map[ownership.ID]difference
	details map[ownership.ID]v1alpha1.DriftedObject
	// excused are the objects that were looked at while mainstay-off was in
	// force: somebody is answerable for what was changed of them.
	excused map[ownership.ID]bool
	// fights about fields.
	fights drift.Fights
	// failing are the objects that can't be compared or put back.
	failing map[ownership.ID]failing
	// agreed is the content with which a live object was found equal: a later
	// difference is then real, not the API server's normalisation.
	agreed map[ownership.ID]*ownership.Content
	// finished are the Jobs that were seen to have run to their end.
	finished map[ownership.ID]bool
	// reverted counts the last 24 hours by hour.
	reverted map[types.NamespacedName]*audit.Hours
}

// seen is one event.
type seen struct {
	raw  []byte // nil: gone
	when time.Time
	// listed tells that it was not in a list, so that it is not known since when
	// it is gone.
	listed bool
}

var _ watch.Handler = (*guard)(nil)

func newGuard(l *Loop) *guard {
	return &guard{
		l: l,
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[ownership.ID](5*time.Millisecond, 30*time.Second)),
		kind:     map[schema.GroupVersionResource]string{},
		pending:  map[ownership.ID]seen{},
		waiting:  map[ownership.ID]seen{},
		state:    map[ownership.ID]difference{},
		details:  map[ownership.ID]v1alpha1.DriftedObject{},
		excused:  map[ownership.ID]bool{},
		failing:  map[ownership.ID]failing{},
		agreed:   map[ownership.ID]*ownership.Content{},
		finished: map[ownership.ID]bool{},
		reverted: map[types.NamespacedName]*audit.Hours{},
	}
}

// wait keeps an event until the object is applied.
func (g *guard) wait(id ownership.ID, s seen) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting[id] = s
}

// resume compares what was waiting for what is declared to change.
func (g *guard) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, s := range g.waiting {
		record, ok := g.l.Index.Lookup(id)
		if ok && record.Applied == nil {
			continue
		}
		delete(g.waiting, id)
		if _, newer := g.pending[id]; ok && !newer {
			g.pending[id] = s
			g.queue.Add(id)
		}
	}
}

func (g *guard) kinds(kinds map[schema.GroupVersionResource]string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kind = kinds
}

func (g *guard) id(resource schema.GroupVersionResource, namespace, name string) (ownership.ID, bool) {
	kind, ok := g.kind[resource]
	return ownership.ID{Group: resource.Group, Kind: kind, Namespace: namespace, Name: name}, ok
}

// Seen implements watch.Handler.
func (g *guard) Seen(resource schema.GroupVersionResource, namespace, name string, raw []byte) {
	g.enqueue(resource, namespace, name, seen{raw: raw, when: time.Now()})
}

// Gone implements watch.Handler.
func (g *guard) Gone(resource schema.GroupVersionResource, namespace, name string) {
	g.enqueue(resource, namespace, name, seen{when: time.Now()})
}

func (g *guard) enqueue(resource schema.GroupVersionResource, namespace, name string, s seen) {
	g.mu.Lock()
	id, ok := g.id(resource, namespace, name)
	if ok {
		g.pending[id] = s
		g.ended(id, s.raw)
	}
	g.mu.Unlock()
	if ok {
		g.queue.Add(id)
	}
}

// Listed implements watch.Handler: what is declared and was not in the list is
// gone.
func (g *guard) Listed(resource schema.GroupVersionResource, names map[watch.Name]bool) {
	for _, s := range g.l.Index.Syncs() {
		for _, e := range g.l.Index.Entries(s.Key()) {
			if e.GVR() == resource && !e.Released && !names[watch.Name{Namespace: e.Namespace, Name: e.Name}] {
				g.enqueue(resource, e.Namespace, e.Name, seen{when: time.Now(), listed: true})
			}
		}
	}
}

// idle waits until nothing is left to be looked at, or returns ctx's error.
func (g *guard) idle(ctx context.Context) error {
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(context.Context) (bool, error) {
		return g.queue.Len() == 0, nil
	})
}

// run works until ctx ends.
func (g *guard) run(ctx context.Context, workers int) {
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for {
				id, stop := g.queue.Get()
				if stop {
					return
				}
				g.work(ctx, id)
				g.queue.Done(id)
			}
		})
	}
	<-ctx.Done()
	g.queue.ShutDown()
	group.Wait()
}

func (g *guard) work(ctx context.Context, id ownership.ID) {
	g.mu.Lock()
	s, fresh := g.pending[id]
	delete(g.pending, id)
	g.mu.Unlock()

	again, err := g.look(ctx, id, s, fresh)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			ctrl.LoggerFrom(ctx).Error(err, "drift not handled, trying again", "object", id.String())
		}
		g.failed(ctx, id, err)
		g.queue.AddRateLimited(id)
	case again > 0:
		g.mended(id)
		g.queue.Forget(id)
		g.queue.AddAfter(id, again)
	default:
		g.mended(id)
		g.queue.Forget(id)
	}
}

// look compares one object and does what has to be done. It returns when to
// look again without an event; zero: not before the next one.
func (g *guard) look(ctx context.Context, id ownership.ID, s seen, fresh bool) (time.Duration, error) {
	record, ok := g.l.Index.Lookup(id)
	if !ok {
		g.forget(id)
		return 0, g.release(ctx, id, s.raw)
	}
	if record.Applied == nil && fresh && s.raw != nil {
		g.wait(id, s)
		if now, ok := g.l.Index.Lookup(id); ok && now.Applied != nil {
			g.resume() // it was applied in between
		}
	}
	if record.Applied == nil || record.Pruning || record.Sync.Mode == v1alpha1.ModeObserve {
		g.forget(id)
		return 0, nil
	}
	if g.l.offFor(record.Sync.Key()) {
		g.excuse(id)
		return time.Second, nil // mainstay-off is in force: nothing is written
	}
	if !fresh || s.raw == nil {
		// No event at hand, or one that says "gone", which losing the label
		// does as well: read it.
		raw, err := g.l.Applier.Get(ctx, apply.TargetOf(record.Sync, record.Entry))
		if err != nil && !apierrors.IsNotFound(err) {
			return 0, fmt.Errorf("read %s: %w", id, err)
		}
		s.raw = raw
		if !fresh {
			s.when = time.Now()
		}
	}
	if s.raw == nil {
		g.l.health.Gone(id)
		return g.missing(ctx, record, s)
	}
	// What is found belongs to the parsers until this function returns.
	liveParser, baselineParser := g.parsers.Get(), g.parsers.Get()
	defer g.parsers.Put(liveParser)
	defer g.parsers.Put(baselineParser)
	live, err := liveParser.ParseBytes(s.raw)
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", id, err)
	}
	if finished(live) {
		if err := g.keepEnd(ctx, record); err != nil {
			return 0, err
		}
	}
	if live.Exists("metadata", "deletionTimestamp") {
		g.l.saw(record, live)
		return 0, nil // when it is gone, that is an event
	}
	g.l.saw(record, live)
	baseline, err := drift.Baseline(baselineParser, record)
	if err != nil {
		return 0, err
	}
	fields, err := drift.Compare(baseline, live, record)
	if err != nil {
		return 0, err
	}
	if _, ok := g.l.still(record.Sync.Key()); !ok && fieldset.AppliedBy(live, v1alpha1.FieldManager) == nil {
		// Somebody wiped the managed fields. Who wrote what can't be told then,
		// so git is applied anew, which makes them whole.
		if wait := g.fights.Hold(id, time.Now()); wait > 0 {
			return wait, nil
		}
		return 0, g.reclaim(ctx, record, live, fields, s)
	}
	wait, err := g.settle(ctx, record, baseline, live, fields)
	if err != nil {
		return 0, err
	}
	if len(fields) == 0 {
		g.agree(id, record.Applied)
		return wait, nil
	}
	if g.settled(record, fields) {
		return wait, nil
	}
	again, err := g.judge(ctx, record, live, s, fields)
	return sooner(again, wait), err
}

// judge is the flow for an object that differs: permits → policy → revert, or
// let it stand.
func (g *guard) judge(ctx context.Context, record *ownership.Record, live *fastjson.Value, s seen, fields []policy.Field) (time.Duration, error) {
	st := g.standing(ctx, record, live, fields)
	if s, ok := g.l.still(record.Sync.Key()); ok && st.decision.Verdict != policy.Permit {
		return g.stands(record, st, fields, s), nil
	}
	action := drift.Plan(st.change, st.decision)
	if action == drift.Revert || action == drift.Recreate {
		st.decision.Unattributed = !g.explained(record, st, fields)
	}
	news := g.note(record, st, fields)
	g.expose(record, st, s.when)
	if wait := g.held(record.ID, action); wait > 0 {
		return wait, nil
	}
	switch action {
	case drift.LetStand:
		if news && len(st.change.Fields) > 0 {
			g.l.Recorder.Record(st.change, st.decision)
		}
		return g.lookAgain(st), nil
	case drift.Record:
		if news {
			g.l.metrics.found(record.Sync.Key())
			g.l.Recorder.Record(st.change, st.decision)
		}
		return g.lookAgain(st), nil
	case drift.Recreate:
		return g.recreate(ctx, record, st, s)
	case drift.Revert:
		return g.revert(ctx, record, live, st, s)
	}
	return 0, nil
}

// sooner is the shorter of two times to look again; zero is never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
