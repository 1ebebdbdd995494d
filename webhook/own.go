// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"context"
	"net/http"
	"time"

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

// finding is what a look at one of Mainstay's own things says. The zero value
// says that the request goes the way of every object.
type finding struct {
	// fine permits without a further question.
	fine bool
	// reason refuses; next says what to do instead.
	reason, next string
	// warning is said and recorded where the request passes all the same.
	warning string
	// record is an object of the GitSync that says how strictly; Mainstay's own
	// things are always guarded.
	record *ownership.Record
	// code of the refusal where it is another than Forbidden.
	code int32
}

// protect judges what the entry own is for: Mainstay's own resources and
// records, and what would take held objects along. Anything else goes the way
// of every object.
func (h *Handler) protect(ctx context.Context, req *request) (answer, bool) {
	if req.entry != EntryOwn {
		return answer{}, false
	}
	if req.id.Name == CanaryName && req.kind.Kind == "Inventory" && req.id.Namespace == h.options.Namespace {
		nonce := string(req.object.GetStringBytes("metadata", "annotations", CanaryAnnotation))
		return refused(http.StatusForbidden, CanaryMessage(nonce)), true
	}
	f := h.lookOwn(ctx, req)
	switch {
	case f.reason != "":
		return h.guard(ctx, req, f), true
	case f.fine:
		return permitted(), true
	case f.warning != "":
		return h.warn(ctx, req, f), true
	case mainstays(req, "GitSync"):
		return h.gitSync(ctx, req), true
	}
	return answer{}, false
}

func (h *Handler) lookOwn(ctx context.Context, req *request) finding {
	switch {
	case req.resource.Group == v1alpha1.GroupVersion.Group && req.subResource == "status":
		return h.ownStatus(req)
	case req.resource.Group == "" && req.resource.Resource == "serviceaccounts" && req.subResource == "token":
		return h.ownToken(req)
	case req.subResource != "":
		return finding{}
	case mainstays(req, "Inventory"), h.sealed(req):
		return h.ownRecords(req)
	case h.accountToken(req):
		return finding{reason: tokenReason, next: tokenNext}
	case mainstays(req, "ChangePolicy"):
		return h.ownChangePolicy(ctx, req)
	case mainstays(req, "BreakGlass"):
		return finding{reason: h.breakGlass(ctx, req)}
	case req.kind.Group == "" && req.kind.Kind == "Namespace" && req.operation == policy.Delete:
		return h.holdingNamespace(req)
	case req.kind.Group == "apiextensions.k8s.io" && req.kind.Kind == "CustomResourceDefinition":
		return h.holdingDefinition(ctx, req)
	}
	return finding{}
}

// mainstays tells whether a request is about one of Mainstay's own kinds.
func mainstays(req *request, kind string) bool {
	return req.kind.Group == v1alpha1.GroupVersion.Group && req.kind.Kind == kind
}

// guard refuses for a reason of Mainstay's own, and records it.
func (h *Handler) guard(ctx context.Context, req *request, f finding) answer {
	decision := policy.Decision{
		ID: newID(), Verdict: policy.Refuse, Class: policy.RuleBuiltin, Rule: ownRule, Reason: f.reason, Next: f.next,
		Elapsed: time.Since(req.started),
	}
	if active, why, until := h.offState(); active {
		decision.Verdict, decision.Class, decision.Until = policy.Permit, policy.RuleOff, &until
		decision.Reason = "mainstay-off: " + why
	}
	// What is recorded is about the object of the request; who holds it, and
	// how strictly, is the held object's GitSync.
	change := h.ownChange(req)
	if f.record != nil {
		change.Record.Sync = f.record.Sync
		if s, ok := h.suspended(f.record.Sync); ok && decision.Verdict != policy.Permit {
			decision = whileSuspended(f.record.Sync, s)
		}
	}
	h.options.Recorder.Record(change, decision)
	if decision.Verdict == policy.Permit || change.Mode() != v1alpha1.ModeEnforce {
		return h.answer(ctx, change, decision)
	}
	message := describe(req.resource.GroupResource(), req.id) + ": " + f.reason
	if f.next != "" {
		message += "\n  instead:    " + f.next
	}
	a := refused(cmp.Or(f.code, http.StatusForbidden), message+"\n  decision:   "+decision.ID)
	a.decision = decision.ID
	return a
}

// ownChange is a request about one of Mainstay's own things as it is recorded.
func (h *Handler) ownChange(req *request) *policy.Change {
	return &policy.Change{
		Origin: policy.OriginRequest, Operation: req.operation, SubResource: req.subResource, DryRun: req.dryRun,
		User: req.user(), Kind: req.kind, Resource: req.resource, Object: req.object, OldObject: req.oldObject,
		Record: h.ownRecord(req), Time: h.options.Clock(),
	}
}

// ownRecord stands for an object that no GitSync declares and that Mainstay
// guards all the same.
func (h *Handler) ownRecord(req *request) *ownership.Record {
	return &ownership.Record{
		Entry: &ownership.Entry{ID: req.id, Version: req.kind.Version, Resource: req.resource.Resource},
		Sync:  &ownership.Sync{Namespace: h.options.Namespace, Mode: v1alpha1.ModeEnforce},
	}
}
