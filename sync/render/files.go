// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

const ignoreFile = ".mainstayignore"

// walker collects the manifests below a folder.
type walker struct {
	fsys     fs.FS
	root     string
	skip     map[string]bool
	patterns []gitignore.Pattern
	known    func(file string) bool
	files    []string
	count    int // with those that are known
	problems *problems
}

// manifests lists the files to read, in lexical order.
func manifests(ctx context.Context, fsys fs.FS, opts Options, problems *problems) ([]string, error) {
	w := &walker{fsys: fsys, root: clean(opts.Path), skip: map[string]bool{}, known: opts.Known, problems: problems}
	for _, p := range opts.SkipPaths {
		w.skip[clean(p)] = true
	}
	// What lies above may ignore what lies below, as with git.
	if w.root != "." {
		if err := w.readIgnore("."); err != nil {
			return nil, err
		}
	}
	for i, c := range w.root {
		if c == '/' {
			if err := w.readIgnore(w.root[:i]); err != nil {
				return nil, err
			}
		}
	}
	err := fs.WalkDir(fsys, w.root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return w.visit(name, entry)
	})
	return w.files, err
}

// clean makes a path as users write it one of fs.FS.
func clean(p string) string {
	return path.Clean(strings.TrimPrefix(strings.TrimSpace(p), "/"))
}

func (w *walker) visit(name string, entry fs.DirEntry) error {
	if entry.IsDir() {
		if name != w.root && (w.skip[name] || skippedName(entry.Name()) || entry.Name() == "testdata" || w.ignored(name, true)) {
			return fs.SkipDir
		}
		return w.readIgnore(name)
	}
	if w.skip[name] || skippedName(entry.Name()) || w.ignored(name, false) {
		return nil
	}
	if entry.Type()&fs.ModeSymlink != 0 {
		// It may lead to a manifest or to a folder of them; to pass over it
		// would prune what it leads to.
		if ext := path.Ext(name); ext == "" || isManifest(name) {
			w.problems.add(name, 0, "is a symbolic link, which Mainstay does not follow: put a copy in its place, or list it in %s", ignoreFile)
		}
		return nil
	}
	if !isManifest(name) {
		return nil
	}
	if w.count++; w.count > maxFiles {
		return fmt.Errorf("%s has more than %d manifests: choose a smaller folder in spec.source.path, or list folders in %s", w.root, maxFiles, ignoreFile)
	}
	if w.known != nil && w.known(name) {
		return nil
	}
	info, err := entry.Info()
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if info.Size() > maxBytes {
		w.problems.add(name, 0, "has %d bytes, and more than %d are not read: split it, or list it in %s", info.Size(), maxBytes, ignoreFile)
		return nil
	}
	w.files = append(w.files, name)
	return nil
}

func skippedName(name string) bool {
	return strings.HasPrefix(name, ".")
}

func isManifest(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func (w *walker) ignored(name string, isDir bool) bool {
	return len(w.patterns) > 0 && gitignore.NewMatcher(w.patterns).Match(strings.Split(name, "/"), isDir)
}

// readIgnore adds the patterns of the ignore file in a folder.
func (w *walker) readIgnore(folder string) error {
	content, err := fs.ReadFile(w.fsys, path.Join(folder, ignoreFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path.Join(folder, ignoreFile), err)
	}
	var domain []string
	if folder != "." {
		domain = strings.Split(folder, "/")
	}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			w.patterns = append(w.patterns, gitignore.ParsePattern(line, domain))
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path.Join(folder, ignoreFile), err)
	}
	return nil
}
