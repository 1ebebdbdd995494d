// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
)

// suspend suspends the GitSync for a time.
func (s *theatre) suspend(d time.Duration) {
	now := time.Now()
	s.suspended.set(s.sync, suspend.Suspension{By: "alice", Reason: "INC-4711", Since: now, Until: now.Add(d)})
}

func TestWhileAGitSyncIsSuspendedNothingIsWritten(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.push("gone.yaml", configMap("gone", "one"))
	s.push("pruned.yaml", configMap("pruned", "one"))
	s.synced()

	s.suspend(time.Hour)
	s.patch(s.configMap("settings"), "kubectl-edit", `{"data":{"key":"mine"}}`)
	must(t, s.client.Delete(t.Context(), s.configMap("gone")))
	s.push("pruned.yaml", "")
	s.push("new.yaml", configMap("new", "one"))
	s.await("both differences are counted", func() bool {
		current, permitted := s.drift()
		return current == 2 && permitted == 0
	})
	gs := s.look()
	if c := condition(gs, "Enforcing"); c.Status != metav1.ConditionFalse || c.Reason != "Suspended" ||
		!strings.Contains(c.Message, "by alice: INC-4711") || !strings.Contains(c.Message, "suspended until") {
		t.Errorf("Enforcing = %+v, want who, why and until when", c)
	}
	if c := condition(gs, "Ready"); c.Status != metav1.ConditionTrue {
		t.Errorf("Ready = %+v, want it as it was", c)
	}
	if got := gs.Status.Suspended; got == nil || got.By != "alice" || got.Reason != "INC-4711" || !got.Since.Before(&got.Until) {
		t.Errorf("status.suspended = %+v", got)
	}
	if gs.Status.Drift.Current != 2 {
		t.Errorf("drift = %+v, want 2", gs.Status.Drift)
	}
	if got := s.configMap("settings").Data["key"]; got != "mine" {
		t.Errorf("settings: key = %q: it was reverted", got)
	}
	for _, name := range []string{"gone", "new"} {
		if err := s.get(name, new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
			t.Errorf("%s: %v, want it not to be written", name, err)
		}
	}
	s.configMap("pruned")

	t.Run("at the end it goes on at once", func(t *testing.T) {
		s.suspend(-time.Second)
		s.await("the changes have gone back", func() bool {
			return s.configMap("settings").Data["key"] == "one" && s.get("gone", new(corev1.ConfigMap)) == nil
		})
		s.synced()
		s.configMap("new")
		if err := s.get("pruned", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
			t.Errorf("pruned: %v, want it pruned", err)
		}
		gs := s.look()
		if c := condition(gs, "Enforcing"); c.Status != metav1.ConditionTrue || gs.Status.Suspended != nil {
			t.Errorf("Enforcing = %+v, suspended = %+v", c, gs.Status.Suspended)
		}
		began := false
		for recorded := s.loop.Events.(*events.FakeRecorder).Events; len(recorded) > 0; {
			began = strings.Contains(<-recorded, "Suspended suspended until") || began
		}
		if n := s.recorded.told("Resumed GitSync.mainstay.dev " + s.sync.String() + ": git is enforced again"); !began || n != 1 {
			t.Errorf("it was told that it began: %t; and %d times that it has ended", began, n)
		}
	})
}

func TestASuspensionEndsByItself(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	s.suspend(500 * time.Millisecond)
	s.patch(s.configMap("settings"), "kubectl-edit", `{"data":{"key":"mine"}}`)
	s.await("the change is seen", func() bool {
		current, _ := s.drift()
		return current == 1
	})
	s.await("git's value is back", func() bool {
		s.look() // as the manager has it look, so that a repair in git is not missed
		return s.configMap("settings").Data["key"] == "one"
	})
}

func TestTheAnnotationGoesWhenItsTimeIsOver(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	annotate := func(value string) {
		s.edit(func(gs *v1alpha1.GitSync) { gs.Annotations = map[string]string{v1alpha1.SuspendAnnotation: value} })
	}
	annotate("1h INC-4711")
	s.suspend(time.Hour)
	if got := s.look().Annotations[v1alpha1.SuspendAnnotation]; got == "" {
		t.Fatal("it was taken off while it counts")
	}
	// The status says until when, so it has to be over there as well.
	gs := s.look()
	before := gs.DeepCopy()
	gs.Status.Suspended.Since = metav1.NewTime(time.Now().Add(-2 * time.Hour))
	gs.Status.Suspended.Until = metav1.NewTime(time.Now().Add(-time.Hour))
	must(t, s.client.Status().Patch(t.Context(), gs, client.MergeFrom(before)))
	s.suspended.set(s.sync, suspend.Suspension{})
	if got, ok := s.look().Annotations[v1alpha1.SuspendAnnotation]; ok {
		t.Errorf("the annotation %q is still there", got)
	}
	// One that never counted is left to who wrote it.
	annotate("1h forged")
	if got := s.look().Annotations[v1alpha1.SuspendAnnotation]; got != "1h forged" {
		t.Errorf("the annotation is %q", got)
	}
}

func TestDeletingASuspendedGitSync(t *testing.T) {
	for name, tt := range map[string]struct {
		policy string
		waits  bool
	}{
		"Orphan lets go at once":     {"Orphan", false},
		"Delete waits until the end": {"Delete", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTheatre(t)
			s.push("cm.yaml", configMap("settings", "one"))
			s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.DeletionPolicy = tt.policy })
			s.synced()
			s.suspend(time.Hour)
			gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: s.sync.Name}}
			must(t, s.client.Delete(t.Context(), gs))
			for range 3 {
				_, err := s.loop.Reconcile(t.Context(), reconcile.Request{NamespacedName: s.sync})
				must(t, err)
			}
			err := s.client.Get(t.Context(), s.sync, gs)
			if tt.waits != (err == nil) {
				t.Errorf("the GitSync: %v, want it to wait: %v", err, tt.waits)
			}
			if s.configMap("settings").DeletionTimestamp != nil {
				t.Error("its object is being deleted")
			}
			if c := condition(gs, "Ready"); tt.waits && (c.Reason != "Deleting" || !strings.Contains(c.Message, "its objects are deleted then")) {
				t.Errorf("Ready = %+v, want it to say what is waited for", c)
			}
			if tt.waits {
				s.suspended.set(s.sync, suspend.Suspension{})
				s.await("it is gone", func() bool {
					_, err := s.loop.Reconcile(t.Context(), reconcile.Request{NamespacedName: s.sync})
					must(t, err)
					return apierrors.IsNotFound(s.client.Get(t.Context(), s.sync, gs))
				})
			}
		})
	}
}

func TestASuspensionKeepsNoNamespace(t *testing.T) {
	t.Parallel()
	s := newTheatre(t)
	team := s.tenant("a")
	team.account("create", "patch", "delete")
	team.push("a/cm.yaml", configMap("settings", "one"))
	team.edit(func(gs *v1alpha1.GitSync) {
		gs.Spec.DeletionPolicy, gs.Spec.ServiceAccountName = "Delete", "deployer"
	})
	team.ready()
	team.suspend(time.Hour)
	must(t, s.client.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team.sync.Namespace}}))
	team.await("the GitSync is gone with its namespace", func() bool {
		gs := new(v1alpha1.GitSync)
		if err := s.client.Get(t.Context(), team.sync, gs); err == nil && gs.DeletionTimestamp.IsZero() {
			must(t, s.client.Delete(t.Context(), gs))
		}
		_, err := s.loop.Reconcile(t.Context(), reconcile.Request{NamespacedName: team.sync})
		must(t, err)
		return apierrors.IsNotFound(s.client.Get(t.Context(), team.sync, gs))
	})
}
