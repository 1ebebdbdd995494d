// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// kept knows the files of plain manifests, and the roots among them, that read
// as they did in the applied commit: what they declare is in the inventory, and
// they are not parsed or rendered again. Nothing but the ids of files and of
// objects is remembered for that.
type kept struct {
	before source.Seen
	reads  *source.Reads
	// files has what each of them declares; anew those that are parsed in any
	// case.
	files map[string][]*ownership.Entry
	anew  map[string]bool
	// entries are what was kept; asked and same count files.
	entries     []*ownership.Entry
	asked, same int
	// held is the inventory, which roots are kept by.
	held  map[ownership.ID]*ownership.Entry
	roots rerender
	// cluster asks, once for a rendering, what charts may know of the cluster.
	cluster func() (*render.Helm, error)
}

// keeps is a kept for the next rendering of a GitSync. It keeps nothing unless
// the commit before was brought in as a whole, nobody asks for more, and each
// object comes of its own file alone.
func (l *Loop) keeps(gs *v1alpha1.GitSync, p *pass, tree fs.FS, reads *source.Reads) *kept {
	k := &kept{reads: reads, roots: rerender{tree: tree}, cluster: sync.OnceValues(func() (*render.Helm, error) {
		h := &render.Helm{}
		return h, l.capabilities(h)
	})}
	if reads == nil || p.rendered.kind != v1alpha1.RenderPlain || gs.Spec.TargetNamespace != "" || !l.settled(gs, p) {
		return k
	}
	k.before = p.rendered.seen
	k.files, k.anew = map[string][]*ownership.Entry{}, map[string]bool{}
	k.held = l.Index.Entries(client.ObjectKeyFromObject(gs))
	k.roots.before = p.rendered.roots
	k.roots.stays = func(one *root) bool {
		return k.knows(one) && (one.Type != v1alpha1.RenderHelm || k.sameCluster(p.rendered.cluster))
	}
	of := map[ownership.ID]bool{}
	for _, one := range k.roots.before {
		for _, id := range one.ids {
			of[id] = true
		}
	}
	for id, e := range k.held {
		if of[id] {
			continue // its file may be one of plain manifests as well
		}
		file := e.Applied.File
		k.files[file] = append(k.files[file], e)
		if definition(id) {
			k.anew[file] = true // others are looked up by what it says
		}
	}
	return k
}

// ask implements render.Helm.Ask.
func (k *kept) ask(h *render.Helm) error {
	now, err := k.cluster()
	h.KubeVersion, h.APIVersions, h.Undiscovered = now.KubeVersion, now.APIVersions, now.Undiscovered
	return err
}

func (k *kept) sameCluster(as [sha256.Size]byte) bool {
	now, err := k.cluster()
	return err == nil && clusterDigest(now) == as
}

// knows tells that all objects of a root are in the inventory, and none that
// others are looked up by.
func (k *kept) knows(one *root) bool {
	for _, id := range one.ids {
		if k.held[id] == nil || definition(id) {
			return false
		}
	}
	return true
}

// all are the entries of what was neither parsed nor rendered.
func (k *kept) all() []*ownership.Entry {
	all := k.entries
	for _, one := range k.roots.kept {
		for _, id := range one.ids {
			all = append(all, k.held[id])
		}
	}
	return all
}

// known implements render.Options.Known.
func (k *kept) known(file string) bool {
	k.asked++
	if k.before == nil || k.anew[file] || !k.reads.Same(file, k.before) {
		return false
	}
	k.same++
	k.entries = append(k.entries, k.files[file]...)
	return true
}

// keep takes over what the inventory has of files that were not parsed. What
// others than the file decide is looked at again.
func (a *attempt) keep(entries []*ownership.Entry, kinds *kinds, index *ownership.Index) (problems []error) {
	a.kept = map[schema.GroupKind]*ownership.Entry{}
	for _, e := range entries {
		if _, err := a.may(e.ID, e.GVK(), kinds, index); err != nil {
			problems = append(problems, fmt.Errorf("%s:%d: %w", e.Applied.File, e.Applied.Line, err))
			continue
		}
		a.entries[e.ID], a.kept[e.GroupKind()] = e, e
	}
	return problems
}

// besides is an error where an object can't be declared beside one that was
// kept.
func (a *attempt) besides(o *render.Object) error {
	if e := a.entries[o.ID]; e != nil {
		return &failure{"RenderFailed", fmt.Errorf("%s is declared twice: here and in %s:%d", o.ID, e.Applied.File, e.Applied.Line)}
	}
	if e := a.kept[o.ID.GroupKind()]; e != nil && e.APIVersion() != o.GetAPIVersion() {
		return &failure{"RenderFailed", fmt.Errorf("%s is declared in version %s here and in version %s in %s:%d: choose one of them for all",
			o.ID.GroupKind(), o.GetAPIVersion(), e.APIVersion(), e.Applied.File, e.Applied.Line)}
	}
	return nil
}
