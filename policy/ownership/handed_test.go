// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func TestAnObjectThatIsHandedOver(t *testing.T) {
	handed := deployment("web")
	handed.HandedTo = till.String()
	holds := func(t *testing.T, x *ownership.Index, want types.NamespacedName) {
		t.Helper()
		r, ok := x.Lookup(handed.ID)
		if !ok || r.Sync.Key() != want {
			t.Errorf("record = %+v, want that of %s", r, want)
		}
	}
	t.Run("is held by the first until the other has it", func(t *testing.T) {
		x := ownership.NewIndex()
		replace(t, x, gitSync(shop, 1), handed)
		holds(t, x, shop)
		replace(t, x, gitSync(till, 1), deployment("web"))
		holds(t, x, till)
		replace(t, x, gitSync(shop, 2))
		holds(t, x, till)
	})
	t.Run("is held by the other whichever inventory is read first", func(t *testing.T) {
		x := ownership.NewIndex()
		replace(t, x, gitSync(till, 1), deployment("web"))
		replace(t, x, gitSync(shop, 1), handed)
		holds(t, x, till)
	})
	t.Run("goes back when the other does not have it after all", func(t *testing.T) {
		x := ownership.NewIndex()
		replace(t, x, gitSync(shop, 1), handed)
		replace(t, x, gitSync(till, 1), deployment("web"))
		replace(t, x, gitSync(till, 2))
		holds(t, x, shop)
	})
	t.Run("is not taken by a third", func(t *testing.T) {
		x := ownership.NewIndex()
		replace(t, x, gitSync(shop, 1), handed)
		replace(t, x, gitSync(types.NamespacedName{Namespace: "a", Name: "b"}, 1), deployment("web"))
		holds(t, x, shop)
	})
}

func TestAnObjectThatIsLetGoIsHeldByNobody(t *testing.T) {
	released := deployment("web")
	released.Released = true
	x := ownership.NewIndex()
	replace(t, x, gitSync(shop, 1), deployment("web"))
	replace(t, x, gitSync(shop, 2), released)
	if r, ok := x.Lookup(released.ID); ok {
		t.Errorf("record = %+v, want none", r)
	}
	if len(x.Entries(shop)) != 1 {
		t.Error("its inventory does not have it any more")
	}
	t.Run("but by another that declares it", func(t *testing.T) {
		x := ownership.NewIndex()
		replace(t, x, gitSync(shop, 1), deployment("web"))
		replace(t, x, gitSync(till, 1), deployment("web"))
		replace(t, x, gitSync(shop, 2), released)
		if r, ok := x.Lookup(released.ID); !ok || r.Sync.Key() != till {
			t.Errorf("record = %+v, want that of %s", r, till)
		}
	})
}
