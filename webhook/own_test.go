// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func own(operation, group, kind, resource, namespace string, old, updated map[string]any) asked {
	version := "v1"
	if group == "mainstay.dev" {
		version = "v1alpha1"
	}
	return asked{
		entry: EntryOwn, operation: operation, user: "alice", namespace: namespace, old: old, new: updated,
		kind:     metav1.GroupVersionKind{Group: group, Version: version, Kind: kind},
		resource: metav1.GroupVersionResource{Group: group, Version: version, Resource: resource},
	}
}

func as(user string, a asked) asked {
	a.user = user
	return a
}

// status makes a request one to the status subresource.
func status(a asked) asked {
	a.subResource = "status"
	return a
}

// token asks for a token of an account.
func token(user, namespace, account string, groups ...string) asked {
	return asked{
		entry: EntryOwn, operation: "CREATE", user: user, groups: groups, namespace: namespace, name: account,
		subResource: "token", new: map[string]any{"spec": map[string]any{}},
		kind:     metav1.GroupVersionKind{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"},
		resource: metav1.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"},
	}
}

func ownCRD(served bool) map[string]any {
	return object("inventories.mainstay.dev", set("mainstay.dev", "spec", "group"), set("Inventory", "spec", "names", "kind"),
		set([]any{map[string]any{"name": "v1alpha1", "served": served}}, "spec", "versions"))
}

func labelOf(id ownership.ID) string { return ownership.LabelValue(shop, id) }

func object(name string, edits ...func(map[string]any)) map[string]any {
	o := map[string]any{"metadata": map[string]any{"name": name}}
	for _, edit := range edits {
		edit(o)
	}
	return o
}

func TestHandlerGuardsWhatIsMainstays(t *testing.T) {
	sealed := object("permit-1", set("mainstay.dev/permit", "type"))
	plain := object("plain", set("Opaque", "type"))
	crd := func(served bool) map[string]any {
		return object("widgets.example.com", set("example.com", "spec", "group"), set("Widget", "spec", "names", "kind"),
			set([]any{map[string]any{"name": "v1", "served": served}, map[string]any{"name": "v2", "served": true}}, "spec", "versions"))
	}
	deleting := set("2026-11-23T11:00:00Z", "metadata", "deletionTimestamp")
	canary := object(CanaryName, set("n0nce", "metadata", "annotations", CanaryAnnotation))
	tests := map[string]struct {
		asked   asked
		allowed bool
		message string
	}{
		"someone writes an Inventory":                 {own("UPDATE", "mainstay.dev", "Inventory", "inventories", "x", object("shop"), object("shop")), false, "only Mainstay itself writes it"},
		"someone deletes an Inventory":                {own("DELETE", "mainstay.dev", "Inventory", "inventories", "x", object("shop"), nil), false, "only Mainstay itself writes it"},
		"Mainstay writes an Inventory":                {as(syncAccount, own("UPDATE", "mainstay.dev", "Inventory", "inventories", "x", object("shop"), object("shop"))), true, ""},
		"someone writes a sealed Secret":              {own("CREATE", "", "Secret", "secrets", ownSpace, nil, sealed), false, "only Mainstay itself writes it"},
		"someone deletes a sealed Secret":             {own("DELETE", "", "Secret", "secrets", ownSpace, sealed, nil), false, "only Mainstay itself writes it"},
		"someone writes another Secret":               {own("UPDATE", "", "Secret", "secrets", ownSpace, plain, plain), true, ""},
		"a Secret of that type elsewhere":             {own("CREATE", "", "Secret", "secrets", "shop", nil, sealed), true, ""},
		"a request in one's own name":                 {own("CREATE", "mainstay.dev", "BreakGlass", "breakglasses", "shop", nil, object("b", set("alice", "spec", "requestedBy"))), true, ""},
		"a request in another's name":                 {own("CREATE", "mainstay.dev", "BreakGlass", "breakglasses", "shop", nil, object("b", set("bob", "spec", "requestedBy"))), false, `must be the name of whoever writes it, "alice"`},
		"a namespace that holds held objects":         {own("DELETE", "", "Namespace", "namespaces", "shop", object("shop"), nil), false, "1 object of GitSync mainstay-system/shop would go with it"},
		"such a namespace is being deleted":           {own("DELETE", "", "Namespace", "namespaces", "shop", object("shop", deleting), nil), true, ""},
		"a namespace that holds nothing":              {own("DELETE", "", "Namespace", "namespaces", "empty", object("empty"), nil), true, ""},
		"Mainstay's own namespace":                    {own("DELETE", "", "Namespace", "namespaces", ownSpace, object(ownSpace), nil), false, "1 GitSync holds objects, and Mainstay would go"},
		"how to uninstall":                            {own("DELETE", "", "Namespace", "namespaces", ownSpace, object(ownSpace), nil), false, "kubectl delete gitsyncs --all --all-namespaces"},
		"Mainstay's own is being deleted":             {own("DELETE", "", "Namespace", "namespaces", ownSpace, object(ownSpace, deleting), nil), true, ""},
		"a definition with instances goes":            {own("DELETE", "apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "", crd(true), nil), false, "would go with it"},
		"a definition stops serving a version":        {own("UPDATE", "apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "", crd(true), crd(false)), false, "would go with it"},
		"a definition goes on serving":                {own("UPDATE", "apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "", crd(true), crd(true)), true, ""},
		"the canary":                                  {as(syncAccount, own("CREATE", "mainstay.dev", "Inventory", "inventories", ownSpace, nil, canary)), false, "mainstay-canary: reached n0nce"},
		"a GitSync that nobody declares in git":       {own("UPDATE", "mainstay.dev", "GitSync", "gitsyncs", ownSpace, object("s"), object("s", set("x", "spec", "contact"))), true, ""},
		"somebody creates a sealed Secret of the key": {own("CREATE", "", "Secret", "secrets", ownSpace, nil, object("mainstay-key", set("mainstay.dev/key", "type"))), false, "only Mainstay itself writes it"},
		"a finalizer on a sealed Secret":              {own("UPDATE", "", "Secret", "secrets", ownSpace, sealed, object("permit-1", set("mainstay.dev/permit", "type"), set([]any{"a/b"}, "metadata", "finalizers"))), false, "only Mainstay itself writes it"},
		"the label of a permit on another type":       {own("CREATE", "", "Secret", "secrets", ownSpace, nil, object("x", set("Opaque", "type"), set("true", "metadata", "labels", "mainstay.dev/permit"))), true, ""},
		"an Inventory of a tenant's GitSync":          {own("CREATE", "mainstay.dev", "Inventory", "inventories", "shop", nil, object("shop")), false, "only Mainstay itself writes it"},
		"a finalizer on an Inventory":                 {own("UPDATE", "mainstay.dev", "Inventory", "inventories", "shop", object("shop"), object("shop", set([]any{"a/b"}, "metadata", "finalizers"))), false, "only Mainstay itself writes it"},
		"someone writes a GitSync's status":           {status(own("UPDATE", "mainstay.dev", "GitSync", "gitsyncs", ownSpace, object("s"), object("s", set("carol", "status", "suspended", "by")))), false, `mainstay.dev/suspend="1h`},
		"someone writes a ChangePolicy's":             {status(own("UPDATE", "mainstay.dev", "ChangePolicy", "changepolicies", ownSpace, object("s"), object("s"))), false, "only Mainstay itself writes its status"},
		"someone approves by the status":              {status(own("UPDATE", "mainstay.dev", "BreakGlass", "breakglasses", "shop", object("s"), object("s", set("Active", "status", "phase")))), false, "approve or revoke a request in its spec"},
		"Mainstay writes a GitSync's status":          {as(syncAccount, status(own("UPDATE", "mainstay.dev", "GitSync", "gitsyncs", ownSpace, object("s"), object("s")))), true, ""},
		"a token of Mainstay's account":               {token("alice", ownSpace, "mainstay"), false, "made by the kubelet for Mainstay's own pods only"},
		"Mainstay asks for a token of itself":         {token(syncAccount, ownSpace, "mainstay"), false, "made by the kubelet"},
		"somebody who is called like a node":          {token("system:node:a", ownSpace, "mainstay"), false, "made by the kubelet"},
		"a node asks for it":                          {token("system:node:a", ownSpace, "mainstay", "system:nodes"), true, ""},
		"somebody who is in the group of nodes":       {token("alice", ownSpace, "mainstay", "system:nodes"), false, "made by the kubelet"},
		"a token of another account":                  {token("alice", ownSpace, "other"), true, ""},
		"a token of its namesake elsewhere":           {token("alice", "shop", "mainstay"), true, ""},
		"a Secret for a token of the account":         {own("CREATE", "", "Secret", "secrets", ownSpace, nil, object("t", set("kubernetes.io/service-account-token", "type"), set("mainstay", "metadata", "annotations", "kubernetes.io/service-account.name"))), false, "made by the kubelet"},
		"a Secret for a token of another":             {own("CREATE", "", "Secret", "secrets", ownSpace, nil, object("t", set("kubernetes.io/service-account-token", "type"), set("other", "metadata", "annotations", "kubernetes.io/service-account.name"))), true, ""},
		"a definition of Mainstay's goes":             {own("DELETE", "apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "", ownCRD(true), nil), false, "1 GitSync holds objects"},
		"one of Mainstay's is not served":             {own("UPDATE", "apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "", ownCRD(true), ownCRD(false)), false, "delete the GitSyncs first"},
		"one of Mainstay's gets another version":      {own("UPDATE", "apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "", ownCRD(true), ownCRD(true)), true, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, index(t, v1alpha1.ModeEnforce))
			got := f.send(t, test.asked)
			if got.Allowed != test.allowed {
				t.Fatalf("allowed = %v, want %v: %+v", got.Allowed, test.allowed, got.Result)
			}
			if !test.allowed && (got.Result.Code != 403 || !strings.Contains(got.Result.Message, test.message)) {
				t.Errorf("refused with %d %q, want %q", got.Result.Code, got.Result.Message, test.message)
			}
		})
	}
	for name, x := range map[string]*ownership.Index{
		"where there is no GitSync":            ownership.NewIndex(),
		"where a GitSync only observes":        index(t, v1alpha1.ModeObserve),
		"where a GitSync has declared nothing": empty(t),
	} {
		t.Run(name+" Mainstay may be uninstalled", func(t *testing.T) {
			f := newFixture(t, x)
			for what, a := range map[string]asked{
				"its namespace":  own("DELETE", "", "Namespace", "namespaces", ownSpace, object(ownSpace), nil),
				"its definition": own("DELETE", "apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "", ownCRD(true), nil),
			} {
				if got := f.send(t, a); !got.Allowed {
					t.Errorf("%s: refused: %+v", what, got.Result)
				}
			}
		})
	}
	t.Run("while Mainstay is off its namespace may go", func(t *testing.T) {
		f := newFixture(t, index(t, v1alpha1.ModeEnforce), func(o *Options) { o.Off = offSwitch(true) })
		if got := f.send(t, own("DELETE", "", "Namespace", "namespaces", ownSpace, object(ownSpace), nil)); !got.Allowed {
			t.Errorf("refused: %+v", got.Result)
		}
	})
	t.Run("audit only records", func(t *testing.T) {
		f := newFixture(t, index(t, v1alpha1.ModeAudit))
		got := f.send(t, own("DELETE", "", "Namespace", "namespaces", "shop", object("shop"), nil))
		if !got.Allowed || len(f.recorder.decisions) != 1 || f.recorder.decisions[0].Verdict != policy.Refuse {
			t.Errorf("allowed = %v, recorded %+v", got.Allowed, f.recorder.decisions)
		}
	})
}

// empty has a GitSync that declares nothing.
func empty(t *testing.T) *ownership.Index {
	t.Helper()
	x := ownership.NewIndex()
	if err := x.Replace(syncHead(v1alpha1.ModeEnforce), nil); err != nil {
		t.Fatal(err)
	}
	return x
}
