// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"hash/fnv"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/drift"
)

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
	// stood tells that it was let stand, so that somebody was answerable for it.
	stood bool
	// held says what of it stays although what permitted it has ended.
	held string
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

// settled tells that just this difference was judged and stands.
func (g *guard) settled(record *ownership.Record, fields []policy.Field) bool {
	g.mu.Lock()
	before, ok := g.state[record.ID]
	g.mu.Unlock()
	return ok && before.settled && before.content == record.Applied && before.fields == hash(fields)
}

// done records a revert.
func (g *guard) done(record *ownership.Record, st *standing, s seen) {
	key := record.Sync.Key()
	g.l.metrics.putBack(key, s.when, st.decision.Unattributed)
	g.l.metrics.exposure.end(record.ID)
	g.mu.Lock()
	if g.reverted[key] == nil {
		g.reverted[key] = &audit.Hours{}
	}
	g.reverted[key].Add(time.Now())
	delete(g.state, record.ID)
	delete(g.details, record.ID)
	delete(g.excused, record.ID)
	g.mu.Unlock()
	g.l.told.of(key)
	g.fought(record, st)
	g.l.Recorder.Record(st.change, st.decision)
}

// note remembers how an object stands, and tells whether that is new.
func (g *guard) note(record *ownership.Record, st *standing, fields []policy.Field) bool {
	now := difference{
		sync:      record.Sync.Key(),
		current:   st.current(),
		permitted: st.exceptions(),
		fields:    hash(fields),
		content:   record.Applied,
		settled:   len(st.change.Fields) == len(fields) && len(st.decision.Errors) == 0 && st.decision.Verdict == policy.Permit && st.decision.Rule == undeclaredRule,
		stood:     slices.Contains([]drift.Action{drift.LetStand, drift.Record}, drift.Plan(st.change, st.decision)),
		held:      st.heldWords(record.ID),
	}
	g.mu.Lock()
	before, known := g.state[record.ID]
	g.state[record.ID] = now
	if now.current > 0 || now.permitted > 0 {
		g.details[record.ID] = detail(record, st)
	} else {
		delete(g.details, record.ID)
	}
	if !known || before.current != now.current || before.permitted != now.permitted || before.held != now.held {
		g.l.told.of(now.sync)
	}
	g.mu.Unlock()
	if now.held != "" && before.held == "" {
		g.sayHeld(st, now.held)
	}
	return !known || before != now
}

// current is 1 where an object differs from git and may not.
func (s *standing) current() int32 {
	gone := s.change.Operation == policy.Delete &&
		(s.decision.Verdict != policy.Permit || s.decision.Class == policy.RuleSuspended)
	if gone || len(s.refused) > 0 {
		return 1
	}
	return 0
}

// exceptions is 1 where an exception covers something, for the count of objects:
// what controllers write beside git's fields is nobody's exception.
func (s *standing) exceptions() int32 {
	for _, p := range s.permitted {
		if p.recorded || p.field.Declared || s.change.Operation == policy.Delete {
			return 1
		}
	}
	return 0
}

// expose counts for how long an object differs from git and may not.
func (g *guard) expose(record *ownership.Record, st *standing, since time.Time) {
	if st.current() > 0 {
		g.l.metrics.exposure.begin(record.ID, record.Sync.Key(), since)
	} else {
		g.l.metrics.exposure.end(record.ID)
	}
}

func (g *guard) agree(id ownership.ID, content *ownership.Content) {
	g.l.metrics.exposure.end(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	if d, ok := g.state[id]; ok {
		delete(g.state, id)
		delete(g.details, id)
		g.l.told.of(d.sync)
	}
	delete(g.excused, id)
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
	g.l.metrics.exposure.end(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.state, id)
	delete(g.details, id)
	delete(g.agreed, id)
	delete(g.failing, id)
	delete(g.excused, id)
	g.fights.Forget(id)
	g.l.health.Forget(id)
}

// adopted has the objects looked at of which something is held: what is declared
// has changed, and git may say the same now.
func (g *guard) adopted() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, d := range g.state {
		if d.held != "" {
			g.queue.Add(id)
		}
	}
}

// awaiting are the objects of a GitSync of which something stays although what
// permitted it has ended, in words.
func (g *guard) awaiting(key types.NamespacedName) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for _, d := range g.state {
		if d.sync == key && d.held != "" {
			out = append(out, d.held)
		}
	}
	slices.Sort(out)
	return out
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
	for id, f := range g.failing {
		if f.sync == key && f.lasting() && g.state[id].current == 0 {
			current++ // it can't be told, or is not known yet
		}
	}
	return current, permitted, g.reverted[key].Sum(time.Now())
}
