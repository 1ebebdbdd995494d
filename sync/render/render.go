// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/konfig"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render/sops"
)

// Options of a rendering.
type Options struct {
	// Path is the folder to render, from the tree's root; empty for the root.
	Path string
	// SkipPaths are files and folders to leave out of plain rendering, from the
	// tree's root: the policy folders.
	SkipPaths []string
	// Known tells that the caller has what came of a file of plain manifests: it
	// is not read, and its objects are left out. What may be wrong between them
	// and others is the caller's to find. nil: every file is read.
	Known func(file string) bool
	// Roots is told the kustomizations and charts below Path that are rendered by
	// themselves, and returns for each the tree to read it through; nil for one
	// that the caller has the objects of, which are left out as with Known. An
	// error in one tells of that tree's root alone. nil: all are rendered.
	Roots func(roots []Root) []fs.FS
	// Type is the way to render; empty for Auto.
	Type v1alpha1.RenderType
	// Variables replace ${name} in the objects' strings. nil: nothing is replaced.
	Variables map[string]string
	// Helm says how a chart is rendered; required for one.
	Helm Helm
	// Keys decrypt files that are encrypted with SOPS; nil: none is.
	Keys *sops.Keys
}

// Object is one declared object.
type Object struct {
	// Unstructured is the manifest. Whole numbers in it are int64. The
	// namespace is the one that was written, perhaps none: only the API server
	// knows whether the kind has one.
	*unstructured.Unstructured
	ID ownership.ID
	// File from the tree's root, and the Line on which the object starts.
	File string
	Line int
	// Default is the namespace of an object whose manifest gives none, if its
	// kind has one.
	Default string
	// Root is the kustomization or chart that the object comes of, or the folder
	// that is rendered as plain manifests.
	Root Root

	from *candidate
}

// TypeOf is the way in which Objects renders the path: what Options.Type says
// or, for Auto, what is there. Of Plain by Auto, folders below may be rendered
// in another way: see Root.
func TypeOf(fsys fs.FS, opts Options) (v1alpha1.RenderType, error) {
	if opts.Type != "" && opts.Type != v1alpha1.RenderAuto {
		return opts.Type, nil
	}
	root, err := rootOf(fsys, opts)
	if err != nil {
		return "", err
	}
	return typeOf(fsys, root, func(string) bool { return true })
}

// typeOf is the type of the folder by the names of files in it that count.
func typeOf(fsys fs.FS, folder string, counts func(file string) bool) (v1alpha1.RenderType, error) {
	entries, err := fs.ReadDir(fsys, folder)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", folder, err)
	}
	found := v1alpha1.RenderPlain
	for _, entry := range entries {
		kind := v1alpha1.RenderKustomize
		switch {
		case entry.Name() == chartFile:
			kind = v1alpha1.RenderHelm
		case !slices.Contains(konfig.RecognizedKustomizationFileNames(), entry.Name()):
			continue
		}
		if found != v1alpha1.RenderKustomize && counts(path.Join(folder, entry.Name())) {
			found = kind
		}
	}
	return found, nil
}

// Objects renders the tree. The objects of plain files are in the order of
// files and lines, those of a kustomization in its own order, those of a chart
// in that of templates; each Root's come after those of plain files. An error about the content joins one Error for each
// place, at most 20.
func Objects(ctx context.Context, fsys fs.FS, opts Options) ([]Object, error) {
	root, err := rootOf(fsys, opts)
	if err != nil {
		return nil, err
	}
	kind, err := TypeOf(fsys, opts)
	if err != nil {
		return nil, err
	}
	r := &rendering{
		tree: &tree{ctx: ctx, fsys: fsys, keys: opts.Keys, spent: &spent{}},
		root: root, kind: kind, opts: opts, problems: &problems{},
	}
	if err := checkVariables(opts.Variables); err != nil {
		return nil, err
	}
	err = r.render()
	r.problems.conceal(r.tree.secrets)
	if err := r.problems.join(); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	checkTogether(r.objects, r.problems)
	if err := r.problems.join(); err != nil {
		return nil, err
	}
	return r.objects, nil
}

// rendering is one call of Objects.
type rendering struct {
	tree     *tree
	root     string
	kind     v1alpha1.RenderType
	opts     Options
	objects  []Object
	problems *problems
	// built is the kustomization, where it is one.
	built *kustomization
}

// render renders the root in the way of its kind.
func (r *rendering) render() error {
	switch r.kind {
	case v1alpha1.RenderKustomize:
		return r.kustomize()
	case v1alpha1.RenderHelm:
		return r.helm()
	case v1alpha1.RenderPlain:
		return r.plain()
	case v1alpha1.RenderAuto:
	}
	return fmt.Errorf("spec.render.type %q is unknown: write Auto, Plain, Kustomize or Helm", r.opts.Type)
}

// add takes the objects of a document.
func (r *rendering) add(d *document) error {
	for _, o := range (&candidate{doc: d, value: d.value, found: r.problems, variables: r.opts.Variables}).objects() {
		o.Root = Root{r.root, r.kind}
		r.objects = append(r.objects, o)
	}
	return r.bounded()
}

// bounded is an error where there are too many objects.
func (r *rendering) bounded() error {
	if len(r.objects) > maxObjects {
		return fmt.Errorf("%s declares more than %d objects: split it between several GitSyncs", r.root, maxObjects)
	}
	return nil
}

// plain reads the manifests as they are, and renders the roots among them.
func (r *rendering) plain() error {
	found, err := r.walk()
	if err != nil {
		return err
	}
	for _, file := range found.files {
		docs, err := r.tree.documents(file, r.problems)
		if err != nil {
			return err
		}
		for _, doc := range docs {
			if err := r.add(doc); err != nil {
				return err
			}
		}
	}
	return r.each(found.roots)
}

// rootOf is the folder to render, which has to be there.
func rootOf(fsys fs.FS, opts Options) (string, error) {
	root := clean(opts.Path)
	if !fs.ValidPath(root) {
		return "", fmt.Errorf("path %q leads out of the repository; check spec.source.path", opts.Path)
	}
	info, err := fs.Stat(fsys, root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("path %q does not exist in the repository; check spec.source.path", opts.Path)
	case err != nil:
		return "", fmt.Errorf("path %q: %w", opts.Path, err)
	case !info.IsDir():
		return "", fmt.Errorf("path %q is a file: name its folder in spec.source.path", opts.Path)
	}
	return root, nil
}

// Digest is the SHA-256 of an object in canonical JSON, in hexadecimal. It is
// empty for what JSON cannot express, which Objects never returns.
func Digest(object *unstructured.Unstructured) string {
	// encoding/json sorts keys.
	canonical, err := json.Marshal(object.Object)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}
