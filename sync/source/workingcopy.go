// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// rootFS is what os.Root's file system implements.
type rootFS interface {
	fs.FS
	fs.StatFS
	fs.ReadFileFS
	fs.ReadDirFS
}

// WorkingCopy is a folder of this disk in which, as in a commit's tree, no
// symbolic link is followed, nothing outside is read and git's own folder is
// not there.
type WorkingCopy struct {
	rootFS
	root *os.Root
}

// OpenWorkingCopy opens a folder. Whoever does closes it.
func OpenWorkingCopy(folder string) (*WorkingCopy, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("open the working copy: %w", err)
	}
	files, ok := root.FS().(rootFS)
	if !ok {
		return nil, errors.Join(errors.New("the working copy can't be read"), root.Close())
	}
	return &WorkingCopy{rootFS: files, root: root}, nil
}

// Close lets the folder go.
func (w *WorkingCopy) Close() error { return w.root.Close() }

// real is an error for what is at or behind a symbolic link.
func (w *WorkingCopy) real(op, name string) error {
	for i := range name + "/" {
		if i < len(name) && name[i] != '/' {
			continue
		}
		info, err := w.root.Lstat(filepath.FromSlash(name[:i]))
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			continue // what is not there is said by whoever opens it
		}
		return &fs.PathError{Op: op, Path: name, Err: ErrSymlink}
	}
	return nil
}

// Open implements fs.FS.
func (w *WorkingCopy) Open(name string) (fs.File, error) {
	if err := w.real("open", name); err != nil {
		return nil, err
	}
	return w.rootFS.Open(name)
}

// Stat implements fs.StatFS.
func (w *WorkingCopy) Stat(name string) (fs.FileInfo, error) {
	if err := w.real("stat", name); err != nil {
		return nil, err
	}
	return w.rootFS.Stat(name)
}

// ReadFile implements fs.ReadFileFS.
func (w *WorkingCopy) ReadFile(name string) ([]byte, error) {
	if err := w.real("read", name); err != nil {
		return nil, err
	}
	return w.rootFS.ReadFile(name)
}

// ReadDir implements fs.ReadDirFS. The repository's own folder is not in it.
func (w *WorkingCopy) ReadDir(name string) ([]fs.DirEntry, error) {
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
