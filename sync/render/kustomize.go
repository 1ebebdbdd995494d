// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"path"
	"sync"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
)

// building is held while a kustomization is built: the library keeps the
// schemas that it merges by in variables of its own.
var building sync.Mutex

// kustomize builds the kustomization at the root.
func (r *rendering) kustomize() error {
	k := newKustomization(r.tree, r.problems)
	r.built = k
	if err := k.check(r.root); err != nil || len(r.problems.errs) > 0 {
		return err
	}
	built, err := k.build(r.root)
	if err != nil {
		if r.tree.ctx.Err() != nil {
			return r.tree.ctx.Err()
		}
		if k.refused != nil {
			err = k.refused
		}
		r.problems.add(k.files[r.root], 0, "%s", oneLine(err))
		return nil
	}
	for _, res := range built.Resources() {
		doc, err := k.document(r.root, res)
		if err != nil {
			return err
		}
		if doc == nil {
			continue
		}
		if err := r.add(doc); err != nil {
			return err
		}
	}
	return nil
}

// build runs the library over the tree.
func (k *kustomization) build(root string) (_ resmap.ResMap, err error) {
	building.Lock()
	defer building.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("kustomize broke down: %v", p)
		}
	}()
	k.root = root
	options := krusty.MakeDefaultOptions()
	// The file system ends at the repository's root; nothing else restricts.
	options.LoadRestrictions = types.LoadRestrictionsNone
	if kust := k.parsed[k.files[root]]; kust != nil && kust.SortOptions != nil {
		options.Reorder = krusty.ReorderOptionUnspecified // else it warns
	}
	return krusty.MakeKustomizer(options).Run(k, "/"+root)
}

// document makes one of a built resource, with what is known of where it comes
// from; nil for one that declares nothing.
func (k *kustomization) document(root string, res *resource.Resource) (*document, error) {
	made := &overlaid{k: k}
	if origin, err := res.GetOrigin(); err == nil && origin != nil {
		made.origin = relative(root, origin)
	}
	if steps, err := res.GetTransformations(); err == nil {
		for _, step := range steps {
			made.steps = append(made.steps, relative(root, step))
		}
	}
	if err := k.strip(res); err != nil {
		return nil, err
	}
	text, err := res.AsYAML()
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", res.CurId(), err)
	}
	file := k.files[root]
	docs := documents(file, text, k.problems)
	if len(docs) != 1 {
		return nil, nil //nolint:nilnil // a problem was added, or the resource is empty
	}
	doc := docs[0]
	doc.made = made
	made.find(doc)
	return doc, nil
}

// strip takes off what k added to know where a resource comes from, unless the
// kustomization asks for it itself.
func (k *kustomization) strip(res *resource.Resource) error {
	annotations := res.GetAnnotations()
	before := len(annotations)
	for option, key := range buildMetadata {
		if !k.wanted[option] {
			delete(annotations, key)
		}
	}
	if len(annotations) == before {
		return nil
	}
	if err := res.SetAnnotations(annotations); err != nil {
		return fmt.Errorf("strip %s: %w", res.CurId(), err)
	}
	return nil
}

// buildMetadata are the options that k adds, and the annotations they cause.
var buildMetadata = map[string]string{
	types.OriginAnnotations:      "config.kubernetes.io/origin",
	types.TransformerAnnotations: "alpha.config.kubernetes.io/transformations",
}

// relative returns the origin with its paths from the tree's root.
func relative(root string, origin *resource.Origin) resource.Origin {
	from := *origin
	if from.Path != "" {
		from.Path = path.Join(root, from.Path)
	}
	if from.ConfiguredIn != "" {
		from.ConfiguredIn = path.Join(root, from.ConfiguredIn)
	}
	return from
}
