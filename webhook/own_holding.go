// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// holdingNamespace guards what would go with a namespace: what is held in it,
// and Mainstay itself.
func (h *Handler) holdingNamespace(req *request) finding {
	if req.deleting() {
		return finding{fine: true}
	}
	if syncs := h.holders(); syncs != "" && req.id.Name == h.options.Namespace {
		return finding{
			reason: syncs + ", and Mainstay would go with its records and leave them locked, and its GitSyncs in Terminating",
			next: "uninstall in this order: kubectl delete gitsyncs --all --all-namespaces, so that their objects are let go; helm uninstall; " +
				"kubectl delete validatingwebhookconfigurations,mutatingwebhookconfigurations -l app.kubernetes.io/name=mainstay; this namespace",
		}
	}
	return h.holding(func(r *ownership.Record) bool { return r.Namespace == req.id.Name })
}

// holdingDefinition guards what would go with a CustomResourceDefinition, whose
// instances no webhook sees go, or lose what its schema no longer has.
func (h *Handler) holdingDefinition(ctx context.Context, req *request) finding {
	if req.deleting() {
		return finding{fine: true}
	}
	if f := h.ownDefinition(req); f.reason != "" {
		return f
	}
	if f := h.holding(func(r *ownership.Record) bool { return unserved(req, r.GroupKind(), r.Version) }); f.reason != "" {
		return f
	}
	if req.operation != policy.Update || fieldset.Equal(req.oldObject.Get("spec"), req.object.Get("spec")) {
		return finding{}
	}
	if f := h.pruning(req); f.reason != "" && !h.gitSays(ctx, req) {
		return f
	}
	return h.converting(req)
}

// ownDefinition guards Mainstay's own definitions while anything is held: with
// them would go what says so.
func (h *Handler) ownDefinition(req *request) finding {
	syncs := h.holders()
	if syncs == "" || req.oldObject == nil || string(req.oldObject.GetStringBytes("spec", "group")) != v1alpha1.GroupVersion.Group {
		return finding{}
	}
	own := schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: string(req.oldObject.GetStringBytes("spec", "names", "kind"))}
	if !unserved(req, own, v1alpha1.GroupVersion.Version) {
		return finding{}
	}
	return finding{
		reason: syncs + ", and what Mainstay knows of them would go with it",
		next:   "delete the GitSyncs first, so that their objects are let go",
	}
}

// holders says how many GitSyncs hold objects; nothing where none does. One
// that only observes holds none.
func (h *Handler) holders() string {
	n := 0
	for _, sync := range h.options.Index.Syncs() {
		if sync.Mode != v1alpha1.ModeObserve && h.options.Index.Count(sync.Key()) > 0 {
			n++
		}
	}
	switch n {
	case 0:
		return ""
	case 1:
		return "1 GitSync holds objects"
	}
	return fmt.Sprintf("%d GitSyncs hold objects", n)
}

// found are records that are concerned by one request.
type found struct {
	// record is one of those that are held most strictly; nil where there is
	// none.
	record *ownership.Record
	total  int
	counts map[types.NamespacedName]int
}

// find returns the records that match.
func (h *Handler) find(match func(*ownership.Record) bool) found {
	f := found{counts: map[types.NamespacedName]int{}}
	for _, sync := range h.options.Index.Syncs() {
		for id := range h.options.Index.Entries(sync.Key()) {
			r, ok := h.options.Index.Lookup(id)
			if !ok || r.Sync.Key() != sync.Key() || r.Pruning || !match(r) {
				continue
			}
			f.total++
			f.counts[sync.Key()]++
			if f.record == nil || h.enforces(r.Mode(), r.Sync) && !h.enforces(f.record.Mode(), f.record.Sync) {
				f.record = r
			}
		}
	}
	return f
}

// words say which and how many would suffer what.
func (f found) words(what string) string {
	object := "objects"
	if f.total == 1 {
		object = "object"
	}
	whose, n := f.record.Sync.Key().String(), f.counts[f.record.Sync.Key()]
	if others := len(f.counts) - 1; others > 0 {
		whose, n = fmt.Sprintf("%s and %d more", whose, others), f.total
	}
	return fmt.Sprintf("%d %s of GitSync %s would %s, for example %s", n, object, whose, what, describe(f.record.GVR().GroupResource(), f.record.ID))
}

// holding says what would go where any record matches.
func (h *Handler) holding(match func(*ownership.Record) bool) finding {
	f := h.find(match)
	if f.record == nil {
		return finding{}
	}
	return finding{reason: f.words("go with it") + ": remove them from git first", record: f.record}
}

// unserved tells whether a request about a CustomResourceDefinition takes a
// version of a kind away.
func unserved(req *request, kind schema.GroupKind, version string) bool {
	if req.oldObject == nil || !defines(req.oldObject, kind) {
		return false
	}
	if req.operation == policy.Delete {
		return true
	}
	return req.operation == policy.Update && serves(req.oldObject, version) && !serves(req.object, version)
}

// defines tells whether a CustomResourceDefinition is that of a kind.
func defines(crd *fastjson.Value, kind schema.GroupKind) bool {
	return string(crd.GetStringBytes("spec", "group")) == kind.Group && string(crd.GetStringBytes("spec", "names", "kind")) == kind.Kind
}

func serves(crd *fastjson.Value, version string) bool {
	for _, v := range crd.GetArray("spec", "versions") {
		if string(v.GetStringBytes("name")) == version {
			return v.GetBool("served")
		}
	}
	return false
}
