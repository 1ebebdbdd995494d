// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mainstay-gitops/mainstay/sync/source/wire"
)

const (
	// maxPrefixes is how many refs are asked for one by one; where more are
	// followed, all branches and tags are.
	maxPrefixes = 64
	// lookTimeout bounds one look at a server.
	lookTimeout = 2 * time.Minute
)

// looks asks a server where its refs point to, once for all who ask at the same
// time. Who comes while a look is under way waits for the next: the one under
// way may have begun before what they were told of.
type looks struct {
	list func(ctx context.Context, prefixes []string) (*wire.Refs, error)

	mu sync.Mutex
	// prefixes of all refs that were asked for.
	prefixes []string
	last     *look
	next     *look
	running  bool
}

// look is one.
type look struct {
	prefixes []string
	began    time.Time
	done     chan struct{}
	refs     *wire.Refs
	err      error

	waiting int
	cancel  context.CancelFunc
}

func (l *look) covers(prefix string) bool {
	return l.refs != nil && l.refs.All || slices.ContainsFunc(l.prefixes, func(p string) bool { return strings.HasPrefix(prefix, p) })
}

// get returns a listing with the refs of one prefix that is at most maxAge old,
// and whether it was made for an earlier request.
func (s *looks) get(ctx context.Context, prefix string, maxAge time.Duration) (refs *wire.Refs, earlier bool, err error) {
	s.mu.Lock()
	if s.last != nil && s.last.refs != nil && time.Since(s.last.began) <= maxAge && s.last.covers(prefix) {
		defer s.mu.Unlock()
		return s.last.refs, true, nil
	}
	if !slices.Contains(s.prefixes, prefix) {
		s.prefixes = append(s.prefixes, prefix)
		slices.Sort(s.prefixes)
	}
	if s.next == nil {
		s.next = &look{done: make(chan struct{})}
	}
	l := s.next
	l.waiting++
	if !s.running {
		s.start(ctx)
	}
	s.mu.Unlock()
	select {
	case <-l.done:
		return l.refs, false, l.err
	case <-ctx.Done():
		s.leave(l)
		return nil, false, ctx.Err()
	}
}

// leave ends a look that nobody waits for any more.
func (s *looks) leave(l *look) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.waiting--; l.waiting > 0 {
		return
	}
	if l.cancel != nil {
		l.cancel()
	} else if s.next == l {
		s.next = nil // it never began
	}
}

// start begins the next look. The caller holds mu; whose context it is does not
// matter, since the look belongs to all who wait.
func (s *looks) start(ctx context.Context) {
	l := s.next
	s.next, s.running = nil, true
	l.prefixes, l.began = s.prefixes, time.Now()
	if len(l.prefixes) > maxPrefixes {
		l.prefixes = []string{"refs/heads/", "refs/tags/"}
		for _, p := range s.prefixes {
			if !strings.HasPrefix(p, "refs/heads/") && !strings.HasPrefix(p, "refs/tags/") {
				l.prefixes = append(l.prefixes, p)
			}
		}
	}
	l.prefixes = slices.Clone(l.prefixes)
	ctx, l.cancel = context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	go func() {
		refs, err := s.list(ctx, l.prefixes)
		l.cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		l.refs, l.err = refs, err
		s.last, s.running = l, false
		if s.next != nil {
			s.start(ctx)
		}
		close(l.done)
	}()
}
