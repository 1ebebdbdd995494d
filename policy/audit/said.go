// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"maps"
	"sync"
	"time"
)

// The same Event on the same object is not repeated within this time; one about a
// refusal, which a controller meets again and again, once an hour.
const (
	eventQuiet   = 5 * time.Minute
	refusalQuiet = time.Hour
	maxSaid      = 4096
)

// said knows of which decisions Events were written. It is safe for concurrent
// use.
type said struct {
	mu    sync.Mutex
	known map[uint64]*saying
}

type saying struct {
	at    time.Time
	quiet time.Duration
	again int // since then
}

func newSaid() *said { return &said{known: map[uint64]*saying{}} }

// fresh tells whether an Event is due, and how often it was not since the last
// one.
func (s *said) fresh(key uint64, quiet time.Duration, now time.Time) (again int, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.known[key]; one != nil {
		if now.Sub(one.at) < one.quiet {
			one.again++
			return 0, false
		}
		again = one.again
		*one = saying{at: now, quiet: quiet}
		return again, true
	}
	if len(s.known) >= maxSaid {
		maps.DeleteFunc(s.known, func(_ uint64, one *saying) bool { return now.Sub(one.at) >= one.quiet })
		if len(s.known) >= maxSaid {
			clear(s.known) // a storm: repeating an Event is better than growing
		}
	}
	s.known[key] = &saying{at: now, quiet: quiet}
	return 0, true
}

// count counts what was not even considered for an Event.
func (s *said) count(key uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.known[key]; one != nil {
		one.again++
	}
}
