// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func TestALabelFitsOnlyTheObjectItWasMadeFor(t *testing.T) {
	web := ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	shop := types.NamespacedName{Namespace: "mainstay-system", Name: "shop.eu"}
	value := ownership.LabelValue(shop, web)
	_, hash, _ := strings.Cut(strings.TrimPrefix(value, shop.Name), ".")
	for name, tt := range map[string]struct {
		value string
		sync  types.NamespacedName
		id    ownership.ID
		want  bool
	}{
		"its own object":    {value, shop, web, true},
		"another name":      {value, shop, ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "api"}, false},
		"another namespace": {value, shop, ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "other", Name: "web"}, false},
		"another kind, as in a copy by a controller": {value, shop, ownership.ID{Group: "apps", Kind: "ReplicaSet", Namespace: "shop", Name: "web"}, false},
		"another group":   {value, shop, ownership.ID{Group: "example.org", Kind: "Deployment", Namespace: "shop", Name: "web"}, false},
		"another GitSync": {value, types.NamespacedName{Namespace: "mainstay-system", Name: "shop"}, web, false},
		"one of the same name in another namespace": {value, types.NamespacedName{Namespace: "shop", Name: "shop.eu"}, web, false},
		"no GitSync": {"." + hash, shop, web, false},
		"no hash":    {"shop.eu.", shop, web, false},
		"no dot":     {hash, shop, web, false},
		"empty":      {"", shop, web, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ownership.Fits(tt.value, tt.sync, tt.id); got != tt.want {
				t.Errorf("Fits(%q, %s, %s) = %t, want %t", tt.value, tt.sync, tt.id, got, tt.want)
			}
		})
	}
}

func TestALabelsValueIsValidForTheLongestNames(t *testing.T) {
	id := ownership.ID{Group: strings.Repeat("g", 253), Kind: "Kind", Namespace: strings.Repeat("n", 63), Name: strings.Repeat("o", 253)}
	value := ownership.LabelValue(types.NamespacedName{Name: strings.Repeat("s", 50)}, id)
	if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
		t.Errorf("%s: %v", value, problems)
	}
}

func TestHashKeepsThePartsOfAnIdentityApart(t *testing.T) {
	seen := map[string]ownership.ID{}
	for _, id := range []ownership.ID{
		{Kind: "A", Namespace: "b", Name: "c"},
		{Group: "A", Kind: "b", Name: "c"},
		{Kind: "Ab", Name: "c"},
		{Kind: "A", Name: "bc"},
		{Kind: "A", Namespace: "bc"},
	} {
		value := ownership.LabelValue(types.NamespacedName{Namespace: "mainstay-system", Name: "shop"}, id)
		if other, ok := seen[value]; ok {
			t.Errorf("%#v and %#v have the same hash", id, other)
		}
		seen[value] = id
	}
}

func TestAnIdentityReadsAsKindAndName(t *testing.T) {
	for want, id := range map[string]ownership.ID{
		"Deployment.apps shop/web": {Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
		"Namespace shop":           {Kind: "Namespace", Name: "shop"},
	} {
		if got := id.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
