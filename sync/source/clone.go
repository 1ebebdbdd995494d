// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // The format of packs, not a signature.
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	// maxPacks is when a clone is given up for a fresh one: each fetch adds a
	// pack, and each look-up may go through all of them.
	maxPacks = 256
	// cacheBytes bounds the objects that one open store keeps in memory.
	cacheBytes = 8 * 1024 * 1024
	// openPacks bounds the packs that one open store keeps open, since opening
	// costs more than reading an object. The files of a store that is no
	// longer used are closed when it is collected.
	openPacks = 8
	// refPrefix is for what was fetched last for each ref: our own names, so
	// that nothing in the remote repository can choose one.
	refPrefix = "refs/mainstay/"
)

// clone is one bare repository on disk. It is written under its repository's
// lock. Packs are the only objects in it, and each is written whole or not at
// all, so a commit that is there has its whole tree.
type clone struct {
	// parent holds the generations of the clone, dir is this one.
	parent, dir string
	generation  int
	store       *filesystem.Storage
	// suspect is set when an object cannot be read that should be there.
	suspect atomic.Bool
}

// openClone opens the newest generation in parent, or starts an empty one when
// there is none or it is damaged. Older ones are removed.
func openClone(parent string) (*clone, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("make the clone's folder: %w", err)
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return nil, fmt.Errorf("read the clone's folder: %w", err)
	}
	newest := 0
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > newest {
			newest = n
		}
	}
	for _, e := range entries {
		if e.Name() == strconv.Itoa(newest) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(parent, e.Name())); err != nil {
			return nil, fmt.Errorf("remove an old clone: %w", err)
		}
	}
	c := newClone(parent, max(newest, 1))
	if newest > 0 {
		if err := c.verify(); err == nil {
			return c, nil
		}
		if err := c.remove(); err != nil {
			return nil, err
		}
		c = newClone(parent, newest+1)
	}
	return c, c.init()
}

func newClone(parent string, generation int) *clone {
	c := &clone{parent: parent, generation: generation, dir: filepath.Join(parent, strconv.Itoa(generation))}
	c.store = openStorage(c.dir)
	return c
}

func openStorage(dir string) *filesystem.Storage {
	return filesystem.NewStorageWithOptions(osfs.New(dir, osfs.WithBoundOS()),
		cache.NewObjectLRU(cacheBytes), filesystem.Options{MaxOpenDescriptors: openPacks})
}

func (c *clone) init() error {
	if err := os.MkdirAll(filepath.Join(c.dir, "objects", "pack"), 0o700); err != nil {
		return fmt.Errorf("make the clone: %w", err)
	}
	if err := c.store.Init(); err != nil {
		return fmt.Errorf("make the clone: %w", err)
	}
	head := plumbing.NewSymbolicReference(plumbing.HEAD, refPrefix+"none")
	if err := c.store.SetReference(head); err != nil {
		return fmt.Errorf("make the clone: %w", err)
	}
	// With a configuration, a git binary can read the clone, too.
	config := "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
	if err := os.WriteFile(filepath.Join(c.dir, "config"), []byte(config), 0o600); err != nil {
		return fmt.Errorf("make the clone: %w", err)
	}
	return nil
}

// next starts the following, empty generation, and removes all but this one.
func (c *clone) next() (*clone, error) {
	if err := os.RemoveAll(filepath.Join(c.parent, strconv.Itoa(c.generation-1))); err != nil {
		return nil, fmt.Errorf("remove an old clone: %w", err)
	}
	n := newClone(c.parent, c.generation+1)
	return n, n.init()
}

func (c *clone) remove() error {
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove the damaged clone: %w", err)
	}
	return nil
}

// grown tells that the clone has too many packs.
func (c *clone) grown() bool {
	packs, err := c.store.ObjectPacks()
	return err == nil && len(packs) >= maxPacks
}

// has tells whether the object is in the clone.
func (c *clone) has(h plumbing.Hash) bool {
	return c.store.HasEncodedObject(h) == nil
}

// remember notes what was fetched for the target: the next fetch tells the
// server to send only what has changed since.
func (c *clone) remember(t *target, h plumbing.Hash) error {
	// Hashed, because a branch a and a branch a/b may follow each other, and
	// because the name becomes a path here.
	sum := sha256.Sum256([]byte(t.kind + " " + t.name))
	name := plumbing.ReferenceName(refPrefix + hex.EncodeToString(sum[:16]))
	if err := c.store.SetReference(plumbing.NewHashReference(name, h)); err != nil {
		return fmt.Errorf("note the fetched commit: %w", err)
	}
	// So that git itself does not miss the history that was not fetched.
	if err := c.store.SetShallow(c.haves()); err != nil {
		return fmt.Errorf("note the fetched commit: %w", err)
	}
	return nil
}

// haves are the commits that were fetched last. A ref that cannot be read
// costs a larger transfer and nothing else.
func (c *clone) haves() []plumbing.Hash {
	var haves []plumbing.Hash
	refs, err := c.store.IterReferences()
	if err != nil {
		return nil
	}
	_ = refs.ForEach(func(ref *plumbing.Reference) error {
		if ref.Type() != plumbing.HashReference || !strings.HasPrefix(ref.Name().String(), refPrefix) {
			return nil
		}
		if commit, err := c.commit(c.store, ref.Hash()); err == nil {
			haves = append(haves, commit.Hash)
		}
		return nil
	})
	plumbing.HashesSort(haves)
	return haves
}

// commit follows annotated tags, also tags of tags, to the commit.
func (c *clone) commit(store *filesystem.Storage, h plumbing.Hash) (*object.Commit, error) {
	for range 10 {
		tag, err := object.GetTag(store, h)
		if err != nil {
			break
		}
		h = tag.Target
	}
	return object.GetCommit(store, h)
}

// snapshot opens the commit with readers of its own, since an open store must
// not be written and read at once.
func (c *clone) snapshot(t *target, f found) (Snapshot, error) {
	store := openStorage(c.dir)
	commit, err := c.commit(store, f.want)
	if err != nil {
		if _, readable := store.EncodedObject(plumbing.AnyObject, f.want); readable == nil && t.kind != "branch" {
			return Snapshot{}, fail(ReasonRefNotFound, err, "%s %q does not lead to a commit; check spec.source.ref", t.kind, t.name)
		}
		return Snapshot{}, fmt.Errorf("read commit %s: %w", f.want, err)
	}
	tree := &tree{store: store, root: commit.TreeHash, time: commit.Committer.When, suspect: &c.suspect}
	if _, err := tree.folder("."); err != nil {
		return Snapshot{}, fmt.Errorf("read the tree of commit %s: %w", commit.Hash, err)
	}
	s := Snapshot{
		Revision: Revision{
			Name:    t.revisionName(f.ref, commit.Hash),
			Commit:  commit.Hash.String(),
			Author:  person(&commit.Author),
			Time:    commit.Committer.When,
			Subject: subject(commit.Message),
		},
		FS: tree,
	}
	if s.Commit, err = rawObject(store, plumbing.CommitObject, commit.Hash); err != nil {
		return Snapshot{}, fmt.Errorf("read commit %s: %w", commit.Hash, err)
	}
	if f.want != commit.Hash {
		if s.Tag, err = rawObject(store, plumbing.TagObject, f.want); err != nil {
			return Snapshot{}, fmt.Errorf("read tag %s: %w", f.want, err)
		}
	}
	return s, nil
}

// errDamaged is why a clone is not used again.
var errDamaged = errors.New("the clone is damaged")

// verify checks, once for each start, that what is on disk is what was
// written: every pack and index against its own checksum, every noted commit
// with its tree. What a crash left half written is removed.
func (c *clone) verify() error {
	packs := filepath.Join(c.dir, "objects", "pack")
	entries, err := os.ReadDir(packs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(packs, e.Name())
		base, isPack := strings.CutSuffix(name, ".pack")
		if isPack {
			if err := errors.Join(verifyChecksum(name), verifyChecksum(base+".idx")); err != nil {
				return err
			}
			continue
		}
		if base, isIndex := strings.CutSuffix(name, ".idx"); isIndex {
			if _, err := os.Stat(base + ".pack"); err == nil {
				continue
			}
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	if _, err := c.store.Reference(plumbing.HEAD); err != nil {
		return err
	}
	refs, err := c.store.IterReferences()
	if err != nil {
		return err
	}
	return refs.ForEach(func(ref *plumbing.Reference) error {
		if ref.Type() != plumbing.HashReference {
			return nil
		}
		commit, err := c.commit(c.store, ref.Hash())
		if err != nil {
			return err
		}
		_, err = commit.Tree()
		return err
	})
}

// verifyChecksum checks a file that ends in the SHA-1 of what is before.
func verifyChecksum(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < sha1.Size {
		return errDamaged
	}
	sum := sha1.New() //nolint:gosec // The format of packs, not a signature.
	if _, err := io.CopyN(sum, f, info.Size()-sha1.Size); err != nil {
		return err
	}
	want, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, sum.Sum(nil)) {
		return errDamaged
	}
	return nil
}
