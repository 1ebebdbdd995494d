// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"time"
)

// The rules of a quarantine: so many of the last evaluations over their limit
// begin one, which lasts twice as long each time, until one of that many
// evaluations in a row is within it again.
const (
	quarantineWindow = 10
	quarantineLimit  = 5
	quarantineFirst  = 10 * time.Second
	quarantineMost   = 10 * time.Minute
)

// breaker puts rules into quarantine that keep exceeding their limit. They are
// asked no more for a while, which never permits: exceptions yield nothing, and
// denials refuse as they do when they fail.
type breaker struct {
	mu sync.Mutex
	// slow has a bit for each of the last evaluations, the newest lowest.
	slow uint16
	// since and until are those of the quarantine, lasted how long it was.
	since, until time.Time
	lasted       time.Duration
	// calm counts evaluations within the limit since the last one over it.
	calm int
	// stuck is an evaluation that does not end although it was cancelled.
	stuck int
	// rules that were asked when it began.
	rules string
}

// quarantined is the error of asking what is in quarantine.
type quarantined struct {
	rules        string
	since, until time.Time
}

func (q *quarantined) Error() string {
	return fmt.Sprintf("%squarantined since %s UTC, after %d of %d evaluations were over their limit, until %s UTC or until it is changed",
		q.rules, q.since.UTC().Format("15:04:05"), quarantineLimit, quarantineWindow, q.until.UTC().Format("15:04:05"))
}

// shut is an error during a quarantine.
func (b *breaker) shut(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return nil
	}
	if b.stuck > 0 {
		b.until = later(b.until, now.Add(quarantineFirst))
	}
	if now.Before(b.until) {
		return &quarantined{rules: b.rules, since: b.since, until: b.until}
	}
	// It is over. One more, and it begins anew.
	b.since, b.until, b.slow = time.Time{}, time.Time{}, 1<<(quarantineLimit-1)-1
	return nil
}

// note counts an evaluation and tells whether a quarantine begins. rules names
// what was asked, where that is known.
func (b *breaker) note(now time.Time, over bool, rules func() string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !over {
		b.slow = b.slow << 1 & (1<<quarantineWindow - 1)
		if b.calm++; b.calm >= quarantineWindow {
			b.lasted = 0
		}
		return false
	}
	b.calm = 0
	b.slow = (b.slow<<1 | 1) & (1<<quarantineWindow - 1)
	if bits.OnesCount16(b.slow) < quarantineLimit || !b.until.IsZero() {
		return false
	}
	b.begin(now, rules)
	return true
}

func (b *breaker) begin(now time.Time, rules func() string) {
	b.lasted = min(max(2*b.lasted, quarantineFirst), quarantineMost)
	b.since, b.until, b.slow = now, now.Add(b.lasted), 0
	if b.rules = rules(); b.rules != "" {
		b.rules += ": "
	}
}

// stick begins a quarantine at once, since an evaluation does not end; the
// function that is returned tells that it has.
func (b *breaker) stick(now time.Time, rules func() string) (ended func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stuck++
	if b.until.IsZero() {
		b.begin(now, rules)
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.stuck--
	}
}

// state is the quarantine that is in force.
func (b *breaker) state(now time.Time) (*quarantined, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !now.Before(b.until) {
		return nil, false
	}
	return &quarantined{rules: b.rules, since: b.since, until: b.until}, true
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// stuckAfter is how long beyond its limit an evaluation may go on until it
// counts as one that can't be stopped: on a busy machine nothing stops at once.
const stuckAfter = 2 * time.Second

// watch begins a quarantine when an evaluation does not end although it was
// cancelled, so that no other one joins it. The function that is returned says
// that it has ended.
func (b *breaker) watch(limit time.Duration, rules func() string) (ended func()) {
	var mu sync.Mutex
	done, stuck := false, func() {}
	timer := time.AfterFunc(limit+stuckAfter, func() {
		mu.Lock()
		defer mu.Unlock()
		if !done {
			stuck = b.stick(time.Now(), rules)
		}
	})
	return func() {
		if timer.Stop() {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		done = true
		stuck()
	}
}

// culprits names the rules of a kind, of which one or more are over the limit:
// OPA asks them together.
func (s *source) culprits(kind string) func() string {
	return func() string {
		var names []string
		for _, r := range s.loaded.Rules {
			if r.Kind == kind && !slices.Contains(names, r.Name) {
				names = append(names, r.Name)
			}
		}
		if n := len(names) - 3; n > 0 {
			names = append(names[:3:3], fmt.Sprintf("%d more", n))
		}
		return strings.Join(names, ", ")
	}
}
