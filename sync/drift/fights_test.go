// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package drift_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/drift"
)

func TestFights(t *testing.T) {
	web := ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	// rounds has a field put back at each of these seconds.
	rounds := func(f *drift.Fights, path string, seconds ...float64) (last drift.Fight, found bool) {
		for _, s := range seconds {
			last, _, found = f.Reverted(web, path, "kubectl-edit", at(s))
		}
		return last, found
	}

	t.Run("five times in a minute is none, the sixth is", func(t *testing.T) {
		var f drift.Fights
		if _, found := rounds(&f, "spec.replicas", 0, 1, 2, 3, 4); found {
			t.Error("found after five")
		}
		fight, began, _ := f.Reverted(web, "spec.replicas", "kubectl-edit", at(5))
		want := drift.Fight{ID: web, Path: "spec.replicas", Manager: "kubectl-edit", Since: at(5), Times: 6, Every: time.Second}
		if diff := cmp.Diff(want, fight); diff != "" || !began {
			t.Errorf("began %t, fight (-want +got):\n%s", began, diff)
		}
		if _, began, found := f.Reverted(web, "spec.replicas", "kubectl-edit", at(6)); began || !found {
			t.Error("a fight begins once, and goes on")
		}
	})
	t.Run("six times in more than a minute is none", func(t *testing.T) {
		var f drift.Fights
		if _, found := rounds(&f, "spec.replicas", 0, 13, 26, 39, 52, 65, 78, 91); found {
			t.Error("found")
		}
	})
	t.Run("six fields of one object once each are none", func(t *testing.T) {
		var f drift.Fights
		for _, path := range []string{"a", "b", "c", "d", "e", "f", "g"} {
			if _, found := rounds(&f, path, 0); found {
				t.Error("found at", path)
			}
		}
	})
	t.Run("an object that is deleted again and again", func(t *testing.T) {
		var f drift.Fights
		if _, found := rounds(&f, "", 0, 1, 2, 3, 4, 5); !found {
			t.Error("not found")
		}
	})
	t.Run("reverts slow down, up to a bound", func(t *testing.T) {
		var f drift.Fights
		rounds(&f, "spec.replicas", 0, 1, 2, 3, 4, 5)
		now := at(5)
		var waits []string
		for range 7 {
			wait := f.Hold(web, now)
			waits = append(waits, wait.String())
			now = now.Add(wait)
			if f.Hold(web, now) != 0 {
				t.Fatal("it has to be possible when the time has come")
			}
			f.Reverted(web, "spec.replicas", "kubectl-edit", now)
		}
		if diff := cmp.Diff([]string{"1s", "2s", "4s", "8s", "16s", "30s", "30s"}, waits); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("other objects are not slowed down", func(t *testing.T) {
		var f drift.Fights
		rounds(&f, "spec.replicas", 0, 1, 2, 3, 4, 5)
		other := web
		other.Name = "api"
		if wait := f.Hold(other, at(5)); wait != 0 {
			t.Errorf("waits %s", wait)
		}
	})
	t.Run("it is over when the other side stops", func(t *testing.T) {
		var f drift.Fights
		rounds(&f, "spec.replicas", 0, 1, 2, 3, 4, 5)
		if all := f.All(at(20)); len(all) != 1 {
			t.Errorf("after 15 s: %v", all)
		}
		if all := f.All(at(36.5)); len(all) != 0 {
			t.Errorf("after 31.5 s: %v", all)
		}
		if _, still := f.Of(web); still || f.Hold(web, at(36.5)) != 0 {
			t.Error("still held")
		}
	})
}
