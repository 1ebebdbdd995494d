// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

func TestAFightIsFoundAndSlowedDown(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "git"))
	s.synced()

	var cm corev1.ConfigMap
	// Somebody sets it again as soon as it is put back, until that takes long.
	slow := false
	for i := 0; !slow && i < 30; i++ {
		must(t, s.get("settings", &cm))
		cm.Data["key"] = fmt.Sprint("theirs ", i)
		must(t, s.client.Update(t.Context(), &cm, client.FieldOwner("other-controller")))
		start := time.Now()
		s.await("it is put back", func() bool {
			must(t, s.get("settings", &cm))
			return cm.Data["key"] == "git"
		})
		slow = time.Since(start) > 800*time.Millisecond
	}
	if !slow {
		t.Fatal("reverts never slowed down")
	}
	gs := s.look()
	c := condition(gs, "Drifted")
	for _, word := range []string{"field manager other-controller and mainstay fight about data.key of ConfigMap " + s.sync.Namespace + "/settings", "permit its change by an exception"} {
		if c.Status != metav1.ConditionTrue || c.Reason != "Fight" || !strings.Contains(c.Message, word) {
			t.Errorf("Drifted = %+v, want %q", c, word)
		}
	}
	if n := s.gauge("mainstay_fights"); n != 1 {
		t.Errorf("mainstay_fights = %v", n)
	}
	t.Run("the status says who fights while it waits", func(t *testing.T) {
		cm.Data["key"] = "theirs"
		must(t, s.client.Update(t.Context(), &cm, client.FieldOwner("other-controller")))
		s.await("the object is named", func() bool {
			objects := s.look().Status.Drift.Objects
			return len(objects) == 1 && objects[0].State == v1alpha1.StateFight && objects[0].Manager == "other-controller" && objects[0].Paths[0] == "data.key"
		})
	})
	t.Run("another object is put back at once", func(t *testing.T) {
		s.push("other.yaml", configMap("other", "git"))
		s.synced()
		must(t, s.get("other", &cm))
		cm.Data["key"] = "theirs"
		must(t, s.client.Update(t.Context(), &cm))
		start := time.Now()
		s.await("it is put back", func() bool {
			must(t, s.get("other", &cm))
			return cm.Data["key"] == "git"
		})
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// gauge is the sum of a metric.
func (s *theatre) gauge(name string) float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	must(s.t, err)
	var sum float64
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestWhatNobodyIsAnswerableForIsUnattributed(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "git"))
	s.synced()
	var cm corev1.ConfigMap
	change := func() {
		t.Helper()
		must(t, s.get("settings", &cm))
		cm.Data["key"] = "theirs"
		must(t, s.client.Update(t.Context(), &cm))
	}
	back := func() {
		t.Helper()
		s.await("git's value is back", func() bool {
			must(t, s.get("settings", &cm))
			return cm.Data["key"] == "git"
		})
	}
	change()
	back()
	s.await("that is recorded", func() bool { return s.recorded.count() == 1 })
	if got := s.recorded.last(); !got.Unattributed {
		t.Errorf("a change past the webhook: %+v", got)
	}
	must(t, s.client.Delete(t.Context(), &cm))
	s.await("it is there again", func() bool { return s.get("settings", &cm) == nil })
	s.await("that is recorded", func() bool { return s.recorded.count() == 2 })
	if got := s.recorded.last(); !got.Unattributed {
		t.Errorf("a deletion past the webhook: %+v", got)
	}
	s.off.set(true)
	change()
	s.await("it was looked at", func() bool {
		s.loop.guard.mu.Lock()
		defer s.loop.guard.mu.Unlock()
		return len(s.loop.guard.excused) == 1
	})
	s.off.set(false)
	back()
	s.await("that is recorded", func() bool { return s.recorded.count() == 3 })
	if got := s.recorded.last(); got.Unattributed {
		t.Errorf("what was changed while mainstay-off was in force is in the ledger: %+v", got)
	}
}
