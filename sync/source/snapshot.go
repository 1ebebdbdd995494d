// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// Revision is one commit as it was found at a ref.
type Revision struct {
	// Name is <ref>@sha1:<commit>, or sha1:<commit> for a commit by id.
	Name   string
	Commit string
	// Author is name <address>, Time the committer's, Subject the first line.
	Author  string
	Time    time.Time
	Subject string
}

// Snapshot is what Fetch found.
type Snapshot struct {
	// Revision has only Name and Commit while nothing has Changed.
	Revision Revision
	// FS reads the commit's tree; nil while nothing has Changed. It is safe
	// for concurrent use, and implements fs.ReadDirFS, fs.ReadFileFS and
	// fs.StatFS. A symbolic link, or a submodule unless Request.Submodules, is
	// listed, and opening it is an error, so that nothing outside the tree can
	// be reached. It stays readable
	// while its repository is fetched at least once a day, for another 256
	// changes.
	FS fs.FS
	// Commit is the commit as git has it, Tag the annotated tag through which
	// it was found, if any: for whoever verifies their signatures.
	Commit, Tag []byte
	// Changed tells that the commit is not Request.LastCommit.
	Changed bool
}

// ErrSymlink is the error for a path at or behind a symbolic link.
var ErrSymlink = errors.New("is a symbolic link, which Mainstay does not follow: put a copy of the file in its place")

// ErrSubmodule is the error for a folder that is a submodule, and what would be
// in it.
var ErrSubmodule = errors.New("is a submodule, and submodules are not followed: set spec.source.submodules to Follow, follow its repository with a GitSync of its own, or list the folder in .mainstayignore")

// maxFile bounds a file that is read as a whole.
const maxFile = 64 << 20

// tree is a commit's tree.
type tree struct {
	time time.Time
	root plumbing.Hash
	// suspect is the clone's: it is not fetched into again.
	suspect *atomic.Bool
	// submodules by their paths, where they are followed.
	submodules map[string]*tree
	followed   bool

	// mu guards the store, which is not safe for concurrent use.
	mu      sync.Mutex
	store   *filesystem.Storage
	folders map[string]*folder
}

// folder has its entries sorted by name, as fs.ReadDirFS wants; git sorts
// folders as if their names ended in a slash.
type folder struct {
	entries []object.TreeEntry
}

var (
	_ fs.ReadDirFS  = (*tree)(nil)
	_ fs.ReadFileFS = (*tree)(nil)
	_ fs.StatFS     = (*tree)(nil)
)

// Open implements fs.FS.
func (t *tree) Open(name string) (fs.File, error) {
	if sub, prefix, rest := t.below(name); sub != nil {
		f, err := sub.Open(rest)
		return f, under(prefix, err)
	}
	info, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		entries, err := t.ReadDir(name)
		if err != nil {
			return nil, err
		}
		return &openFolder{info: info, entries: entries}, nil
	}
	content, err := t.ReadFile(name)
	if err != nil {
		return nil, err
	}
	info.size = int64(len(content))
	return &openFile{Reader: bytes.NewReader(content), info: info}, nil
}

// Stat implements fs.StatFS.
func (t *tree) Stat(name string) (fs.FileInfo, error) {
	if sub, prefix, rest := t.below(name); sub != nil {
		info, err := sub.Stat(rest)
		return info, under(prefix, err)
	}
	info, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	return info.Info()
}

// ReadFile implements fs.ReadFileFS.
func (t *tree) ReadFile(name string) ([]byte, error) {
	if sub, prefix, rest := t.below(name); sub != nil {
		content, err := sub.ReadFile(rest)
		return content, under(prefix, err)
	}
	info, err := t.find("read", name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a folder")}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	content, err := t.blob(info.entry.Hash)
	if err != nil {
		if !errors.Is(err, errLarge) {
			t.suspect.Store(true)
		}
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return content, nil
}

// errLarge is why a file is not read.
var errLarge = fmt.Errorf("is larger than the %d MiB that are read of one file", maxFile>>20)

func (t *tree) blob(h plumbing.Hash) (content []byte, err error) {
	blob, err := object.GetBlob(t.store, h)
	if err != nil {
		return nil, err
	}
	if blob.Size > maxFile {
		return nil, errLarge
	}
	r, err := blob.Reader()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}

// ReadDir implements fs.ReadDirFS.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	if sub, prefix, rest := t.below(name + "/"); sub != nil {
		entries, err := sub.ReadDir(path.Clean(rest))
		return entries, under(prefix, err)
	}
	info, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("is not a folder")}
	}
	if info.entry.Mode == filemode.Submodule {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: t.notFollowed()}
	}
	t.mu.Lock()
	f, err := t.folder(name)
	t.mu.Unlock()
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	entries := make([]fs.DirEntry, len(f.entries))
	for i, e := range f.entries {
		entries[i] = &fileInfo{tree: t, entry: e}
	}
	return entries, nil
}

// find resolves a name. The file's size is not known yet.
func (t *tree) find(op, name string) (*fileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if name == "." {
		return &fileInfo{tree: t, entry: object.TreeEntry{Name: ".", Mode: filemode.Dir, Hash: t.root}}, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f, err := t.folder(path.Dir(name))
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	e, ok := f.entry(path.Base(name))
	if !ok {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	info := &fileInfo{tree: t, entry: e}
	if info.Type() == fs.ModeSymlink {
		return nil, &fs.PathError{Op: op, Path: name, Err: ErrSymlink}
	}
	return info, nil
}

// folder reads a folder once. The caller holds mu, or has the tree alone.
func (t *tree) folder(name string) (*folder, error) {
	if f, ok := t.folders[name]; ok {
		return f, nil
	}
	h := t.root
	if name != "." {
		parent, err := t.folder(path.Dir(name))
		if err != nil {
			return nil, err
		}
		e, ok := parent.entry(path.Base(name))
		switch {
		case !ok:
			return nil, fs.ErrNotExist
		case e.Mode == filemode.Submodule:
			return nil, fmt.Errorf("%s %w", name, t.notFollowed())
		case e.Mode == filemode.Symlink:
			return nil, fmt.Errorf("%s %w", name, ErrSymlink)
		case e.Mode != filemode.Dir:
			return nil, fs.ErrNotExist
		}
		h = e.Hash
	}
	read, err := object.GetTree(t.store, h)
	if err != nil {
		t.suspect.Store(true)
		return nil, fmt.Errorf("read tree %s: %w", h, err)
	}
	f := &folder{entries: read.Entries}
	for _, e := range f.entries {
		// No git makes such a name, but whoever can push can: walking down
		// to it would lead out again.
		if !fs.ValidPath(e.Name) || e.Name == "." || strings.Contains(e.Name, "/") {
			return nil, fail(ReasonFetchFailed, nil, "folder %s of the repository holds the forbidden file name %q", name, e.Name)
		}
	}
	slices.SortFunc(f.entries, func(a, b object.TreeEntry) int { return strings.Compare(a.Name, b.Name) })
	if t.folders == nil {
		t.folders = map[string]*folder{}
	}
	t.folders[name] = f
	return f, nil
}

func (f *folder) entry(name string) (object.TreeEntry, bool) {
	i, ok := slices.BinarySearchFunc(f.entries, name, func(e object.TreeEntry, name string) int {
		return strings.Compare(e.Name, name)
	})
	if !ok {
		return object.TreeEntry{}, false
	}
	return f.entries[i], true
}

// fileInfo is both fs.FileInfo and fs.DirEntry.
type fileInfo struct {
	tree  *tree
	entry object.TreeEntry
	size  int64
}

func (i *fileInfo) Name() string       { return i.entry.Name }
func (i *fileInfo) Size() int64        { return i.size }
func (i *fileInfo) ModTime() time.Time { return i.tree.time }
func (i *fileInfo) IsDir() bool        { return i.Mode().IsDir() }
func (i *fileInfo) Sys() any           { return nil }
func (i *fileInfo) Type() fs.FileMode  { return i.Mode().Type() }

func (i *fileInfo) Mode() fs.FileMode {
	switch i.entry.Mode {
	case filemode.Dir, filemode.Submodule:
		return fs.ModeDir | 0o555
	case filemode.Symlink:
		return fs.ModeSymlink | 0o444
	case filemode.Executable:
		return 0o555
	default:
		return 0o444
	}
}

// Info implements fs.DirEntry.
func (i *fileInfo) Info() (fs.FileInfo, error) {
	info := &fileInfo{tree: i.tree, entry: i.entry}
	if i.IsDir() {
		return info, nil
	}
	i.tree.mu.Lock()
	defer i.tree.mu.Unlock()
	size, err := i.tree.store.EncodedObjectSize(i.entry.Hash)
	if err != nil {
		i.tree.suspect.Store(true)
		return nil, &fs.PathError{Op: "stat", Path: i.entry.Name, Err: err}
	}
	info.size = size
	return info, nil
}

// String is for the output of tests.
func (i *fileInfo) String() string { return fs.FormatFileInfo(i) }

type openFile struct {
	*bytes.Reader
	info *fileInfo
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openFolder struct {
	info    *fileInfo
	entries []fs.DirEntry
}

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFolder) Close() error               { return nil }

func (f *openFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.info.Name(), Err: errors.New("is a folder")}
}

// ReadDir implements fs.ReadDirFile.
func (f *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(f.entries) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(f.entries) {
		n = len(f.entries)
	}
	batch := f.entries[:n:n]
	f.entries = f.entries[n:]
	return batch, nil
}
