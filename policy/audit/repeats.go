// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"hash/maphash"
	"maps"
	"sync"
	"time"

	"github.com/mainstay-gitops/mainstay/policy"
)

// repeatWindow is how long the same refusal is counted instead of written: a
// controller that is refused goes on trying for ever.
const repeatWindow = 10 * time.Minute

// maxRepeats is how many refusals are remembered for that, and maxDecisions how
// many of their ids the line with the count has.
const (
	maxRepeats   = 1024
	maxDecisions = 50
)

// alike are the hashes of what makes two decisions alike: for the Event, and with
// the values that were asked for, for the ledger.
type alike struct{ event, line uint64 }

// repeats knows what was refused a moment ago. It is safe for concurrent use.
type repeats struct {
	mu      sync.Mutex
	hash    maphash.Hash // one seed for the life of the process
	scratch []byte
	known   map[uint64]*repeat
}

// repeat is a refusal and how often it came again since it was written.
type repeat struct {
	line  Line
	since time.Time // when the first was written
	first time.Time // when it first came again
	last  time.Time
	ids   []string
	count int
}

func newRepeats() *repeats { return &repeats{known: map[uint64]*repeat{}} }

// of computes what makes a decision alike to another one.
func (r *repeats) of(change *policy.Change, decision policy.Decision, reason string) alike {
	words := Words{Change: change, Decision: decision}
	id := change.ID()
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &r.hash
	h.Reset()
	for _, part := range []string{
		reason, id.Group, id.Kind, id.Namespace, id.Name, string(change.Operation), change.SubResource, words.account(), decision.Class, decision.Rule,
	} {
		_, _ = h.WriteString(part)
		_ = h.WriteByte(0)
	}
	for _, f := range words.shown() {
		_, _ = h.WriteString(f.Path.String())
		_ = h.WriteByte(0)
	}
	key := alike{event: h.Sum64()}
	for _, f := range change.Fields {
		if f.To != nil {
			r.scratch = f.To.MarshalTo(r.scratch[:0])
			_, _ = h.Write(r.scratch)
		}
		_ = h.WriteByte(0)
	}
	key.line = h.Sum64()
	return key
}

// fold counts a refusal that was written a moment ago, and tells whether it was.
func (r *repeats) fold(key uint64, id string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.known[key]
	if one == nil || now.Sub(one.since) >= repeatWindow {
		return false
	}
	if one.count == 0 {
		one.first = now
	}
	one.count++
	one.last = now
	if len(one.ids) < maxDecisions {
		one.ids = append(one.ids, id)
	}
	return true
}

// begin remembers a refusal that is being written, and returns the line about
// how often the one before it came again, if it did. Where there is no room it
// remembers nothing, and what comes again is written like the first.
func (r *repeats) begin(key uint64, line Line, now time.Time) (before Line, repeated bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one := r.known[key]; one != nil {
		before, repeated = one.summary()
	} else if len(r.known) >= maxRepeats {
		return Line{}, false
	}
	r.known[key] = &repeat{line: line, since: now}
	return before, repeated
}

// over forgets the refusals whose window is over, all where now is zero, and
// returns the lines about those that came again.
func (r *repeats) over(now time.Time) []Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Line
	maps.DeleteFunc(r.known, func(_ uint64, one *repeat) bool {
		if !now.IsZero() && now.Sub(one.since) < repeatWindow {
			return false
		}
		if line, repeated := one.summary(); repeated {
			out = append(out, line)
		}
		return true
	})
	return out
}

// summary is the line about how often a refusal came again.
func (one *repeat) summary() (Line, bool) {
	if one.count == 0 {
		return Line{}, false
	}
	line := one.line
	first := one.first.UTC()
	line.Time, line.Since, line.Count = one.last.UTC(), &first, one.count
	line.Decision, line.Decisions = one.ids[len(one.ids)-1], one.ids
	return line, true
}
