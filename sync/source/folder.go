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

func (r *folderRemote) list(ctx context.Context) (*listing, error) {
	store, err := r.open()
	if err != nil {
		return nil, err
	}
	refs, err := store.IterReferences()
	if err != nil {
		return nil, fmt.Errorf("read refs: %w", err)
	}
	l := &listing{refs: map[string]plumbing.Hash{}, peeled: map[string]plumbing.Hash{}}
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		name := ref.Name().String()
		if ref.Type() != plumbing.HashReference {
			return nil
		}
		l.refs[name] = ref.Hash()
		if !strings.HasPrefix(name, "refs/tags/") {
			return nil
		}
		if tag, err := object.GetTag(store, ref.Hash()); err == nil {
			if commit, err := tag.Commit(); err == nil {
				l.peeled[name] = commit.Hash
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read refs: %w", err)
	}
	return l, nil
}

func (r *folderRemote) fetchCommit(ctx context.Context, refs *listing, into *clone, commit plumbing.Hash) error {
	store, err := r.open()
	if err != nil {
		return err
	}
	if _, err := object.GetCommit(store, commit); err != nil {
		return commitNotFound(commit)
	}
	return r.fetch(ctx, refs, into, commit)
}

func (r *folderRemote) fetch(ctx context.Context, _ *listing, into *clone, want plumbing.Hash) (err error) {
	store, err := r.open()
	if err != nil {
		return err
	}
	missing, err := missingBelow(ctx, store, into, want)
	if err != nil {
		return err
	}
	pack, err := into.store.PackfileWriter()
	if err != nil {
		return fmt.Errorf("write the pack: %w", err)
	}
	defer func() { err = errors.Join(err, pack.Close()) }()
	// Without a window nothing is compared for deltas: this is a local copy.
	if _, err := packfile.NewEncoder(pack, store, false).Encode(missing, 0); err != nil {
		return fmt.Errorf("copy objects: %w", err)
	}
	return nil
}

// missingBelow lists what the clone lacks of a commit or annotated tag: the
// object itself, and what is in its tree. A tree that is in the clone is
// complete there.
func missingBelow(ctx context.Context, from *filesystem.Storage, into *clone, want plumbing.Hash) ([]plumbing.Hash, error) {
	missing := []plumbing.Hash{}
	for range 10 {
		tag, err := object.GetTag(from, want)
		if err != nil {
			break
		}
		missing = append(missing, want)
		want = tag.Target
	}
	commit, err := object.GetCommit(from, want)
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", want, err)
	}
	missing = append(missing, commit.Hash)
	seen := map[plumbing.Hash]bool{}
	trees := []plumbing.Hash{commit.TreeHash}
	for len(trees) > 0 {
		h := trees[len(trees)-1]
		trees = trees[:len(trees)-1]
		if seen[h] || into.has(h) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		seen[h] = true
		missing = append(missing, h)
		t, err := object.GetTree(from, h)
		if err != nil {
			return nil, fmt.Errorf("read tree %s: %w", h, err)
		}
		for _, e := range t.Entries {
			switch {
			case e.Mode == filemode.Dir:
				trees = append(trees, e.Hash)
			case e.Mode != filemode.Submodule && !seen[e.Hash] && !into.has(e.Hash):
				seen[e.Hash] = true
				missing = append(missing, e.Hash)
			}
		}
	}
	return missing, nil
}
