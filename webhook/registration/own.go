// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/webhook"
)

// own is the entry for Mainstay's own things. Each matchCondition speaks of one
// resource, lets every other through, and can't fail: a field that may be
// absent is asked for first.
func (d desired) own() admissionregistrationv1.MutatingWebhook {
	all := []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update, admissionregistrationv1.Delete}
	mainstay, core := v1alpha1.GroupVersion, schema.GroupVersion{Version: "v1"}
	rules := []admissionregistrationv1.RuleWithOperations{
		rule(mainstay, all, "breakglasses", "changepolicies", "gitsyncs", "inventories"),
		rule(mainstay, all[1:2], "breakglasses/status", "changepolicies/status", "gitsyncs/status"),
		rule(core, all, "secrets"),
	}
	sealed := func(doc string) string {
		return doc + " != null && has(" + doc + ".type) && " + doc + ".type.startsWith(" + quote(mainstay.Group+"/") + ")"
	}
	conditions := []admissionregistrationv1.MatchCondition{{
		// A Secret of that other type is filled with a token, perhaps of
		// Mainstay's account.
		Name: "sealed-secrets",
		Expression: `request.resource.resource != "secrets" || has(request.namespace) && request.namespace == ` + quote(d.namespace) +
			" && (" + sealed("object") + " || " + sealed("oldObject") +
			` || object != null && has(object.type) && object.type == "kubernetes.io/service-account-token")`,
	}, {
		// Mainstay's own reports must not call itself.
		Name:       "status-by-others",
		Expression: `!(has(request.subResource) && request.subResource == "status" && ` + d.byMainstay() + ")",
	}}
	if namespace, name, ok := d.account(); ok {
		rules = append(rules, rule(core, all[:1], "serviceaccounts/token"))
		conditions = append(conditions, admissionregistrationv1.MatchCondition{
			// The kubelet must be able to start Mainstay while nothing answers.
			Name: "own-tokens",
			Expression: `request.resource.resource != "serviceaccounts" || ` +
				"has(request.namespace) && request.namespace == " + quote(namespace) + " && has(request.name) && request.name == " + quote(name) +
				` && !(has(request.userInfo.groups) && "system:nodes" in request.userInfo.groups)`,
		})
	}
	if len(d.declared.holding) > 0 {
		rules = append(rules, rule(core, all[2:], "namespaces"))
		conditions = append(conditions, named("namespaces", d.declared.holding))
	}
	rules = append(rules, rule(schema.GroupVersion{Group: "apiextensions.k8s.io", Version: "v1"}, all[1:], "customresourcedefinitions"))
	conditions = append(conditions, d.definitions())
	own := d.entry(webhook.EntryOwn, rules, d.policy(true), cmp.Or(d.timeout, defaultTimeout))
	own.MatchConditions = conditions
	return own
}

// account is Mainstay's own as a ServiceAccount, if it is one.
func (d desired) account() (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(d.syncAccount, accountPrefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ":")
}

// byMainstay is the CEL for a request of Mainstay's own account. Whoever has no
// name is not Mainstay.
func (d desired) byMainstay() string {
	return "has(request.userInfo.username) && request.userInfo.username == " + quote(d.syncAccount)
}

func (d desired) notByMainstay() admissionregistrationv1.MatchCondition {
	return admissionregistrationv1.MatchCondition{Name: "not-by-mainstay", Expression: "!(" + d.byMainstay() + ")"}
}

// definitions lets those through that have held instances, and the deletion of
// Mainstay's own: an upgrade of those must be possible while nothing answers.
func (d desired) definitions() admissionregistrationv1.MatchCondition {
	own := map[string]bool{}
	for _, resource := range []string{"breakglasses", "changepolicies", "gitsyncs", "inventories"} {
		own[resource+"."+v1alpha1.GroupVersion.Group] = true
	}
	expression := `request.operation == "DELETE" && oldObject.metadata.name in ` + list(own)
	if len(d.declared.crds) > 0 {
		expression += " || oldObject.metadata.name in " + list(d.declared.crds)
	}
	return admissionregistrationv1.MatchCondition{
		Name:       "customresourcedefinitions",
		Expression: `request.resource.resource != "customresourcedefinitions" || oldObject != null && (` + expression + ")",
	}
}

func named(resource string, names map[string]bool) admissionregistrationv1.MatchCondition {
	return admissionregistrationv1.MatchCondition{
		Name: resource,
		Expression: fmt.Sprintf("request.resource.resource != %s || oldObject != null && oldObject.metadata.name in %s",
			quote(resource), list(names)),
	}
}

// list is a CEL list of strings.
func list(names map[string]bool) string {
	quoted := make([]string, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		quoted = append(quoted, quote(name))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
