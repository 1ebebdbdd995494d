// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// Root is a folder that is rendered by itself. Below a path that is neither a
// kustomization nor a chart, Auto takes each folder that is one for a Root, with
// all that is in it; everything else there is plain manifests.
type Root struct {
	Folder string
	Type   v1alpha1.RenderType
}

// visitRoot passes over a folder that is a Root, and notes it.
func (w *walker) visitRoot(folder string) error {
	kind, err := typeOf(w.tree.fsys, folder, func(file string) bool {
		return !w.skip[file] && !w.ignored(file, false) && !w.isObject(file)
	})
	if err != nil || kind == v1alpha1.RenderPlain {
		return err
	}
	if w.count++; w.count > maxFiles {
		return w.tooMany()
	}
	w.roots = append(w.roots, Root{folder, kind})
	return fs.SkipDir
}

// isObject tells that a file with the name of a kustomization's or a chart's is
// a manifest as any other: a Kustomization of Flux, for one.
func (w *walker) isObject(file string) bool {
	content, err := w.tree.raw(file)
	if err != nil {
		return false // who renders the folder says why
	}
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(content, &head); err != nil {
		return false
	}
	group, _, _ := strings.Cut(head.APIVersion, "/")
	return head.APIVersion != "" && head.Kind != "" && group != "kustomize.config.k8s.io"
}

// each renders the roots, and refuses what would be declared by two of them.
func (r *rendering) each(roots []Root) error {
	trees := make([]fs.FS, len(roots))
	for i := range trees {
		trees[i] = r.tree.fsys
	}
	if r.opts.Roots != nil && len(roots) > 0 {
		if trees = r.opts.Roots(roots); len(trees) != len(roots) {
			return fmt.Errorf("%d trees were given for %d roots", len(trees), len(roots))
		}
	}
	var made []*rendering
	for i, root := range roots {
		if trees[i] == nil {
			continue
		}
		if root.Type == v1alpha1.RenderHelm {
			if err := r.ask(); err != nil {
				return err
			}
		}
		one := r.of(root, trees[i])
		err := one.render()
		r.problems.errs = append(r.problems.errs, one.problems.errs...)
		if err != nil {
			return fmt.Errorf("%s: %w", root.Folder, err)
		}
		made = append(made, one)
		r.objects = append(r.objects, one.objects...)
		if err := r.bounded(); err != nil {
			return err
		}
	}
	r.refuseParts(made, roots)
	return nil
}

// of is the rendering of a root. A chart is released under its folder's name.
func (r *rendering) of(root Root, fsys fs.FS) *rendering {
	one := &rendering{tree: r.tree.through(fsys), root: root.Folder, kind: root.Type, opts: r.opts, problems: &problems{}}
	one.opts.Helm.ReleaseName = path.Base(root.Folder)
	return one
}

// refuseParts refuses roots of which another one is made, and Components: nobody
// means to have a base in the cluster beside its overlay.
func (r *rendering) refuseParts(made []*rendering, roots []Root) {
	refused := map[string]bool{}
	refuse := func(file, why string) {
		if folder := path.Dir(file); !refused[folder] {
			refused[folder] = true
			r.problems.add(file, 0, "%s: list %s/ in %s, or move it out of %s",
				why, strings.TrimPrefix(folder, r.root+"/"), path.Join(r.root, ignoreFile), r.root)
		}
	}
	for _, one := range made {
		if one.built == nil {
			continue
		}
		for _, folder := range slices.Sorted(maps.Keys(one.built.files)) {
			if folder != one.root && slices.Contains(roots, Root{folder, v1alpha1.RenderKustomize}) {
				refuse(one.built.files[folder], "is part of "+one.root+" and would be declared by itself as well")
			}
		}
	}
	for _, one := range made {
		if one.built == nil {
			continue
		}
		file := one.built.files[one.root]
		if kust := one.built.parsed[file]; kust != nil && kust.Kind == types.ComponentKind {
			refuse(file, "is a Component, which is never declared by itself")
		}
	}
}
