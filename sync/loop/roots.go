// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"io/fs"
	"slices"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// roots are the kustomizations and charts of a rendering that are rendered by
// themselves. One is rendered again only where something of what it read has
// changed, in whatever folder that is.
type roots map[string]*root

// root is what one depended on, and which objects came of it.
type root struct {
	render.Root
	seen source.Seen
	ids  []ownership.ID
}

// in tells that every root would read the same of a tree.
func (r roots) in(tree fs.FS) bool {
	for _, one := range r {
		if !one.seen.In(tree) {
			return false
		}
	}
	return true
}

// charts tells that there is a chart among them.
func (r roots) charts() bool {
	for _, one := range r {
		if one.Type == v1alpha1.RenderHelm {
			return true
		}
	}
	return false
}

// declare notes which objects came of each root that was rendered.
func (r roots) declare(a *attempt) {
	for _, one := range r {
		if ids, made := a.roots[one.Folder]; made {
			one.ids = ids
		}
	}
}

// rerender chooses the roots to render again.
type rerender struct {
	tree fs.FS
	// before are the roots of the last rendering that may be kept, and stays says
	// whether what came of one is known still. now are those of this one.
	before, now roots
	stays       func(*root) bool
	watched     map[string]*source.Reads
	kept        []*root
}

// choose implements render.Options.Roots.
func (r *rerender) choose(found []render.Root) []fs.FS {
	r.now, r.watched = roots{}, map[string]*source.Reads{}
	var added []string
	for _, one := range found {
		if r.before[one.Folder] == nil {
			added = append(added, one.Folder)
		}
	}
	trees := make([]fs.FS, len(found))
	for i, one := range found {
		if before := r.before[one.Folder]; before != nil && before.Root == one && r.same(before, added) {
			r.now[one.Folder] = before
			r.kept = append(r.kept, before)
			continue
		}
		r.now[one.Folder] = &root{Root: one}
		trees[i] = r.tree
		if reads := source.Watch(r.tree); reads != nil {
			trees[i], r.watched[one.Folder] = reads, reads
		}
	}
	return trees
}

// same tells that a root would be rendered to what it was. One that reads of a
// folder which has become a root is rendered, so that this is refused.
func (r *rerender) same(before *root, added []string) bool {
	return !slices.ContainsFunc(added, before.seen.Touches) && before.seen.In(r.tree) && r.stays(before)
}

// done are the roots, with what was read for those that were rendered.
func (r *rerender) done() roots {
	for folder, reads := range r.watched {
		r.now[folder].seen = reads.Seen()
	}
	return r.now
}
