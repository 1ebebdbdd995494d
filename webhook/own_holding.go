// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// holdingNamespace guards what would go with a namespace.
func (h *Handler) holdingNamespace(req *request) finding {
	if req.deleting() {
		return finding{fine: true}
	}
	return h.holding(func(r *ownership.Record) bool { return r.Namespace == req.id.Name })
}

// holdingDefinition guards what would go with a CustomResourceDefinition, whose
// instances no webhook sees go.
func (h *Handler) holdingDefinition(req *request) finding {
	if req.deleting() {
		return finding{fine: true}
	}
	if f := h.ownDefinition(req); f.reason != "" {
		return f
	}
	return h.holding(func(r *ownership.Record) bool { return unserved(req, r.GroupKind(), r.Version) })
}

// ownDefinition guards Mainstay's own definitions while anything is held: with
// them would go what says so.
func (h *Handler) ownDefinition(req *request) finding {
	n := len(h.options.Index.Syncs())
	if n == 0 || req.oldObject == nil || string(req.oldObject.GetStringBytes("spec", "group")) != v1alpha1.GroupVersion.Group {
		return finding{}
	}
	own := schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: string(req.oldObject.GetStringBytes("spec", "names", "kind"))}
	if !unserved(req, own, v1alpha1.GroupVersion.Version) {
		return finding{}
	}
	syncs := "1 GitSync holds objects"
	if n > 1 {
		syncs = fmt.Sprintf("%d GitSyncs hold objects", n)
	}
	return finding{
		reason: syncs + ", and what Mainstay knows of them would go with it",
		next:   "delete the GitSyncs first, so that their objects are let go",
	}
}

// holding returns one of the records that match and are held most strictly, and
// what to say about all of them; the zero finding where there is none.
func (h *Handler) holding(match func(*ownership.Record) bool) finding {
	counts := map[types.NamespacedName]int{}
	total := 0
	var found *ownership.Record
	for _, sync := range h.options.Index.Syncs() {
		for id := range h.options.Index.Entries(sync.Key()) {
			r, ok := h.options.Index.Lookup(id)
			if !ok || r.Sync.Key() != sync.Key() || r.Pruning || !match(r) {
				continue
			}
			total++
			counts[sync.Key()]++
			if found == nil || h.enforces(r.Mode(), r.Sync) && !h.enforces(found.Mode(), found.Sync) {
				found = r
			}
		}
	}
	if found == nil {
		return finding{}
	}
	object := "objects"
	if total == 1 {
		object = "object"
	}
	reason := fmt.Sprintf("%d %s of GitSync %s would go with it, for example %s: remove them from git first",
		counts[found.Sync.Key()], object, found.Sync.Key(), describe(found.GVR().GroupResource(), found.ID))
	if others := len(counts) - 1; others > 0 {
		reason = fmt.Sprintf("%d %s of GitSync %s and %d more would go with it, for example %s: remove them from git first",
			total, object, found.Sync.Key(), others, describe(found.GVR().GroupResource(), found.ID))
	}
	return finding{reason: reason, record: found}
}

// unserved tells whether a request about a CustomResourceDefinition takes a
// version of a kind away.
func unserved(req *request, kind schema.GroupKind, version string) bool {
	crd := req.oldObject
	if crd == nil {
		return false
	}
	defines := schema.GroupKind{
		Group: string(crd.GetStringBytes("spec", "group")), Kind: string(crd.GetStringBytes("spec", "names", "kind")),
	}
	if defines != kind {
		return false
	}
	if req.operation == policy.Delete {
		return true
	}
	return req.operation == policy.Update && serves(req.oldObject, version) && !serves(req.object, version)
}

func serves(crd *fastjson.Value, version string) bool {
	for _, v := range crd.GetArray("spec", "versions") {
		if string(v.GetStringBytes("name")) == version {
			return v.GetBool("served")
		}
	}
	return false
}
