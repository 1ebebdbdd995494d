// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// answer is what the API server is told. The zero value refuses.
type answer struct {
	allowed  bool
	status   *metav1.Status
	warnings []string
	decision string
	// patch is a JSON Patch for the object; of a mutating review only.
	patch []byte
}

func permitted() answer { return answer{allowed: true} }

func refused(code int32, message string) answer {
	status := &metav1.Status{Status: metav1.StatusFailure, Code: code, Message: message}
	switch code {
	case http.StatusForbidden:
		status.Reason = metav1.StatusReasonForbidden
	case http.StatusConflict:
		status.Reason = metav1.StatusReasonConflict
		status.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	case http.StatusServiceUnavailable:
		status.Reason = metav1.StatusReasonServiceUnavailable
		status.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	case http.StatusBadRequest:
		status.Reason = metav1.StatusReasonBadRequest
	default:
		status.Reason = metav1.StatusReasonInternalError
	}
	return answer{status: status}
}

func failed(message string) answer { return refused(http.StatusInternalServerError, message) }

func catchingUp(id ownership.ID) answer {
	return refused(http.StatusConflict, fmt.Sprintf("%s is held by git: Mainstay is catching up, try again", id))
}

// answer words a decision for whoever asked.
func (h *Handler) answer(ctx context.Context, change *policy.Change, decision policy.Decision) answer {
	words := audit.Words{Change: change, Decision: decision, Mask: h.options.Mask}
	if decision.Verdict == policy.Permit {
		return answer{allowed: true, warnings: warnings(decision.Warnings), decision: decision.ID}
	}
	switch change.Mode() {
	case v1alpha1.ModeObserve, v1alpha1.ModeAudit:
		return answer{allowed: true, decision: decision.ID}
	case v1alpha1.ModeWarn:
		return answer{allowed: true, warnings: []string{words.Warning()}, decision: decision.ID}
	case v1alpha1.ModeEnforce:
	}
	words.ShowValues = h.canGet(ctx, change)
	code := int32(http.StatusForbidden)
	if decision.Class == policy.RuleError && recorded(decision) {
		code = http.StatusServiceUnavailable
	}
	a := refused(code, words.Refusal())
	if causes := words.Causes(); len(causes) > 0 {
		if a.status.Details == nil {
			a.status.Details = &metav1.StatusDetails{}
		}
		a.status.Details.Group = change.Resource.Group
		a.status.Details.Kind = change.Resource.Resource
		a.status.Details.Name = change.Record.Name
		a.status.Details.Causes = causes
	}
	a.decision = decision.ID
	return a
}

// canGet asks only where a value would be printed.
func (h *Handler) canGet(ctx context.Context, change *policy.Change) bool {
	if h.options.CanGet == nil || change.User == nil || len(change.Fields) == 0 || change.Kind.Kind == "Secret" && change.Kind.Group == "" {
		return false
	}
	return h.options.CanGet(ctx, change.User, change.Resource, change.Record.Namespace, change.Record.Name)
}

// warnings keeps the first few of a policy's warnings, as the API server would.
func warnings(texts []string) []string {
	if len(texts) > 5 {
		texts = texts[:5]
	}
	out := make([]string, 0, len(texts))
	for _, text := range texts {
		out = append(out, audit.Cut(text, audit.MaxWarning))
	}
	return out
}

func (a answer) outcome() string {
	switch {
	case a.allowed:
		return "permit"
	case a.status != nil && a.status.Code >= http.StatusInternalServerError:
		return "error"
	}
	return "refuse"
}

type response struct {
	UID              json.RawMessage   `json:"uid"`
	Allowed          bool              `json:"allowed"`
	Status           *metav1.Status    `json:"status,omitempty"`
	Warnings         []string          `json:"warnings,omitempty"`
	AuditAnnotations map[string]string `json:"auditAnnotations,omitempty"`
	Patch            []byte            `json:"patch,omitempty"`
	PatchType        string            `json:"patchType,omitempty"`
}

// write writes the review's response. The plain permit, by far the most common
// answer, is put together by hand.
func (a answer) write(w http.ResponseWriter, uid []byte) {
	const head = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":`
	body := make([]byte, 0, 256)
	body = append(body, head...)
	if a.allowed && len(a.warnings) == 0 && a.decision == "" {
		body = append(body, `{"uid":`...)
		body = append(body, uid...)
		body = append(body, `,"allowed":true}`...)
	} else {
		r := response{UID: uid, Allowed: a.allowed, Status: a.status, Warnings: a.warnings}
		if len(a.patch) > 0 {
			r.Patch, r.PatchType = a.patch, "JSONPatch"
		}
		if a.decision != "" {
			r.AuditAnnotations = map[string]string{"decision": a.decision}
		}
		raw, err := json.Marshal(r)
		if err != nil {
			http.Error(w, "encode response: "+err.Error(), http.StatusInternalServerError)
			return
		}
		body = append(body, raw...)
	}
	body = append(body, '}')
	w.Header().Set("Content-Type", "application/json")
	// The API server has gone away where this fails; there is nobody to tell.
	_, _ = w.Write(body)
}
