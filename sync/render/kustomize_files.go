// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// kustomization is the tree as Kustomize sees it: a file system whose root is
// the repository's, that can only be read, and that hands out no kustomization
// file which asks for more than the tree has.
type kustomization struct {
	tree     *tree
	problems *problems
	// root is the folder that is built.
	root string
	// files are the kustomization files that were checked, by folder.
	files map[string]string
	// parsed are the kustomization files, read the types' way, by file.
	parsed map[string]*types.Kustomization
	docs   map[string][]*document
	// wanted are the options of buildMetadata that the root itself has.
	wanted map[string]bool
	// refused is the first thing that the file system refused.
	refused error
}

var _ filesys.FileSystem = (*kustomization)(nil)

func newKustomization(t *tree, found *problems) *kustomization {
	return &kustomization{
		tree: t, problems: found,
		files: map[string]string{}, parsed: map[string]*types.Kustomization{},
		docs: map[string][]*document{}, wanted: map[string]bool{},
	}
}

var errReadOnly = errors.New("the repository is only read")

// local is the name of a path in the tree.
func local(name string) string {
	return clean(path.Clean("/" + filepath.ToSlash(name)))
}

// ReadFile implements filesys.FileSystem. A kustomization file is checked
// before it is handed out, however it was found.
func (k *kustomization) ReadFile(name string) ([]byte, error) {
	name = local(name)
	content, err := k.tree.read(name)
	if err != nil {
		return nil, k.refuse(name, err)
	}
	if err := checkAliases(content); err != nil {
		return nil, k.refuse(name, err)
	}
	if !slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(name)) {
		return content, nil
	}
	before := len(k.problems.errs)
	kust := k.parse(name, content)
	if len(k.problems.errs) > before {
		return nil, k.refuse(name, k.problems.errs[before])
	}
	if path.Dir(name) != k.root || kust == nil {
		return content, nil
	}
	return k.asking(kust, content), nil
}

// asking returns the root's kustomization file so that it asks for the origin
// of each resource.
func (k *kustomization) asking(kust *types.Kustomization, content []byte) []byte {
	for _, option := range kust.BuildMetadata {
		k.wanted[option] = true
	}
	more := *kust
	more.BuildMetadata = slices.Clone(kust.BuildMetadata)
	for option := range buildMetadata {
		if !k.wanted[option] {
			more.BuildMetadata = append(more.BuildMetadata, option)
		}
	}
	slices.Sort(more.BuildMetadata)
	written, err := yaml.Marshal(&more)
	if err != nil {
		return content // without it, the kustomization file is named
	}
	return written
}

// refuse remembers why a file that is there could not be read: Kustomize goes on
// looking for other meanings of its name. A folder is such another meaning.
func (k *kustomization) refuse(name string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errFolder) && k.refused == nil {
		k.refused = fmt.Errorf("%s: %w", name, err)
	}
	return err
}

// IsDir implements filesys.FileSystem.
func (k *kustomization) IsDir(name string) bool {
	info, err := fs.Stat(k.tree.fsys, local(name))
	return err == nil && info.IsDir()
}

// Exists implements filesys.FileSystem.
func (k *kustomization) Exists(name string) bool {
	_, err := fs.Stat(k.tree.fsys, local(name))
	return err == nil
}

// CleanedAbs implements filesys.FileSystem.
func (k *kustomization) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	name = local(name)
	info, err := fs.Stat(k.tree.fsys, name)
	if err != nil {
		return "", "", k.refuse(name, err)
	}
	if info.IsDir() {
		return filesys.ConfirmedDir(path.Clean("/" + name)), "", nil
	}
	return filesys.ConfirmedDir(path.Dir("/" + name)), path.Base(name), nil
}

// ReadDir implements filesys.FileSystem.
func (k *kustomization) ReadDir(name string) ([]string, error) {
	entries, err := fs.ReadDir(k.tree.fsys, local(name))
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, err
}

// Glob implements filesys.FileSystem.
func (k *kustomization) Glob(pattern string) ([]string, error) {
	names, err := fs.Glob(k.tree.fsys, local(pattern))
	for i, name := range names {
		names[i] = "/" + name
	}
	return names, err
}

// Walk implements filesys.FileSystem.
func (k *kustomization) Walk(name string, walk filepath.WalkFunc) error {
	return fs.WalkDir(k.tree.fsys, local(name), func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return walk("/"+name, nil, err)
		}
		info, err := entry.Info()
		return walk("/"+name, info, err)
	})
}

// Open implements filesys.FileSystem; Kustomize reads by ReadFile.
func (*kustomization) Open(string) (filesys.File, error) {
	return nil, errors.New("is not opened")
}

// Create implements filesys.FileSystem.
func (*kustomization) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir implements filesys.FileSystem.
func (*kustomization) Mkdir(string) error { return errReadOnly }

// MkdirAll implements filesys.FileSystem.
func (*kustomization) MkdirAll(string) error { return errReadOnly }

// RemoveAll implements filesys.FileSystem.
func (*kustomization) RemoveAll(string) error { return errReadOnly }

// WriteFile implements filesys.FileSystem.
func (*kustomization) WriteFile(string, []byte) error { return errReadOnly }
