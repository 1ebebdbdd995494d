// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"slices"
	"strings"

	"github.com/valyala/fastjson"
	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
)

// What refuses a token of Mainstay's account.
const (
	tokenReason = "a token of Mainstay's account is made by the kubelet for Mainstay's own pods only"
	tokenNext   = "use an account of your own: what it writes passes where it is what git says"
)

// ownStatus refuses what others write into the status of Mainstay's resources.
// Whoever may impersonate Mainstay's account can write it all the same, so
// nothing is decided by it: grants and suspensions rest on sealed records.
func (h *Handler) ownStatus(req *request) finding {
	if req.username() == h.options.SyncAccount {
		return finding{fine: true}
	}
	f := finding{reason: "only Mainstay itself writes its status", next: "change spec: what Mainstay sees and does about it is written into status"}
	switch req.resource.Resource {
	case "gitsyncs":
		f.next = `to stop enforcing for a while: kubectl annotate gitsync ` + req.id.Name + ` -n ` + req.id.Namespace + ` ` + suspend.Example
	case "breakglasses":
		f.next = "approve or revoke a request in its spec"
	}
	return f
}

// ownToken refuses tokens of Mainstay's account: kubelets alone ask for those that
// its pods need.
func (h *Handler) ownToken(req *request) finding {
	account := "system:serviceaccount:" + req.id.Namespace + ":" + string(req.root.GetStringBytes("name"))
	if account != h.options.SyncAccount || node(req.user()) {
		return finding{}
	}
	return finding{reason: tokenReason, next: tokenNext}
}

func node(user *policy.User) bool {
	return strings.HasPrefix(user.Username, "system:node:") && slices.Contains(user.Groups, "system:nodes")
}

// accountToken tells whether a Secret asks the token controller for a token of
// Mainstay's account.
func (h *Handler) accountToken(req *request) bool {
	if req.kind.Group != "" || req.kind.Kind != "Secret" || req.object == nil ||
		string(req.object.GetStringBytes("type")) != string(corev1.SecretTypeServiceAccountToken) {
		return false
	}
	name := string(req.object.GetStringBytes("metadata", "annotations", corev1.ServiceAccountNameKey))
	return "system:serviceaccount:"+req.id.Namespace+":"+name == h.options.SyncAccount
}

// ownRecords guards the inventories and the sealed Secrets.
func (h *Handler) ownRecords(req *request) finding {
	if req.username() == h.options.SyncAccount || req.operation == policy.Delete && h.terminating(req.id.Namespace) {
		return finding{fine: true}
	}
	return finding{reason: "only Mainstay itself writes it"}
}

// sealed tells whether a request is about a Secret that Mainstay alone writes.
// The type of a Secret can't be changed, so labels say nothing.
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
