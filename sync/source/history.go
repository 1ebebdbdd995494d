// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/mainstay-gitops/mainstay/sync/source/wire"
)

// Commit is one commit of a History.
type Commit struct {
	ID      string
	Author  string
	Time    time.Time
	Subject string
	// Raw is the object as git has it, for whoever verifies its signature.
	Raw []byte

	parents []plumbing.Hash
}

// History is what came to a ref since an earlier commit.
type History struct {
	// Descends tells that the earlier commit is an ancestor.
	Descends bool
	// Commits are those that can be reached from the new commit and not from
	// the earlier one, by way of all parents, the new one first.
	Commits []Commit
	// Whole tells that Commits are all of them.
	Whole bool
}

// depths are how much of the history is asked for, step by step. The first step
// is what came along with the commit.
var depths = []int{50, 1000}

// Since tells how a commit that Fetch returned relates to Request.Base. Where
// the clone does not know enough, more of the history is fetched: up to 1,000
// commits deep; with whole, all of it rather than leave a commit unseen.
func (s *Store) Since(ctx context.Context, req Request, commit string, whole bool) (History, error) {
	t, err := newTarget(req)
	if err != nil {
		return History{}, explain(err, req.URL, &req.Auth)
	}
	h, err := s.since(ctx, t, plumbing.NewHash(commit), plumbing.NewHash(req.Base), whole)
	if err != nil {
		return History{}, explain(err, req.URL, &t.auth)
	}
	return h, nil
}

func (s *Store) since(ctx context.Context, t *target, commit, base plumbing.Hash, whole bool) (History, error) {
	repo, err := s.repository(t)
	if err != nil {
		return History{}, err
	}
	release, err := s.acquire(ctx, repo, t.key())
	if err != nil {
		return History{}, err
	}
	defer release()
	steps := depths
	if whole {
		steps = append(slices.Clip(steps), 0)
	}
	if !repo.clone.has(commit) {
		// The clone is a new one.
		if err := repo.remote.fetch(ctx, repo.clone, wire.Want{Commits: []plumbing.Hash{commit}, Depth: depths[0]}); err != nil {
			return History{}, err
		}
	}
	for {
		h, exact, err := repo.clone.walk(ctx, commit, base)
		enough := h.Whole && (exact || !whole) || h.Descends && !whole
		if err != nil || enough || len(steps) == 0 {
			return h, err
		}
		if err := repo.deepen(ctx, commit, base, steps[0], whole && !h.Descends); err != nil {
			return History{}, fmt.Errorf("fetch the history: %w", err)
		}
		steps = steps[1:]
	}
}

// deepen brings more of the history of a commit, and of base where it is not a
// part of it. That base is gone from the server is no error: then more commits
// than need be count as new.
func (r *repository) deepen(ctx context.Context, commit, base plumbing.Hash, depth int, apart bool) error {
	if apart {
		err := r.remote.fetch(ctx, r.clone, wire.Want{Commits: []plumbing.Hash{base}, Depth: depth})
		if err != nil && (ctx.Err() != nil || ofServer(err)) {
			return err
		}
	}
	return r.remote.fetch(ctx, r.clone, wire.Want{Commits: []plumbing.Hash{commit}, Depth: depth})
}

// walk follows all parents from a commit, and stops at base and its ancestors.
// It is exact where all of those are known; else it may list some of them.
func (c *clone) walk(ctx context.Context, from, base plumbing.Hash) (_ History, exact bool, _ error) {
	old, known, err := c.ancestors(ctx, base)
	if err != nil {
		return History{}, false, err
	}
	h := History{Whole: true, Descends: from == base}
	seen := map[plumbing.Hash]bool{from: true}
	for queue := []plumbing.Hash{from}; len(queue) > 0; queue = queue[1:] {
		id := queue[0]
		if old[id] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return History{}, false, err
		}
		if !c.has(id) {
			h.Whole = false // beyond what was fetched
			continue
		}
		commit, err := c.read(id)
		if err != nil {
			return History{}, false, err
		}
		h.Commits = append(h.Commits, *commit)
		for _, parent := range commit.parents {
			h.Descends = h.Descends || parent == base
			if !seen[parent] {
				seen[parent] = true
				queue = append(queue, parent)
			}
		}
	}
	// What was cut off between the two cannot be told apart. In a line of
	// commits nothing was: the walk ended at base.
	return h, known || h.Descends && linear(h.Commits, base), nil
}

// linear tells that the commits follow one another from base on.
func linear(commits []Commit, base plumbing.Hash) bool {
	for i, c := range commits {
		next := base.String()
		if i+1 < len(commits) {
			next = commits[i+1].ID
		}
		if len(c.parents) != 1 || c.parents[0].String() != next {
			return false
		}
	}
	return true
}

// ancestors are a commit and those before it, as far as the clone has them; all
// tells that it has.
func (c *clone) ancestors(ctx context.Context, of plumbing.Hash) (_ map[plumbing.Hash]bool, all bool, _ error) {
	seen := map[plumbing.Hash]bool{of: true}
	all = true
	for queue := []plumbing.Hash{of}; len(queue) > 0; queue = queue[1:] {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		if !c.has(queue[0]) {
			all = false
			continue
		}
		commit, err := c.read(queue[0])
		if err != nil {
			return nil, false, err
		}
		for _, parent := range commit.parents {
			if !seen[parent] {
				seen[parent] = true
				queue = append(queue, parent)
			}
		}
	}
	return seen, all, nil
}

func (c *clone) read(id plumbing.Hash) (*Commit, error) {
	raw, err := rawObject(c.store, plumbing.CommitObject, id)
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", id, err)
	}
	commit, err := object.GetCommit(c.store, id)
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", id, err)
	}
	return &Commit{
		ID: id.String(), Raw: raw, Author: person(&commit.Author), Time: commit.Committer.When, Subject: subject(commit.Message),
		parents: commit.ParentHashes,
	}, nil
}

// maxRaw bounds a commit or a tag: somebody's message, and a signature.
const maxRaw = 1 << 20

func rawObject(store objects, kind plumbing.ObjectType, id plumbing.Hash) (raw []byte, err error) {
	encoded, err := store.EncodedObject(kind, id)
	if err != nil {
		return nil, err
	}
	if encoded.Size() > maxRaw {
		return nil, fmt.Errorf("it has %d bytes, and more than %d are not read", encoded.Size(), maxRaw)
	}
	r, err := encoded.Reader()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}

// objects is what reads one.
type objects interface {
	EncodedObject(plumbing.ObjectType, plumbing.Hash) (plumbing.EncodedObject, error)
}

func person(s *object.Signature) string {
	return strings.TrimSpace(fmt.Sprintf("%s <%s>", s.Name, s.Email))
}

func subject(message string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	return strings.TrimSpace(line)
}
