// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// Reads is a snapshot's tree that notes what is read of it. It is safe for
// concurrent use, and implements what the tree does.
type Reads struct {
	tree *tree
	mu   sync.Mutex
	seen Seen
}

// Seen is what was read of a snapshot: files by the ids of their contents,
// folders by the names in them, and what was looked for in vain.
type Seen map[read]string

// read is one thing that was asked for.
type read struct {
	name string
	// list tells that it was the names in a folder.
	list bool
}

var (
	_ fs.ReadDirFS  = (*Reads)(nil)
	_ fs.ReadFileFS = (*Reads)(nil)
	_ fs.StatFS     = (*Reads)(nil)
)

// Watch returns a snapshot's tree that notes what is read of it; nil for any
// other tree.
func Watch(fsys fs.FS) *Reads {
	t, ok := fsys.(*tree)
	if !ok {
		return nil
	}
	return &Reads{tree: t, seen: Seen{}}
}

// Seen returns what was read so far.
func (r *Reads) Seen() Seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// Files returns the names of what was read that is no folder.
func (r *Reads) Files() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for at := range r.seen {
		if !at.list {
			names = append(names, at.name)
		}
	}
	return names
}

// In tells that whoever reads the same of another snapshot finds the same. It
// is false where that can't be told.
func (s Seen) In(fsys fs.FS) bool {
	t, ok := fsys.(*tree)
	if !ok || s == nil {
		return false
	}
	for at, before := range s {
		if t.mark(at) != before {
			return false
		}
	}
	return true
}

// Touches tells that something in a folder, or the folder itself, was read or
// looked for.
func (s Seen) Touches(folder string) bool {
	for at := range s {
		if at.name == folder || folder == "." || strings.HasPrefix(at.name, folder+"/") {
			return true
		}
	}
	return false
}

func (r *Reads) note(name string, list bool) {
	at := read{name, list}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.seen[at]; !known {
		r.seen[at] = r.tree.mark(at)
	}
}

// Same tells that a file reads as it did when as was seen. Then it counts as
// read, and need not be: whoever has what came of it goes on with that.
func (r *Reads) Same(name string, as Seen) bool {
	at := read{name: name}
	before, known := as[at]
	if !known {
		return false
	}
	now := r.tree.mark(at)
	if now != before {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[at] = now
	return true
}

// mark is equal for what reads the same. A folder's is its names and their
// modes alone: whoever goes on to read what is in it is noted with that.
func (t *tree) mark(at read) string {
	name := at.name
	if at.list {
		name += "/" // the names in a submodule are its own tree's
	}
	if sub, _, rest := t.below(name); sub != nil {
		return sub.mark(read{path.Clean(rest), at.list})
	}
	info, err := t.find("stat", at.name)
	switch {
	case err != nil:
		return "error: " + err.Error()
	case !info.IsDir():
		return string(append(info.entry.Mode.Bytes(), info.entry.Hash[:]...))
	case !at.list || info.entry.Mode == filemode.Submodule:
		return info.entry.Mode.String()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f, err := t.folder(at.name)
	if err != nil {
		return "error: " + err.Error()
	}
	h := sha256.New()
	for _, e := range f.entries {
		fmt.Fprintf(h, "%s %q\n", e.Mode, e.Name)
	}
	return string(h.Sum(nil))
}

// Open implements fs.FS.
func (r *Reads) Open(name string) (fs.File, error) {
	r.note(name, true)
	return r.tree.Open(name)
}

// Stat implements fs.StatFS.
func (r *Reads) Stat(name string) (fs.FileInfo, error) {
	r.note(name, false)
	return r.tree.Stat(name)
}

// ReadFile implements fs.ReadFileFS.
func (r *Reads) ReadFile(name string) ([]byte, error) {
	r.note(name, false)
	return r.tree.ReadFile(name)
}

// ReadDir implements fs.ReadDirFS.
func (r *Reads) ReadDir(name string) ([]fs.DirEntry, error) {
	r.note(name, true)
	return r.tree.ReadDir(name)
}
