// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"sync"
	"time"
)

// Trouble is what went wrong when the rules of a source were asked, since it
// was loaded.
type Trouble struct {
	// Errors is the number of evaluations that failed, with the last of them.
	Errors int64
	Last   string
	At     time.Time
	// Quarantined says what is not asked at present, since when and until when;
	// empty where everything is.
	Quarantined string
}

// Trouble of the source that is loaded under a key. It reports false where none
// is, or where nothing went wrong.
func (e *Engine) Trouble(key string) (Trouble, bool) {
	for _, s := range e.sources.Load().list {
		if s.Key == key {
			return s.trouble(time.Now())
		}
	}
	return Trouble{}, false
}

// troubles are those of one source.
type troubles struct {
	mu   sync.Mutex
	last Trouble
}

func (s *source) trouble(now time.Time) (Trouble, bool) {
	s.troubles.mu.Lock()
	out := s.troubles.last
	s.troubles.mu.Unlock()
	for _, b := range s.breakers() {
		if q, ok := b.state(now); ok {
			out.Quarantined = q.Error()
			break
		}
	}
	return out, out.Errors > 0 || out.Quarantined != ""
}

// breaker is b, but nil for what is built in.
func (s *source) breaker(b *breaker) *breaker {
	if s.builtin() {
		return nil
	}
	return b
}

// breakers of a source: its denials, its exceptions, and those of each package.
func (s *source) breakers() []*breaker {
	out := []*breaker{&s.denyBreaker, &s.exceptionBreaker}
	for _, p := range s.packages {
		out = append(out, &p.breaker)
	}
	return out
}

// failed counts an evaluation that failed.
func (j *judgement) failed(s *source, kind string, err error) {
	j.engine.metrics.failed(kind, err)
	if errors.As(err, new(*quarantined)) || errors.As(err, new(*notListed)) {
		return // neither is news about the rules
	}
	s.troubles.mu.Lock()
	defer s.troubles.mu.Unlock()
	t := &s.troubles.last
	t.Errors++
	t.Last, t.At = unbounded(err), time.Now()
}
