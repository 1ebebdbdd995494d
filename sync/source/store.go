// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// unusedAfter is how long a clone is kept that nobody asks for: credentials
// change, and each set has a clone of its own.
const unusedAfter = 24 * time.Hour

// Options of a Store.
type Options struct {
	// Dir is where the clones are kept. It is made when it does not exist and
	// belongs to this Store alone. Required.
	Dir string
}

// Store fetches revisions. It is safe for concurrent use: fetches of one
// repository wait for each other, those of different ones do not.
type Store struct {
	dir string

	mu    sync.Mutex
	repos map[string]*repository
}

// repository is a clone with its lock.
type repository struct {
	// busy holds a token while somebody uses the rest.
	busy   chan struct{}
	remote remote
	clone  *clone
}

// New returns a Store that goes on with the clones it finds in Options.Dir.
func New(opts Options) (*Store, error) {
	if opts.Dir == "" {
		return nil, fmt.Errorf("source: Options.Dir is required")
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	// Clones hold what their credentials protect.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for clones: %w", err)
	}
	return &Store{dir: dir, repos: map[string]*repository{}}, nil
}

// Fetch finds the commit that the request's ref points to now, and returns its
// tree. A ref that was rewound or force-pushed is followed like any other. The
// error has a Reason, and a message for people without credentials.
func (s *Store) Fetch(ctx context.Context, req Request) (Snapshot, error) {
	t, err := newTarget(req)
	if err != nil {
		return Snapshot{}, explain(err, req.URL, req.Auth)
	}
	snapshot, err := s.fetch(ctx, t, req.LastCommit)
	if err != nil {
		return Snapshot{}, explain(err, req.URL, t.auth)
	}
	return snapshot, nil
}

func (s *Store) fetch(ctx context.Context, t *target, last string) (Snapshot, error) {
	if t.kind == "commit" && t.commit.String() == last {
		return unchanged(t, t.commit), nil
	}
	repo, err := s.repository(t)
	if err != nil {
		return Snapshot{}, err
	}
	// The clone's lock is not held meanwhile: a server that does not answer
	// keeps nobody else waiting.
	refs, err := repo.remote.list(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	want, commit, err := refs.find(t)
	if err != nil {
		return Snapshot{}, err
	}
	if commit.String() == last {
		return unchanged(t, commit), nil
	}

	select {
	case repo.busy <- struct{}{}:
		defer func() { <-repo.busy }()
	case <-ctx.Done():
		return Snapshot{}, ctx.Err()
	}
	if err := s.open(repo, t.key()); err != nil {
		return Snapshot{}, err
	}
	if err := repo.bring(ctx, t, refs, want, commit); err != nil {
		return Snapshot{}, err
	}
	snapshot, err := repo.clone.snapshot(t, want)
	var f *failure
	if err != nil && !errors.As(err, &f) {
		// What was written there whole cannot be read any more: start anew.
		repo.clone.suspect.Store(true)
		if err := s.open(repo, t.key()); err != nil {
			return Snapshot{}, err
		}
		if err := repo.bring(ctx, t, refs, want, commit); err != nil {
			return Snapshot{}, err
		}
		snapshot, err = repo.clone.snapshot(t, want)
	}
	if err != nil {
		return Snapshot{}, err
	}
	snapshot.Changed = snapshot.Revision.Commit != last
	return snapshot, nil
}

// bring makes sure that the clone has want, and commit where it is known, with
// everything below it.
func (r *repository) bring(ctx context.Context, t *target, refs *listing, want, commit plumbing.Hash) error {
	if r.clone.has(want) && r.clone.has(commit) {
		return r.clone.remember(t, want)
	}
	if t.kind == "commit" {
		if err := r.remote.fetchCommit(ctx, refs, r.clone, want); err != nil {
			return err
		}
	} else if err := r.remote.fetch(ctx, refs, r.clone, want); err != nil {
		return err
	}
	return r.clone.remember(t, want)
}

func unchanged(t *target, commit plumbing.Hash) Snapshot {
	return Snapshot{Revision: Revision{Name: t.revisionName(commit), Commit: commit.String()}}
}

// repository finds the clone's entry by URL and credentials.
func (s *Store) repository(t *target) (*repository, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := t.key()
	if repo, ok := s.repos[key]; ok {
		return repo, nil
	}
	rem, err := newRemote(t, s.dir)
	if err != nil {
		return nil, err
	}
	s.sweep()
	repo := &repository{busy: make(chan struct{}, 1), remote: rem}
	s.repos[key] = repo
	return repo, nil
}

// open makes repo.clone usable, and starts a new one when the old has grown to
// too many packs or turned out to be damaged. The one before is kept, for
// snapshots that still read it.
func (s *Store) open(repo *repository, key string) error {
	dir := filepath.Join(s.dir, key)
	now := time.Now()
	if repo.clone == nil {
		c, err := openClone(dir)
		if err != nil {
			return err
		}
		repo.clone = c
	}
	if repo.clone.grown() || repo.clone.suspect.Load() {
		c, err := repo.clone.next()
		if err != nil {
			return err
		}
		repo.clone = c
	}
	if err := os.Chtimes(dir, now, now); err != nil {
		return fmt.Errorf("mark the clone as used: %w", err)
	}
	return nil
}

// sweep removes clones that nobody has used for a day. That one cannot be
// removed is no reason not to fetch another; the next sweep tries again.
func (s *Store) sweep() {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < unusedAfter {
			continue
		}
		repo, known := s.repos[e.Name()]
		if known {
			select {
			case repo.busy <- struct{}{}:
				// A fetch that waits finds no clone and opens a new one.
				repo.clone = nil
				_ = os.RemoveAll(filepath.Join(s.dir, e.Name()))
				<-repo.busy
			default:
			}
			continue
		}
		_ = os.RemoveAll(filepath.Join(s.dir, e.Name()))
	}
}
