// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

const ignoreFile = ".mainstayignore"

// walker collects the manifests below a folder and, where auto is set, the
// kustomizations and charts.
type walker struct {
	tree     *tree
	root     string
	auto     bool
	skip     map[string]bool
	patterns []gitignore.Pattern
	known    func(file string) bool
	files    []string
	roots    []Root
	count    int // files, with those that are known
	problems *problems
}

// walk finds what is to be read, in lexical order.
func (r *rendering) walk() (*walker, error) {
	opts := &r.opts
	w := &walker{
		tree: r.tree, root: r.root, auto: opts.Type == "" || opts.Type == v1alpha1.RenderAuto,
		skip: map[string]bool{}, known: opts.Known, problems: r.problems,
	}
	for _, p := range opts.SkipPaths {
		w.skip[clean(p)] = true
	}
	// What lies above may ignore what lies below, as with git.
	if w.root != "." {
		if err := w.readIgnore("."); err != nil {
			return w, err
		}
	}
	for i, c := range w.root {
		if c == '/' {
			if err := w.readIgnore(w.root[:i]); err != nil {
				return w, err
			}
		}
	}
	return w, fs.WalkDir(r.tree.fsys, w.root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if err := r.tree.ctx.Err(); err != nil {
			return err
		}
		return w.visit(name, entry)
	})
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
		if err := w.readIgnore(name); err != nil || name == w.root || !w.auto {
			return err
		}
		return w.visitRoot(name)
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
		return w.tooMany()
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

func (w *walker) tooMany() error {
	return fmt.Errorf("%s has more than %d manifests: choose a smaller folder in spec.source.path, or list folders in %s", w.root, maxFiles, ignoreFile)
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
	content, err := fs.ReadFile(w.tree.fsys, path.Join(folder, ignoreFile))
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
