// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/mainstay-gitops/mainstay/sync/source/wire"
)

// unusedAfter is how long a clone is kept that nobody asks for: credentials
// change, and each set has a clone of its own.
const unusedAfter = 24 * time.Hour

// Options of a Store.
type Options struct {
	// Dir is where the clones are kept. It is made when it does not exist and
	// belongs to this Store alone. Required.
	Dir string
	// MaxPack bounds the bytes that one fetch may transfer. Default 8 GiB.
	MaxPack int64
	// LeastPause and MostPause bound how long a server is left alone after it
	// failed once, and many times in a row. Default 1s and 1m.
	LeastPause, MostPause time.Duration
	// Submodules are the beginnings of https URLs from which submodules may come,
	// without credentials, beside the server of their own repository.
	Submodules []string
}

const defaultMaxPack = 8 << 30

// Store fetches revisions. It is safe for concurrent use: fetches of one
// repository wait for each other, those of different ones do not.
type Store struct {
	o Options

	mu    sync.Mutex
	repos map[string]*repository
}

// repository is a clone with its lock, and what is known of its server.
type repository struct {
	// busy holds a token while somebody uses the clone.
	busy   chan struct{}
	clone  *clone
	remote remote
	looks  looks

	mu      sync.Mutex
	backoff backoff
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
	opts.Dir = dir
	if opts.MaxPack <= 0 {
		opts.MaxPack = defaultMaxPack
	}
	if opts.LeastPause <= 0 {
		opts.LeastPause = time.Second
	}
	if opts.MostPause <= 0 {
		opts.MostPause = time.Minute
	}
	// Clones hold what their credentials protect.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for clones: %w", err)
	}
	return &Store{o: opts, repos: map[string]*repository{}}, nil
}

// Fetch finds the commit that the request's ref points to now, and returns its
// tree. A ref that was rewound or force-pushed is followed like any other: what
// that means is for Since. The error has a Reason, and a message for people
// without credentials. While a server is left alone because it failed, Fetch
// returns that failure without asking; RetryAfter tells for how long.
func (s *Store) Fetch(ctx context.Context, req Request) (Snapshot, error) {
	t, err := newTarget(req)
	if err != nil {
		return Snapshot{}, explain(err, req.URL, &req.Auth)
	}
	snapshot, after, err := s.fetch(ctx, t, req)
	if err == nil {
		after, err = s.follow(ctx, t, snapshot, req)
	}
	if err != nil {
		f := explain(err, req.URL, &t.auth)
		f.after = after
		return Snapshot{}, f
	}
	return snapshot, nil
}

func (s *Store) fetch(ctx context.Context, t *target, req Request) (_ Snapshot, after time.Duration, _ error) {
	if t.kind == "commit" && t.commit.String() == req.LastCommit {
		return unchanged(t, found{commit: t.commit}), 0, nil
	}
	repo, err := s.repository(t)
	if err != nil {
		return Snapshot{}, 0, err
	}
	if after, err := repo.waiting(); err != nil && !req.Now {
		return Snapshot{}, after, err
	}
	if t.url.Scheme == "file" {
		req.MaxAge = 0 // a look costs nothing
	}
	f, err := repo.look(ctx, t, req.MaxAge)
	if err != nil {
		return Snapshot{}, repo.note(err), err
	}
	if f.commit.String() == req.LastCommit {
		repo.note(nil)
		return unchanged(t, f), 0, nil
	}
	snapshot, err := s.read(ctx, repo, t, req, f)
	if err != nil {
		return Snapshot{}, repo.note(err), err
	}
	repo.note(nil)
	snapshot.Changed = snapshot.Revision.Commit != req.LastCommit
	return snapshot, 0, nil
}

// read brings a commit into the clone and opens it.
func (s *Store) read(ctx context.Context, repo *repository, t *target, req Request, f found) (Snapshot, error) {
	release, err := s.acquire(ctx, repo, t.key())
	if err != nil {
		return Snapshot{}, err
	}
	defer release()
	if err := repo.bring(ctx, t, req, f); err != nil {
		return Snapshot{}, err
	}
	snapshot, err := repo.clone.snapshot(t, f)
	var known *failure
	if err == nil || errors.As(err, &known) {
		return snapshot, err
	}
	// What was written there whole cannot be read any more: start anew.
	repo.clone.suspect.Store(true)
	if err := s.open(repo, t.key()); err != nil {
		return Snapshot{}, err
	}
	if err := repo.bring(ctx, t, req, f); err != nil {
		return Snapshot{}, err
	}
	return repo.clone.snapshot(t, f)
}

// acquire waits for the clone, and opens it. The caller releases it.
func (s *Store) acquire(ctx context.Context, repo *repository, key string) (release func(), err error) {
	select {
	case repo.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release = func() { <-repo.busy }
	if err := s.open(repo, key); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// look finds where the target's ref points to. The clone's lock is not held
// meanwhile: a server that does not answer keeps nobody else waiting.
func (r *repository) look(ctx context.Context, t *target, maxAge time.Duration) (found, error) {
	if t.kind == "commit" {
		f, _ := t.find(nil)
		return f, nil
	}
	refs, earlier, err := r.looks.get(ctx, t.prefix(), maxAge)
	if err != nil {
		return found{}, err
	}
	f, ok := t.find(refs)
	if !ok && earlier {
		// It may be younger than that look.
		if refs, _, err = r.looks.get(ctx, t.prefix(), 0); err != nil {
			return found{}, err
		}
		f, ok = t.find(refs)
	}
	if ok {
		return f, nil
	}
	wide, err := r.remote.list(ctx, []string{t.wide()})
	if err != nil {
		return found{}, err
	}
	return found{}, t.missing(wide)
}

// waiting returns the failure for which the server is left alone, if any.
func (r *repository) waiting() (time.Duration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	err := r.backoff.waiting(now)
	return r.backoff.until.Sub(now), err
}

// note takes in how the server did, and returns how long it is left alone.
func (r *repository) note(err error) time.Duration {
	if err != nil && (!ofServer(err) || errors.Is(err, context.Canceled)) {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if err != nil && r.backoff.waiting(now) != nil {
		return r.backoff.until.Sub(now) // another one of the same moment
	}
	r.backoff.note(now, err)
	if err == nil {
		return 0
	}
	return r.backoff.until.Sub(now)
}

// bring makes sure that the clone has what was found, with everything below it.
func (r *repository) bring(ctx context.Context, t *target, req Request, f found) error {
	if r.clone.lacks(f.want, f.commit) {
		want := wire.Want{Commits: []plumbing.Hash{f.want}, Depth: 1, Since: r.clone.baseTime(req)}
		if err := r.remote.fetch(ctx, r.clone, want); err != nil {
			if said, ok := errors.AsType[*wire.ServerError](err); ok && t.kind == "commit" && strings.Contains(said.Text, notOurs) {
				return commitNotFound(t.commit)
			}
			return err
		}
		if r.clone.lacks(f.want, f.commit) {
			return fmt.Errorf("the server did not send commit %s", f.commit)
		}
	}
	return r.clone.remember(t, f.want)
}

// notOurs is how git refuses to give out a commit.
const notOurs = "not our ref"

// baseTime is from when on the history is wanted; zero for none of it.
func (c *clone) baseTime(req Request) time.Time {
	if !plumbing.IsHash(req.Base) {
		return time.Time{}
	}
	if commit, err := object.GetCommit(c.store, plumbing.NewHash(req.Base)); err == nil {
		return commit.Committer.When
	}
	return req.BaseTime
}

func unchanged(t *target, f found) Snapshot {
	return Snapshot{Revision: Revision{Name: t.revisionName(f.ref, f.commit), Commit: f.commit.String()}}
}

// repository finds the clone's entry by URL and credentials.
func (s *Store) repository(t *target) (*repository, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := t.key()
	if repo, ok := s.repos[key]; ok {
		return repo, nil
	}
	rem, err := newRemote(t, s.o.Dir, s.o.MaxPack)
	if err != nil {
		return nil, err
	}
	s.sweep()
	repo := &repository{
		busy: make(chan struct{}, 1), remote: rem, looks: looks{list: rem.list},
		backoff: backoff{least: s.o.LeastPause, most: s.o.MostPause},
	}
	s.repos[key] = repo
	return repo, nil
}

// open makes repo.clone usable, and starts a new one when the old has grown to
// too many packs or turned out to be damaged. The one before is kept, for
// snapshots that still read it.
func (s *Store) open(repo *repository, key string) error {
	dir := filepath.Join(s.o.Dir, key)
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
	entries, err := os.ReadDir(s.o.Dir)
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
				_ = os.RemoveAll(filepath.Join(s.o.Dir, e.Name()))
				<-repo.busy
			default:
			}
			continue
		}
		_ = os.RemoveAll(filepath.Join(s.o.Dir, e.Name()))
	}
}
