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

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/mainstay-gitops/mainstay/sync/source/wire"
)

// folderRemote is a repository on this machine: its objects are read from
// where they are and copied into the clone. go-git's own transport for file
// URLs starts a git binary, and its transports are registered for the process
// as a whole; a copy needs neither.
type folderRemote struct {
	path string
	// clones must not be read: they are protected by others' credentials.
	clones string
}

func newFolderRemote(path, clones string) (*folderRemote, error) {
	clones, err := filepath.EvalSymlinks(clones)
	if err != nil {
		return nil, err
	}
	return &folderRemote{path: filepath.Clean(path), clones: clones}, nil
}

// open returns a store that knows all packs of this moment.
func (r *folderRemote) open() (*filesystem.Storage, error) {
	for _, dir := range []string{r.path, filepath.Join(r.path, ".git")} {
		// The two that git itself looks for.
		if _, err := os.Stat(filepath.Join(dir, "objects")); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "HEAD")); err != nil {
			continue
		}
		dir, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return nil, err
		}
		if rel, err := filepath.Rel(r.clones, dir); err == nil && filepath.IsLocal(rel) {
			break
		}
		return openStorage(dir), nil
	}
	return nil, fail(ReasonRepositoryNotFound, nil, "there is no git repository in this folder: check spec.source.url")
}

func (r *folderRemote) list(ctx context.Context, _ []string) (*wire.Refs, error) {
	store, err := r.open()
	if err != nil {
		return nil, err
	}
	refs, err := store.IterReferences()
	if err != nil {
		return nil, fmt.Errorf("read refs: %w", err)
	}
	l := &wire.Refs{Hashes: map[string]plumbing.Hash{}, Peeled: map[string]plumbing.Hash{}, All: true}
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		name := ref.Name().String()
		if ref.Type() != plumbing.HashReference {
			return nil
		}
		l.Hashes[name] = ref.Hash()
		if !strings.HasPrefix(name, "refs/tags/") {
			return nil
		}
		if tag, err := object.GetTag(store, ref.Hash()); err == nil {
			if commit, err := tag.Commit(); err == nil {
				l.Peeled[name] = commit.Hash
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read refs: %w", err)
	}
	return l, nil
}

func (r *folderRemote) fetch(ctx context.Context, into *clone, want wire.Want) (err error) {
	store, err := r.open()
	if err != nil {
		return err
	}
	c := &copying{from: store, into: into, seen: map[plumbing.Hash]bool{}}
	for _, id := range want.Commits {
		if err := c.history(ctx, id, want); err != nil {
			return err
		}
	}
	if len(c.missing) == 0 {
		return nil
	}
	pack, err := into.store.PackfileWriter()
	if err != nil {
		return fmt.Errorf("write the pack: %w", err)
	}
	defer func() { err = errors.Join(err, pack.Close()) }()
	// Without a window nothing is compared for deltas: this is a local copy.
	if _, err := packfile.NewEncoder(pack, store, false).Encode(c.missing, 0); err != nil {
		return fmt.Errorf("copy objects: %w", err)
	}
	return nil
}

// copying lists what a clone lacks.
type copying struct {
	from    *filesystem.Storage
	into    *clone
	seen    map[plumbing.Hash]bool
	missing []plumbing.Hash
}

// history goes from a commit, or an annotated tag, to its parents, as far as is
// wanted.
func (c *copying) history(ctx context.Context, id plumbing.Hash, want wire.Want) error {
	for range 10 {
		tag, err := object.GetTag(c.from, id)
		if err != nil {
			break
		}
		c.add(id)
		id = tag.Target
	}
	if _, err := object.GetCommit(c.from, id); err != nil {
		return commitNotFound(id)
	}
	type step struct {
		id    plumbing.Hash
		depth int
	}
	walked := map[plumbing.Hash]bool{id: true}
	for queue := []step{{id, 1}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		commit, err := object.GetCommit(c.from, at.id)
		if err != nil {
			if at.depth > 1 {
				continue // the folder is a shallow clone itself
			}
			return fmt.Errorf("read commit %s: %w", at.id, err)
		}
		if at.depth > 1 && !want.Since.IsZero() && commit.Committer.When.Before(want.Since) {
			continue
		}
		c.add(commit.Hash)
		if err := c.below(ctx, commit.TreeHash); err != nil {
			return err
		}
		if want.Since.IsZero() && want.Depth > 0 && at.depth >= want.Depth {
			continue
		}
		for _, parent := range commit.ParentHashes {
			if !walked[parent] {
				walked[parent] = true
				queue = append(queue, step{parent, at.depth + 1})
			}
		}
	}
	return nil
}

// add notes an object that is missing; it tells whether it is.
func (c *copying) add(id plumbing.Hash) bool {
	if c.seen[id] || c.into.has(id) {
		return false
	}
	c.seen[id] = true
	c.missing = append(c.missing, id)
	return true
}

// below goes through a tree. One that is in the clone is complete there.
func (c *copying) below(ctx context.Context, root plumbing.Hash) error {
	trees := []plumbing.Hash{root}
	for len(trees) > 0 {
		h := trees[len(trees)-1]
		trees = trees[:len(trees)-1]
		if err := ctx.Err(); err != nil {
			return err
		}
		if !c.add(h) {
			continue
		}
		t, err := object.GetTree(c.from, h)
		if err != nil {
			return fmt.Errorf("read tree %s: %w", h, err)
		}
		for _, e := range t.Entries {
			switch e.Mode {
			case filemode.Dir:
				trees = append(trees, e.Hash)
			case filemode.Submodule:
			default:
				c.add(e.Hash)
			}
		}
	}
	return nil
}
