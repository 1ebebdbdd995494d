// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
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
		"someone writes an Inventory":           {own("UPDATE", "mainstay.dev", "Inventory", "inventories", "x", object("shop"), object("shop")), false, "only Mainstay itself writes it"},
		"someone deletes an Inventory":          {own("DELETE", "mainstay.dev", "Inventory", "inventories", "x", object("shop"), nil), false, "only Mainstay itself writes it"},
		"Mainstay writes an Inventory":          {as(syncAccount, own("UPDATE", "mainstay.dev", "Inventory", "inventories", "x", object("shop"), object("shop"))), true, ""},
		"someone writes a sealed Secret":        {own("CREATE", "", "Secret", "secrets", ownSpace, nil, sealed), false, "only Mainstay itself writes it"},
		"someone deletes a sealed Secret":       {own("DELETE", "", "Secret", "secrets", ownSpace, sealed, nil), false, "only Mainstay itself writes it"},
		"someone writes another Secret":         {own("UPDATE", "", "Secret", "secrets", ownSpace, plain, plain), true, ""},
		"a Secret of that type elsewhere":       {own("CREATE", "", "Secret", "secrets", "shop", nil, sealed), true, ""},
		"a request in one's own name":           {own("CREATE", "mainstay.dev", "BreakGlass", "breakglasses", "shop", nil, object("b", set("alice", "spec", "requestedBy"))), true, ""},
		"a request in another's name":           {own("CREATE", "mainstay.dev", "BreakGlass", "breakglasses", "shop", nil, object("b", set("bob", "spec", "requestedBy"))), false, `must be the name of whoever writes it, "alice"`},
		"a namespace that holds held objects":   {own("DELETE", "", "Namespace", "namespaces", "shop", object("shop"), nil), false, "1 object of GitSync mainstay-system/shop would go with it"},
		"such a namespace is being deleted":     {own("DELETE", "", "Namespace", "namespaces", "shop", object("shop", deleting), nil), true, ""},
		"a namespace that holds nothing":        {own("DELETE", "", "Namespace", "namespaces", "empty", object("empty"), nil), true, ""},
		"a definition with instances goes":      {own("DELETE", "apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "", crd(true), nil), false, "would go with it"},
		"a definition stops serving a version":  {own("UPDATE", "apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "", crd(true), crd(false)), false, "would go with it"},
		"a definition goes on serving":          {own("UPDATE", "apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "", crd(true), crd(true)), true, ""},
		"the canary":                            {as(syncAccount, own("CREATE", "mainstay.dev", "Inventory", "inventories", ownSpace, nil, canary)), false, "mainstay-canary: reached n0nce"},
		"a GitSync that nobody declares in git": {own("UPDATE", "mainstay.dev", "GitSync", "gitsyncs", "shop", object("s"), object("s", set("x", "spec", "contact"))), true, ""},
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
	t.Run("audit only records", func(t *testing.T) {
		f := newFixture(t, index(t, v1alpha1.ModeAudit))
		got := f.send(t, own("DELETE", "", "Namespace", "namespaces", "shop", object("shop"), nil))
		if !got.Allowed || len(f.recorder.decisions) != 1 || f.recorder.decisions[0].Verdict != policy.Refuse {
			t.Errorf("allowed = %v, recorded %+v", got.Allowed, f.recorder.decisions)
		}
	})
}
