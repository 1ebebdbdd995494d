// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// The canary by which the API server is seen to reach the webhook: the dry-run
// creation of an Inventory of this name is always refused with
// CanaryMessage(the value of CanaryAnnotation).
const (
	CanaryName       = "mainstay-canary"
	CanaryAnnotation = "mainstay.dev/canary"
)

// CanaryMessage is in the refusal of the canary.
func CanaryMessage(nonce string) string { return CanaryName + ": reached " + nonce }

// ownRule is the rule that decisions about Mainstay's own things name.
const ownRule = "mainstay.own"

// protect judges what the entry own is for: Mainstay's own records, and what
// would take held objects along. Anything else goes the way of every object.
func (h *Handler) protect(ctx context.Context, req *request) (answer, bool) {
	if req.entry != EntryOwn {
		return answer{}, false
	}
	if req.id.Name == CanaryName && req.kind.Kind == "Inventory" && req.id.Namespace == h.options.Namespace {
		nonce := string(req.object.GetStringBytes("metadata", "annotations", CanaryAnnotation))
		return refused(http.StatusForbidden, CanaryMessage(nonce)), true
	}
	var reason string
	record := h.ownRecord(req)
	switch {
	case req.kind.Group == v1alpha1.GroupVersion.Group && req.kind.Kind == "Inventory", h.sealed(req):
		if req.username() == h.options.SyncAccount || req.operation == policy.Delete && h.terminating(req.id.Namespace) {
			return permitted(), true
		}
		reason = "only Mainstay itself writes it"
	case h.fromGit(req):
		if req.username() == h.options.SyncAccount || req.operation == policy.Delete && !h.followed(req) {
			return permitted(), true
		}
		reason = "it comes from the repository of a GitSync: change the policies there"
	case req.kind.Group == v1alpha1.GroupVersion.Group && req.kind.Kind == "BreakGlass" && req.operation == policy.Create:
		asked := string(req.object.GetStringBytes("spec", "requestedBy"))
		if asked == req.username() {
			return permitted(), true
		}
		reason = fmt.Sprintf("spec.requestedBy is %q and must be the name of whoever writes it, %q", asked, req.username())
	case req.kind.Group == "" && req.kind.Kind == "Namespace" && req.operation == policy.Delete:
		if req.deleting() {
			return permitted(), true
		}
		record, reason = h.holding(func(r *ownership.Record) bool { return r.Namespace == req.id.Name })
	case req.kind.Group == "apiextensions.k8s.io" && req.kind.Kind == "CustomResourceDefinition":
		if req.deleting() {
			return permitted(), true
		}
		record, reason = h.holding(func(r *ownership.Record) bool { return unserved(req, r) })
	}
	if reason == "" {
		return answer{}, false
	}
	return h.guard(ctx, req, record, reason), true
}

// guard refuses for a reason of Mainstay's own, and records it.
func (h *Handler) guard(ctx context.Context, req *request, record *ownership.Record, reason string) answer {
	decision := policy.Decision{
		ID: newID(), Verdict: policy.Refuse, Class: policy.RuleBuiltin, Rule: ownRule, Reason: reason,
		Elapsed: time.Since(req.started),
	}
	if active, why, until := h.offState(); active {
		decision.Verdict, decision.Class, decision.Until = policy.Permit, policy.RuleOff, &until
		decision.Reason = "mainstay-off: " + why
	}
	// What is recorded is about the object of the request; who holds it, and
	// how strictly, is the held object's GitSync.
	own := h.ownRecord(req)
	own.Sync = record.Sync
	change := &policy.Change{
		Origin: policy.OriginRequest, Operation: req.operation, DryRun: req.dryRun, User: req.user(),
		Kind: req.kind, Resource: req.resource, Object: req.object, OldObject: req.oldObject,
		Record: own, Time: h.options.Clock(),
	}
	h.options.Recorder.Record(change, decision)
	if decision.Verdict == policy.Permit || change.Mode() != v1alpha1.ModeEnforce {
		return h.answer(ctx, change, decision)
	}
	a := refused(http.StatusForbidden, fmt.Sprintf("%s: %s\n  decision:   %s",
		describe(req.resource.GroupResource(), req.id), reason, decision.ID))
	a.decision = decision.ID
	return a
}

// ownRecord stands for an object that no GitSync declares and that Mainstay
// guards all the same.
func (h *Handler) ownRecord(req *request) *ownership.Record {
	return &ownership.Record{
		Entry: &ownership.Entry{ID: req.id, Version: req.kind.Version, Resource: req.resource.Resource},
		Sync:  &ownership.Sync{Namespace: h.options.Namespace, Mode: v1alpha1.ModeEnforce},
	}
}

// fromGit tells whether a request is about the ChangePolicy that carries the
// policies of a GitSync's repository.
func (h *Handler) fromGit(req *request) bool {
	if req.kind.Group != v1alpha1.GroupVersion.Group || req.kind.Kind != "ChangePolicy" {
		return false
	}
	_, ok := v1alpha1.GitSyncOfPolicy(req.id.Name)
	return ok
}

// followed tells whether that GitSync holds anything; when it is deleted, the
// garbage collector takes its ChangePolicy.
func (h *Handler) followed(req *request) bool {
	name, _ := v1alpha1.GitSyncOfPolicy(req.id.Name)
	_, ok := h.options.Index.Sync(types.NamespacedName{Namespace: req.id.Namespace, Name: name})
	return ok
}

// sealed tells whether a request is about a Secret that Mainstay alone writes.
func (h *Handler) sealed(req *request) bool {
	if req.kind.Group != "" || req.kind.Kind != "Secret" || req.id.Namespace != h.options.Namespace {
		return false
	}
	for _, doc := range []*fastjson.Value{req.object, req.oldObject} {
		if doc != nil && strings.HasPrefix(string(doc.GetStringBytes("type")), v1alpha1.GroupVersion.Group+"/") {
			return true
		}
	}
	return false
}

// holding returns one of the records that match and are held most strictly, and
// what to say about all of them; no reason where there is none.
func (h *Handler) holding(match func(*ownership.Record) bool) (*ownership.Record, string) {
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
			if found == nil || r.Mode() == v1alpha1.ModeEnforce && found.Mode() != v1alpha1.ModeEnforce {
				found = r
			}
		}
	}
	if found == nil {
		return nil, ""
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
	return found, reason
}

// unserved tells whether a request about a CustomResourceDefinition takes the
// version away in which git declares an object.
func unserved(req *request, r *ownership.Record) bool {
	crd := req.oldObject
	if crd == nil {
		return false
	}
	defines := schema.GroupKind{
		Group: string(crd.GetStringBytes("spec", "group")), Kind: string(crd.GetStringBytes("spec", "names", "kind")),
	}
	if defines != r.GroupKind() {
		return false
	}
	if req.operation == policy.Delete {
		return true
	}
	return req.operation == policy.Update && serves(req.oldObject, r.Version) && !serves(req.object, r.Version)
}

func serves(crd *fastjson.Value, version string) bool {
	for _, v := range crd.GetArray("spec", "versions") {
		if string(v.GetStringBytes("name")) == version {
			return v.GetBool("served")
		}
	}
	return false
}
