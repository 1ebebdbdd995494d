// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/valyala/fastjson"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/drift"
	"github.com/mainstay-gitops/mainstay/sync/watch"
)

// guard compares what the watches see with what git says, and brings back what
// may not stand. It works at any time, also while a sync runs or fails.
type guard struct {
	l     *Loop
	queue workqueue.TypedRateLimitingInterface[ownership.ID]

	mu sync.Mutex
	// kind of each followed resource.
	kind map[schema.GroupVersionResource]string
	// pending is the newest state of objects that wait to be compared.
	pending map[ownership.ID]seen
	// state of objects that differ from git.
	state map[ownership.ID]difference
	// agreed is the content with which a live object was found equal: a later
	// difference is then real, not the API server's normalisation.
	agreed map[ownership.ID]*ownership.Content
	// reverted counts the last 24 hours by hour.
	reverted map[types.NamespacedName]*day
}

// seen is one event.
type seen struct {
	raw  []byte // nil: gone
	when time.Time
}

// difference is how an object stands.
type difference struct {
	sync               types.NamespacedName
	current, permitted int32
	// fields is a hash of what differs, content what it was compared with.
	fields  uint64
	content *ownership.Content
	// settled tells that it stands whatever happens elsewhere, so that the same
	// difference need not be judged again: controllers' own annotations and the
	// like are seen with every event of an object.
	settled bool
}

// undeclaredRule is the built-in policy that reads nothing but the change.
const undeclaredRule = "undeclared.exception"

// hash of the fields' paths, values and writers.
func hash(fields []policy.Field) uint64 {
	h := fnv.New64a()
	var buffer []byte
	for _, f := range fields {
		buffer = append(buffer[:0], f.Path.String()...)
		buffer = append(buffer, 0)
		buffer = fieldset.Canonical(buffer, f.To)
		buffer = append(buffer, 0)
		buffer = append(append(buffer, f.Manager...), 0)
		h.Write(buffer)
	}
	return h.Sum64()
}

var _ watch.Handler = (*guard)(nil)

func newGuard(l *Loop) *guard {
	return &guard{
		l: l,
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[ownership.ID](5*time.Millisecond, 30*time.Second)),
		kind:     map[schema.GroupVersionResource]string{},
		pending:  map[ownership.ID]seen{},
		state:    map[ownership.ID]difference{},
		agreed:   map[ownership.ID]*ownership.Content{},
		reverted: map[types.NamespacedName]*day{},
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
	g.enqueue(resource, namespace, name, seen{raw, time.Now()})
}

// Gone implements watch.Handler.
func (g *guard) Gone(resource schema.GroupVersionResource, namespace, name string) {
	g.enqueue(resource, namespace, name, seen{nil, time.Now()})
}

func (g *guard) enqueue(resource schema.GroupVersionResource, namespace, name string, s seen) {
	g.mu.Lock()
	id, ok := g.id(resource, namespace, name)
	if ok {
		g.pending[id] = s
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
			if e.GVR() == resource && !names[watch.Name{Namespace: e.Namespace, Name: e.Name}] {
				g.Gone(resource, e.Namespace, e.Name)
			}
		}
	}
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
		g.queue.AddRateLimited(id)
	case again > 0:
		g.queue.Forget(id)
		g.queue.AddAfter(id, again)
	default:
		g.queue.Forget(id)
	}
}

// look compares one object and does what has to be done. It returns when to
// look again without an event; zero: not before the next one.
func (g *guard) look(ctx context.Context, id ownership.ID, s seen, fresh bool) (time.Duration, error) {
	record, ok := g.l.Index.Lookup(id)
	if !ok || record.Applied == nil || record.Pruning {
		g.forget(id)
		return 0, nil
	}
	if g.l.off() {
		return time.Second, nil // mainstay-off is in force: nothing is written
	}
	if !fresh || s.raw == nil {
		// No event at hand, or one that says "gone", which losing the label
		// does as well: read it.
		raw, err := g.l.Applier.Get(ctx, apply.TargetOf(record.Entry))
		if err != nil && !apierrors.IsNotFound(err) {
			return 0, fmt.Errorf("read %s: %w", id, err)
		}
		s.raw = raw
		if !fresh {
			s.when = time.Now()
		}
	}
	if s.raw == nil {
		return g.missing(ctx, record, s)
	}
	live, err := fastjson.ParseBytes(s.raw)
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", id, err)
	}
	if live.Exists("metadata", "deletionTimestamp") {
		return 0, nil // when it is gone, that is an event
	}
	fields, err := drift.Between(live, record)
	if err != nil {
		return 0, err
	}
	if fieldset.AppliedBy(live, v1alpha1.FieldManager) == nil {
		// Somebody wiped the managed fields. Who wrote what can't be told then,
		// so git is applied anew, which makes them whole.
		return 0, g.reclaim(ctx, record, live, fields, s)
	}
	if len(fields) == 0 {
		g.agree(id, record.Applied)
		return 0, nil
	}
	if g.settled(record, fields) {
		return 0, nil
	}
	return g.judge(ctx, record, live, s, fields)
}

// settled tells that just this difference was judged and stands.
func (g *guard) settled(record *ownership.Record, fields []policy.Field) bool {
	g.mu.Lock()
	before, ok := g.state[record.ID]
	g.mu.Unlock()
	return ok && before.settled && before.content == record.Applied && before.fields == hash(fields)
}

// reclaim applies git over an object that names no fields of ours any more.
// What policies permit stays.
func (g *guard) reclaim(ctx context.Context, record *ownership.Record, live *fastjson.Value, fields []policy.Field, s seen) error {
	st := g.standing(ctx, record, live, fields)
	if record.Sync.Mode != v1alpha1.ModeEnforce {
		return nil
	}
	body, err := desired(record.Applied, carriedOf(st.permitted))
	if err != nil {
		return err
	}
	version := string(live.GetStringBytes("metadata", "resourceVersion"))
	if _, err := g.l.Applier.Apply(ctx, apply.TargetOf(record.Entry), body, apply.Write{ResourceVersion: version}); err != nil {
		return conflictIsFine(err)
	}
	if len(st.refused) > 0 {
		g.l.metrics.detected.Inc()
		g.done(record, st, s)
	}
	return nil
}

// carriedOf are the permitted values of declared fields, which stay.
func carriedOf(permitted []permittedField) []carried {
	var carry []carried
	for _, p := range permitted {
		if !p.field.Declared {
			continue
		}
		c := carried{path: p.field.Path}
		if p.field.To != nil {
			c.value = fieldset.Canonical(nil, p.field.To)
		}
		carry = append(carry, c)
	}
	return carry
}

// judge is the flow for an object that differs: permits → policy → revert, or
// let it stand.
func (g *guard) judge(ctx context.Context, record *ownership.Record, live *fastjson.Value, s seen, fields []policy.Field) (time.Duration, error) {
	st := g.standing(ctx, record, live, fields)
	news := g.note(record, st, fields)
	switch drift.Plan(st.change, st.decision) {
	case drift.Nothing:
		return 0, nil
	case drift.LetStand:
		if news && len(st.change.Fields) > 0 {
			g.l.Recorder.Record(st.change, st.decision)
		}
		return st.lookAgain(), nil
	case drift.Record:
		if news {
			g.l.metrics.detected.Inc()
			g.l.Recorder.Record(st.change, st.decision)
		}
		return st.lookAgain(), nil
	case drift.Recreate:
		return g.recreate(ctx, record, st, s)
	case drift.Revert:
		return g.revert(ctx, record, live, st, s)
	}
	return 0, nil
}

// standing is what may stay of a difference, and what may not.
type standing struct {
	change    *policy.Change
	decision  policy.Decision
	permitted []permittedField
	refused   []policy.Field
	until     *time.Time
}

type permittedField struct {
	field policy.Field
	until *time.Time
}

// lookAgain is when the first exception ends.
func (s *standing) lookAgain() time.Duration {
	if s.until == nil {
		return 0
	}
	return max(time.Until(*s.until), time.Millisecond)
}

// standing judges a difference: sealed permits first, policies for the rest.
func (g *guard) standing(ctx context.Context, record *ownership.Record, live *fastjson.Value, fields []policy.Field) *standing {
	now := time.Now()
	st := &standing{}
	uid := types.UID(live.GetStringBytes("metadata", "uid"))
	var rest []policy.Field
	for _, f := range fields {
		if p, ok := g.l.Permits.Find(uid, f.Path.String(), f.To); ok && g.l.Judge.InForce(record, p.Rule) {
			st.permitted = append(st.permitted, permittedField{f, p.Until})
			st.until = earlier(st.until, p.Until)
			continue
		}
		rest = append(rest, f)
	}
	st.change = &policy.Change{
		Origin: policy.OriginDrift, Operation: policy.Update,
		Kind: record.GVK(), Resource: record.GVR(),
		Object: live, Fields: rest, Record: record, Time: now,
	}
	if len(rest) == 0 {
		st.decision = policy.Decision{Verdict: policy.Permit, Class: policy.RulePolicy, Rule: "permit"}
		return st
	}
	if old, err := fastjson.ParseBytes(record.Applied.Baseline); err == nil {
		st.change.OldObject = old
	}
	st.decision = g.l.Judge.Decide(ctx, st.change)
	if st.decision.Verdict == policy.Permit {
		for _, f := range rest {
			st.permitted = append(st.permitted, permittedField{f, st.decision.Until})
		}
		st.until = earlier(st.until, st.decision.Until)
		return st
	}
	// A refused difference goes back as far as no exception covers it.
	st.refused = st.decision.Uncovered
	if len(st.refused) == 0 {
		st.refused = rest
	}
	for _, f := range rest {
		if !contains(st.refused, f.Path) {
			st.permitted = append(st.permitted, permittedField{f, st.decision.Until})
		}
	}
	st.until = earlier(st.until, st.decision.Until)
	return st
}

func contains(fields []policy.Field, path fieldset.Path) bool {
	for _, f := range fields {
		if f.Path.Equal(path) {
			return true
		}
	}
	return false
}

func earlier(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.Before(*a) {
		return b
	}
	return a
}

// revert writes what git says over the refused fields; the permitted ones keep
// their live values.
func (g *guard) revert(ctx context.Context, record *ownership.Record, live *fastjson.Value, st *standing, s seen) (time.Duration, error) {
	target := apply.TargetOf(record.Entry)
	version := string(live.GetStringBytes("metadata", "resourceVersion"))
	body, err := desired(record.Applied, carriedOf(st.permitted))
	if err != nil {
		return 0, err
	}
	var declared bool
	var undeclared []apply.Undeclared
	for _, f := range st.refused {
		if record.AppliedSet.Touches(f.Path) {
			declared = true
		} else {
			undeclared = append(undeclared, apply.Undeclared{Path: f.Path, Value: f.Git})
		}
	}
	if !g.agrees(record) {
		normal, err := g.normal(ctx, record, live, body, st.refused)
		if err != nil || normal {
			return 0, conflictIsFine(err)
		}
	}
	g.l.metrics.detected.Inc()
	raw := s.raw
	if declared {
		answer, err := g.l.Applier.Apply(ctx, target, body, apply.Write{ResourceVersion: version})
		if err != nil {
			return 0, conflictIsFine(err)
		}
		if answer.ResourceVersion == version && len(undeclared) == 0 {
			// Nothing was written: what differs is how the API server keeps
			// what we said, since its schema changed.
			return 0, g.renormalise(ctx, record, answer)
		}
		raw = fieldset.Canonical(nil, answer.Object())
	}
	if len(undeclared) > 0 {
		if err := g.l.Applier.Restore(ctx, target, raw, undeclared); err != nil {
			return 0, conflictIsFine(err)
		}
	}
	g.done(record, st, s)
	return st.lookAgain(), nil
}

// conflictIsFine: somebody wrote the object in between, and that write is an
// event of its own.
func conflictIsFine(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// normal confirms by a dry-run that a difference is real: it is not where git's
// manifest would lead to the very values that are there. Then the baseline was
// out of date, and is mended.
func (g *guard) normal(ctx context.Context, record *ownership.Record, live *fastjson.Value, body []byte, refused []policy.Field) (bool, error) {
	answer, err := g.l.Applier.Apply(ctx, apply.TargetOf(record.Entry), body, apply.Write{DryRun: true})
	if err != nil {
		return false, err
	}
	for _, f := range refused {
		if !record.AppliedSet.Touches(f.Path) || !fieldset.Equal(fieldset.At(answer.Object(), f.Path), fieldset.At(live, f.Path)) {
			return false, nil
		}
	}
	return true, g.renormalise(ctx, record, answer)
}

// renormalise stores what the API server makes of an unchanged manifest now.
func (g *guard) renormalise(ctx context.Context, record *ownership.Record, answer *apply.Answer) error {
	baseline, err := answer.Baseline(record.Applied.Baseline)
	if err != nil {
		return err
	}
	key := record.Sync.Key()
	p := g.l.pass(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	entries := g.l.Index.Entries(key)
	current := entries[record.ID]
	known, ok := g.l.Index.Sync(key)
	if !ok || current == nil || current.Applied != record.Applied {
		return nil // a sync was faster
	}
	content := *record.Applied
	content.Baseline, content.Fields = baseline, answer.Fields
	entry := *current
	entry.Applied = &content
	entries[record.ID] = &entry
	all := make([]*ownership.Entry, 0, len(entries))
	for _, e := range entries {
		all = append(all, e)
	}
	sync := *known
	if err := g.l.Inventory.Save(ctx, &sync, all); err != nil {
		return fmt.Errorf("renew the baseline of %s: %w", record.ID, err)
	}
	g.agree(record.ID, &content)
	return nil
}

// missing judges the deletion of a declared object.
func (g *guard) missing(ctx context.Context, record *ownership.Record, s seen) (time.Duration, error) {
	st := &standing{change: &policy.Change{
		Origin: policy.OriginDrift, Operation: policy.Delete,
		Kind: record.GVK(), Resource: record.GVR(), Record: record, Time: time.Now(),
	}}
	old, err := fastjson.ParseBytes(record.Applied.Baseline)
	if err != nil {
		return 0, fmt.Errorf("parse baseline of %s: %w", record.ID, err)
	}
	st.change.OldObject = old
	st.decision = g.l.Judge.Decide(ctx, st.change)
	news := g.note(record, st, nil)
	switch drift.Plan(st.change, st.decision) {
	case drift.Recreate:
		return g.recreate(ctx, record, st, s)
	case drift.Record:
		if news {
			g.l.metrics.detected.Inc()
			g.l.Recorder.Record(st.change, st.decision)
		}
	case drift.LetStand, drift.Revert, drift.Nothing:
	}
	return 0, nil
}

func (g *guard) recreate(ctx context.Context, record *ownership.Record, st *standing, s seen) (time.Duration, error) {
	g.l.metrics.detected.Inc()
	if _, err := g.l.Applier.Apply(ctx, apply.TargetOf(record.Entry), record.Applied.Desired, apply.Write{}); err != nil {
		return 0, fmt.Errorf("recreate %s: %w", record.ID, err)
	}
	g.done(record, st, s)
	return 0, nil
}

// done records a revert.
func (g *guard) done(record *ownership.Record, st *standing, s seen) {
	g.l.metrics.reverted.Inc()
	g.l.metrics.revertSeconds.Observe(time.Since(s.when).Seconds())
	g.mu.Lock()
	key := record.Sync.Key()
	if g.reverted[key] == nil {
		g.reverted[key] = &day{}
	}
	g.reverted[key].add(time.Now())
	delete(g.state, record.ID)
	g.mu.Unlock()
	g.l.Recorder.Record(st.change, st.decision)
}

// note remembers how an object stands, and tells whether that is new.
func (g *guard) note(record *ownership.Record, st *standing, fields []policy.Field) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	before, known := g.state[record.ID]
	now := difference{
		sync:      record.Sync.Key(),
		current:   int32(min(len(st.refused), 1)),   //nolint:gosec // 0 or 1
		permitted: int32(min(len(st.permitted), 1)), //nolint:gosec // 0 or 1
		fields:    hash(fields),
		content:   record.Applied,
		settled:   len(st.change.Fields) == len(fields) && st.decision.Verdict == policy.Permit && st.decision.Rule == undeclaredRule,
	}
	g.state[record.ID] = now
	return !known || before != now
}

func (g *guard) agree(id ownership.ID, content *ownership.Content) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.state, id)
	g.agreed[id] = content
}

func (g *guard) agrees(record *ownership.Record) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.agreed[record.ID] == record.Applied
}

// again has every object judged anew that differs from git.
func (g *guard) again() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, d := range g.state {
		d.settled = false
		g.state[id] = d
		g.queue.Add(id)
	}
}

func (g *guard) forget(id ownership.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.state, id)
	delete(g.agreed, id)
}

// counts are the objects of a GitSync that differ from git, and the reverts of
// the last 24 hours.
func (g *guard) counts(key types.NamespacedName) (current, permitted, reverted int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.state {
		if d.sync == key {
			current += d.current
			permitted += d.permitted
		}
	}
	return current, permitted, g.reverted[key].sum(time.Now())
}

// day counts events of the last 24 hours by the hour.
type day struct {
	hours [24]int32
	last  int64
}

func (d *day) add(now time.Time) {
	d.turn(now)
	d.hours[d.last%24]++
}

func (d *day) sum(now time.Time) int32 {
	if d == nil {
		return 0
	}
	d.turn(now)
	var n int32
	for _, h := range d.hours {
		n += h
	}
	return n
}

// turn clears the hours that have passed since the last event.
func (d *day) turn(now time.Time) {
	hour := now.Unix() / 3600
	for h := max(d.last+1, hour-23); h <= hour; h++ {
		d.hours[h%24] = 0
	}
	d.last = max(d.last, hour)
}
