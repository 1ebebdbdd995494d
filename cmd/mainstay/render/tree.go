// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/mainstay-gitops/mainstay/sync/source"
)

// tree is the working copy, or a commit of the repository. done lets it go.
func (c *command) tree(ctx context.Context, root string) (tree fs.FS, done func(), err error) {
	if c.revision != "" {
		return commitTree(ctx, root, c.revision)
	}
	opened, err := os.OpenRoot(root)
	if err != nil {
		return nil, nil, err
	}
	files, ok := opened.FS().(rootFS)
	if !ok {
		return nil, nil, errors.Join(errors.New("the working copy can't be read"), opened.Close())
	}
	return &workingCopy{rootFS: files, root: opened}, func() { _ = opened.Close() }, nil
}

// commitTree reads a commit, as the sync loop does.
func commitTree(ctx context.Context, root, revision string) (fs.FS, func(), error) {
	repository, err := git.PlainOpenWithOptions(root, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	if err != nil {
		return nil, nil, fmt.Errorf("open the repository at %s: %w", root, err)
	}
	commit, err := repository.ResolveRevision(plumbing.Revision(revision))
	if err != nil {
		return nil, nil, fmt.Errorf("find revision %s: %w", revision, err)
	}
	dir, err := os.MkdirTemp("", "mainstay-render-")
	if err != nil {
		return nil, nil, err
	}
	done := func() { _ = os.RemoveAll(dir) }
	store, err := source.New(source.Options{Dir: dir})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	from := url.URL{Scheme: "file", Path: filepath.ToSlash(root)}
	snapshot, err := store.Fetch(ctx, source.Request{URL: from.String(), Commit: commit.String()})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read revision %s: %w", revision, err), os.RemoveAll(dir))
	}
	return snapshot.FS, done, nil
}

// rootFS is what os.Root's file system implements.
type rootFS interface {
	fs.FS
	fs.StatFS
	fs.ReadFileFS
	fs.ReadDirFS
}

// workingCopy is a folder in which, as in a commit's tree, no symbolic link is
// followed.
type workingCopy struct {
	rootFS
	root *os.Root
}

// real is an error for what is at or behind a symbolic link.
func (w *workingCopy) real(op, name string) error {
	for i := range name + "/" {
		if i < len(name) && name[i] != '/' {
			continue
		}
		info, err := w.root.Lstat(filepath.FromSlash(name[:i]))
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			continue // what is not there is said by whoever opens it
		}
		return &fs.PathError{Op: op, Path: name, Err: source.ErrSymlink}
	}
	return nil
}

// Open implements fs.FS.
func (w *workingCopy) Open(name string) (fs.File, error) {
	if err := w.real("open", name); err != nil {
		return nil, err
	}
	return w.rootFS.Open(name)
}

// Stat implements fs.StatFS.
func (w *workingCopy) Stat(name string) (fs.FileInfo, error) {
	if err := w.real("stat", name); err != nil {
		return nil, err
	}
	return w.rootFS.Stat(name)
}

// ReadFile implements fs.ReadFileFS.
func (w *workingCopy) ReadFile(name string) ([]byte, error) {
	if err := w.real("read", name); err != nil {
		return nil, err
	}
	return w.rootFS.ReadFile(name)
}

// ReadDir implements fs.ReadDirFS. The repository's own folder is not in it.
func (w *workingCopy) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := w.real("readdir", name); err != nil {
		return nil, err
	}
	entries, err := w.rootFS.ReadDir(name)
	kept := entries[:0]
	for _, entry := range entries {
		if !strings.EqualFold(entry.Name(), ".git") {
			kept = append(kept, entry)
		}
	}
	return kept, err
}
