// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// gitSync judges a request about a GitSync: what its schema can't say, whether
// its suspension may begin or end, and then, like of any object, what git says.
func (h *Handler) gitSync(ctx context.Context, req *request) answer {
	if f := h.checkGitSync(ctx, req); f.reason != "" {
		return h.guard(ctx, req, f)
	}
	gesture, f := h.gesture(ctx, req)
	if f.reason != "" {
		return h.guard(ctx, req, f)
	}
	a := h.judge(ctx, req)
	if !a.allowed {
		return a
	}
	if warning := h.noAccount(ctx, req); warning != "" {
		a.warnings = append(a.warnings, audit.Cut(warning, audit.MaxWarning))
	}
	if a.decision == "" {
		a.decision = h.loosened(req)
	}
	if gesture != nil && !req.dryRun {
		return h.perform(ctx, req, gesture, a)
	}
	return a
}

func syncKey(req *request) types.NamespacedName {
	return types.NamespacedName{Namespace: req.id.Namespace, Name: req.id.Name}
}

// specChanges tells that a request brings another spec. Nothing else needs a
// look: whoever takes a finalizer off need not mend the spec first.
func specChanges(req *request) bool {
	if req.object == nil || req.deleting() {
		return false
	}
	return req.oldObject == nil || !fieldset.Equal(req.oldObject.Get("spec"), req.object.Get("spec"))
}

// checkGitSync says what is wrong with a spec that its schema lets through.
func (h *Handler) checkGitSync(ctx context.Context, req *request) finding {
	if !specChanges(req) {
		return finding{}
	}
	account := string(req.object.GetStringBytes("spec", "serviceAccountName"))
	if req.id.Namespace != h.options.Namespace && account == "" {
		return finding{
			reason: fmt.Sprintf("spec.serviceAccountName is required outside of %s: Mainstay writes as that account, with its rights alone", h.options.Namespace),
			next:   fmt.Sprintf("kubectl create serviceaccount git -n %s, bind the roles to it that git needs, and name it", req.id.Namespace),
		}
	}
	return h.checkPolicies(ctx, req)
}

// checkPolicies says what is wrong with the policies that a spec writes out, or
// names. Those of the repository are the sync loop's to look at.
func (h *Handler) checkPolicies(ctx context.Context, req *request) finding {
	given := req.object.Get("spec", "policies")
	if h.options.CheckPolicies == nil || given == nil {
		return finding{}
	}
	var policies v1alpha1.Policies
	if err := json.Unmarshal(given.MarshalTo(nil), &policies); err != nil {
		return finding{reason: "spec.policies can't be read: " + err.Error()}
	}
	key := syncKey(req)
	for _, part := range []struct {
		name  string
		given bool
		policy.Source
	}{
		{"exceptions", len(policies.Exceptions) > 0, policy.Source{Exceptions: policies.Exceptions}},
		{"library", len(policies.Library) > 0, policy.Source{Library: policies.Library, Parameters: parametersOf(policies)}},
	} {
		if !part.given {
			continue
		}
		part.Key, part.Sync = policy.GitSyncSource(key), &key
		f := unloadable(h.options.CheckPolicies(ctx, part.Source))
		if f.reason != "" {
			f.reason = "spec.policies." + part.name + ": " + f.reason
			return f
		}
	}
	return finding{}
}

// parametersOf are those of the library's policies: others may be for Rego in
// the repository, of which nothing is known here.
func parametersOf(p v1alpha1.Policies) v1alpha1.Parameters {
	out := v1alpha1.Parameters{}
	for _, name := range p.Library {
		if value, ok := p.Parameters[name]; ok {
			out[name] = value
		}
	}
	return out
}

// noAccount warns of an account that is not there yet: nothing can be written
// until it is.
func (h *Handler) noAccount(ctx context.Context, req *request) string {
	if !specChanges(req) || h.options.AccountExists == nil {
		return ""
	}
	account := string(req.object.GetStringBytes("spec", "serviceAccountName"))
	if account == "" || h.options.AccountExists(ctx, req.id.Namespace, account) {
		return ""
	}
	return fmt.Sprintf("there is no ServiceAccount %s in %s: nothing is applied until there is", account, req.id.Namespace)
}

// loosened records that a GitSync which git does not declare enforces less from
// now on; that is its owner's right. It returns the decision's id, empty where
// there is nothing to record.
func (h *Handler) loosened(req *request) string {
	key := syncKey(req)
	if _, known := h.options.Index.Sync(key); !known || req.operation == policy.Create {
		return ""
	}
	var fields []policy.Field
	var reasons []string
	if req.operation == policy.Delete {
		n := len(h.options.Index.Entries(key))
		if n == 0 {
			return ""
		}
		reasons = append(reasons, fmt.Sprintf("it holds %d objects, which its deletionPolicy decides about", n))
	} else {
		for _, look := range []func(before, after *fastjson.Value) (policy.Field, string, bool){
			weakerMode, weakerUndeclared, moreExceptions,
			accepted(v1alpha1.AdoptAnnotation, "existing objects become what the commit says"),
			accepted(v1alpha1.ConfirmAnnotation, "what the commit prunes is confirmed"),
		} {
			if field, reason, weaker := look(req.oldObject, req.object); weaker {
				fields, reasons = append(fields, field), append(reasons, reason)
			}
		}
	}
	if len(reasons) == 0 {
		return ""
	}
	change := h.ownChange(req)
	change.Fields = fields
	change.Record.Sync.Name = req.id.Name
	change.Record.Sync.Namespace = req.id.Namespace
	decision := policy.Decision{
		ID: newID(), Verdict: policy.Permit, Class: policy.RuleBuiltin, Rule: ownRule,
		Reason: strings.Join(reasons, "; "), Elapsed: time.Since(req.started),
	}
	h.options.Recorder.Record(change, decision)
	return decision.ID
}

// The orders are from the least strict.
func weakerMode(before, after *fastjson.Value) (policy.Field, string, bool) {
	order := []string{string(v1alpha1.ModeObserve), string(v1alpha1.ModeAudit), string(v1alpha1.ModeWarn), string(v1alpha1.ModeEnforce)}
	return weaker(before, after, order, "spec", "enforcement", "mode")
}

func weakerUndeclared(before, after *fastjson.Value) (policy.Field, string, bool) {
	order := []string{string(v1alpha1.UndeclaredPermit), string(v1alpha1.UndeclaredRejectPeople), string(v1alpha1.UndeclaredReject)}
	return weaker(before, after, order, "spec", "enforcement", "undeclared")
}

func weaker(before, after *fastjson.Value, order []string, keys ...string) (policy.Field, string, bool) {
	rank := func(v *fastjson.Value) int {
		for i, name := range order {
			if v != nil && string(v.GetStringBytes()) == name {
				return i
			}
		}
		return -1
	}
	from, to := before.Get(keys...), after.Get(keys...)
	if rank(to) >= rank(from) {
		return policy.Field{}, "", false
	}
	return ownField(from, to, keys...), fmt.Sprintf("%s becomes less strict", strings.Join(keys, ".")), true
}

// accepted finds that somebody accepts what a commit does, which takes the right
// to write the GitSync.
func accepted(annotation, reason string) func(before, after *fastjson.Value) (policy.Field, string, bool) {
	keys := []string{"metadata", "annotations", annotation}
	return func(before, after *fastjson.Value) (policy.Field, string, bool) {
		from, to := before.Get(keys...), after.Get(keys...)
		if to == nil || fieldset.Equal(from, to) {
			return policy.Field{}, "", false
		}
		return ownField(from, to, keys...), reason, true
	}
}

func moreExceptions(before, after *fastjson.Value) (policy.Field, string, bool) {
	keys := []string{"spec", "policies", "exceptions"}
	had := map[string]bool{}
	for _, e := range before.GetArray(keys...) {
		had[string(fieldset.Canonical(nil, e))] = true
	}
	for _, e := range after.GetArray(keys...) {
		if !had[string(fieldset.Canonical(nil, e))] {
			return ownField(before.Get(keys...), after.Get(keys...), keys...), "an exception is added", true
		}
	}
	return policy.Field{}, "", false
}

// ownField is a field of one of Mainstay's own resources, as it is recorded.
func ownField(from, to *fastjson.Value, keys ...string) policy.Field {
	path := make(fieldset.Path, 0, len(keys))
	for _, key := range keys {
		path = append(path, fieldset.Segment{Field: key})
	}
	op := fieldset.OpReplace
	switch {
	case from == nil:
		op = fieldset.OpAdd
	case to == nil:
		op = fieldset.OpRemove
	}
	return policy.Field{Path: path, Op: op, From: from, To: to, Git: from, Declared: true}
}
