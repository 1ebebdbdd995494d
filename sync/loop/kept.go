// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// kept knows the files of plain manifests that read as they did in the applied
// commit: what they declare is in the inventory, and they are not parsed again.
// Nothing but the ids of files is remembered for that.
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
}

// keeps is a kept for the next rendering of a GitSync. It keeps nothing unless
// the commit before was brought in as a whole, nobody asks for more, and each
// object comes of its own file alone.
func (l *Loop) keeps(gs *v1alpha1.GitSync, p *pass, reads *source.Reads) *kept {
	k := &kept{reads: reads}
	if reads == nil || p.rendered.kind != v1alpha1.RenderPlain || gs.Spec.TargetNamespace != "" || !l.settled(gs, p) {
		return k
	}
	k.before = p.rendered.seen
	k.files, k.anew = map[string][]*ownership.Entry{}, map[string]bool{}
	for id, e := range l.Index.Entries(client.ObjectKeyFromObject(gs)) {
		file := e.Applied.File
		k.files[file] = append(k.files[file], e)
		if definition(id) {
			k.anew[file] = true // others are looked up by what it says
		}
	}
	return k
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
