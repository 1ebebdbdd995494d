// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package crds_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/mainstay-gitops/mainstay/config/crds"
)

func TestAllHoldsEveryKindOfTheGroup(t *testing.T) {
	all, err := crds.All()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, crd := range all {
		if crd.Spec.Group != "mainstay.dev" {
			t.Errorf("%s is of group %q, want mainstay.dev", crd.Name, crd.Spec.Group)
		}
		if crd.Spec.Scope != apiextensionsv1.NamespaceScoped {
			t.Errorf("%s is %s, want Namespaced", crd.Name, crd.Spec.Scope)
		}
		got[crd.Spec.Names.Kind] = crd.Spec.Versions[0].Subresources.Status != nil
	}
	// The value says whether the kind has a status subresource.
	want := map[string]bool{"GitSync": true, "ChangePolicy": true, "BreakGlass": true, "Inventory": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}
