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
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func (s *theatre) mode(mode v1alpha1.Mode) {
	s.t.Helper()
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Enforcement.Mode = mode })
}

// byHand creates what a manifest says, as kubectl create does.
func (s *theatre) byHand(manifest string) {
	s.t.Helper()
	object := &unstructured.Unstructured{}
	must(s.t, yaml.Unmarshal([]byte(strings.ReplaceAll(manifest, "NS", s.sync.Namespace)), &object.Object))
	must(s.t, s.client.Create(s.t.Context(), object, client.FieldOwner("kubectl-create")))
}

// observes looks once and wants this finding.
func (s *theatre) observes(message string) *v1alpha1.GitSync {
	s.t.Helper()
	s.loop.pass(s.sync).notBefore = time.Time{}
	gs := s.look()
	if c := condition(gs, "Ready"); c.Status != metav1.ConditionTrue || c.Reason != "Observing" || c.Message != message {
		s.t.Fatalf("Ready = %+v, want Observing: %s", c, message)
	}
	return gs
}

func (s *theatre) again() {
	s.t.Helper()
	s.edit(func(gs *v1alpha1.GitSync) {
		gs.Annotations = map[string]string{v1alpha1.RequestedAtAnnotation: time.Now().String()}
	})
}

func (s *theatre) entry(group, kind, name string) *ownership.Entry {
	s.t.Helper()
	r, ok := s.loop.Index.Lookup(ownership.ID{Group: group, Kind: kind, Namespace: s.sync.Namespace, Name: name})
	if !ok {
		s.t.Fatalf("%s %s is not declared", kind, name)
	}
	return r.Entry
}

func TestObserveWritesNothing(t *testing.T) {
	s := newTheatre(t)
	s.byHand(web)
	s.byHand(configMap("same", "one"))
	s.byHand(configMap("settings", "mine"))
	s.mode(v1alpha1.ModeObserve)
	s.push("web.yaml", web)
	s.push("cm.yaml", configMap("same", "one")+"---\n"+configMap("settings", "one")+"---\n"+configMap("new", "one"))
	s.push("far.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-far}\n---\n"+
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: far, namespace: NS-far}\n---\n"+
		"apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: w, namespace: NS}\n")
	marks := func() [3]string {
		return [3]string{s.web().ResourceVersion, s.configMap("same").ResourceVersion, s.configMap("settings").ResourceVersion}
	}
	before := marks()
	gs := s.observes("7 objects: 2 as git says, 1 would change, 3 would be created, 1 of a kind that is not installed")
	untouched := func(t *testing.T) {
		t.Helper()
		if got := marks(); got != before {
			t.Errorf("resource versions %v, want %v", got, before)
		}
		for _, name := range []string{"same", "settings"} {
			cm := s.configMap(name)
			for _, m := range cm.ManagedFields {
				if m.Manager == v1alpha1.FieldManager {
					t.Errorf("%s was written", name)
				}
			}
			if len(cm.Labels) > 0 {
				t.Errorf("%s has labels %v", name, cm.Labels)
			}
		}
		if err := s.get("new", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
			t.Errorf("new: %v, want it not to be there", err)
		}
	}
	untouched(t)
	if gs.Status.LastAppliedRevision != "" || !strings.HasPrefix(gs.Status.LastAttemptedRevision, "main@sha1:") {
		t.Errorf("applied %q, attempted %q", gs.Status.LastAppliedRevision, gs.Status.LastAttemptedRevision)
	}
	if gs.Status.Drift.Current != 1 || gs.Status.Objects.Declared != 6 {
		t.Errorf("drift = %+v, objects = %+v", gs.Status.Drift, gs.Status.Objects)
	}
	if c := condition(gs, "Enforcing"); c.Status != metav1.ConditionFalse || c.Reason != "Observe" {
		t.Errorf("Enforcing = %+v", c)
	}
	t.Run("every replica can judge by it", func(t *testing.T) {
		e := s.entry("apps", "Deployment", "web")
		if e.Applied != nil || e.Attempted == nil || !strings.Contains(string(e.Attempted.Baseline), `"cpu":"1"`) || len(e.Attempted.Fields) == 0 {
			t.Errorf("entry = %+v, want a baseline, and nothing applied", e)
		}
		var inventory v1alpha1.Inventory
		must(t, s.client.Get(t.Context(), s.sync, &inventory))
		if inventory.Data.Objects != 6 || inventory.Data.Revision != "" {
			t.Errorf("inventory = %+v", inventory.Data)
		}
	})
	t.Run("another look at the same asks for nothing anew", func(t *testing.T) {
		known := s.entry("apps", "Deployment", "web")
		head, _ := s.loop.Index.Sync(s.sync)
		s.again()
		s.observes("7 objects: 2 as git says, 1 would change, 3 would be created, 1 of a kind that is not installed")
		if now, _ := s.loop.Index.Sync(s.sync); s.entry("apps", "Deployment", "web") != known || now.Generation != head.Generation {
			t.Error("the inventory was written anew")
		}
	})
	t.Run("what is live is looked at again after a while, or when asked", func(t *testing.T) {
		s.patch(s.configMap("same"), "kubectl-edit", `{"data":{"key":"mine"}}`)
		before = marks()
		s.observes("7 objects: 2 as git says, 1 would change, 3 would be created, 1 of a kind that is not installed")
		s.loop.pass(s.sync).observed.at = time.Now().Add(-observeInterval)
		s.observes("7 objects: 1 as git says, 2 would change, 3 would be created, 1 of a kind that is not installed")
		s.patch(s.configMap("same"), "kubectl-edit", `{"data":{"key":"one"}}`)
		before = marks()
		s.again()
		s.observes("7 objects: 2 as git says, 1 would change, 3 would be created, 1 of a kind that is not installed")
		untouched(t)
	})
	t.Run("the guard does not follow it", func(t *testing.T) {
		s.loop.guard.mu.Lock()
		defer s.loop.guard.mu.Unlock()
		if len(s.loop.guard.kind) > 0 {
			t.Errorf("it follows %v", s.loop.guard.kind)
		}
	})
	t.Run("an object that the API server would refuse is named", func(t *testing.T) {
		s.push("bad.yaml", strings.ReplaceAll(strings.ReplaceAll(web, "name: web, namespace", "name: bad, namespace"), "matchLabels: {app: web}", "matchLabels: {app: other}"))
		s.fails("PlanFailed", "bad.yaml:1", "selector")
		untouched(t)
		s.push("bad.yaml", "")
	})
	t.Run("what left git is forgotten, not deleted", func(*testing.T) {
		s.push("web.yaml", "")
		s.observes("6 objects: 1 as git says, 1 would change, 3 would be created, 1 of a kind that is not installed")
		s.web()
		s.push("web.yaml", web)
		s.observes("7 objects: 2 as git says, 1 would change, 3 would be created, 1 of a kind that is not installed")
	})
	t.Run("Enforce is a normal first sync", func(t *testing.T) {
		s.push("far.yaml", "")
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Adopt = v1alpha1.AdoptForce })
		s.mode(v1alpha1.ModeEnforce)
		s.synced()
		if got := s.configMap("settings"); got.Data["key"] != "one" || got.Labels[v1alpha1.SyncLabel] == "" {
			t.Errorf("settings = %v %v", got.Data, got.Labels)
		}
		if got := s.configMap("new").Data["key"]; got != "one" {
			t.Errorf("new: key = %q", got)
		}
		s.patch(s.web(), "kubectl-edit", `{"spec":{"replicas":7}}`)
		s.await("it is held", func() bool { return *s.web().Spec.Replicas == 2 })
	})
}

func TestWhatWasOnlyObservedIsNeverPruned(t *testing.T) {
	s := newTheatre(t)
	s.byHand(configMap("mine", "mine"))
	s.mode(v1alpha1.ModeObserve)
	s.push("cm.yaml", configMap("mine", "one"))
	s.push("other.yaml", configMap("other", "one"))
	s.observes("2 objects: 1 would change, 1 would be created")
	s.push("cm.yaml", "")
	s.mode(v1alpha1.ModeEnforce)
	s.synced()
	if got := s.configMap("mine"); got.Data["key"] != "mine" || !got.DeletionTimestamp.IsZero() {
		t.Errorf("mine = %v", got.Data)
	}
	if n := s.loop.Index.Len(); n != 1 {
		t.Errorf("%d objects are declared, want 1", n)
	}
}

func TestSwitchingToObserveStopsWriting(t *testing.T) {
	s := newTheatre(t)
	s.push("web.yaml", web)
	s.push("cm.yaml", configMap("settings", "one"))
	s.push("old.yaml", configMap("old", "one"))
	s.synced()
	applied := s.look().Status.LastAppliedRevision
	s.push("cm.yaml", configMap("settings", "two"))
	s.push("old.yaml", "")
	s.mode(v1alpha1.ModeObserve)
	gs := s.observes("3 objects: 1 as git says, 1 would change, 1 would be pruned")
	if gs.Status.LastAppliedRevision != applied {
		t.Errorf("applied %s, want it untouched", gs.Status.LastAppliedRevision)
	}
	if e := s.entry("", "ConfigMap", "settings"); e.Applied == nil || e.Attempted == nil {
		t.Errorf("settings = %+v, want what was applied to be kept", e)
	}
	s.patch(s.web(), "kubectl-edit", `{"spec":{"replicas":7}}`)
	must(t, s.client.Delete(t.Context(), s.configMap("old")))
	for _, e := range []*ownership.Entry{s.entry("apps", "Deployment", "web"), s.entry("", "ConfigMap", "old")} {
		if _, err := s.loop.guard.look(t.Context(), e.ID, seen{}, false); err != nil {
			t.Error(err)
		}
	}
	if got := *s.web().Spec.Replicas; got != 7 {
		t.Errorf("replicas = %d: it was reverted", got)
	}
	if err := s.get("old", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
		t.Errorf("old: %v: it was made anew", err)
	}
	t.Run("until it is Enforce again", func(*testing.T) {
		s.mode(v1alpha1.ModeEnforce)
		s.synced()
		s.await("git's values are back", func() bool {
			return *s.web().Spec.Replicas == 2 && s.configMap("settings").Data["key"] == "two"
		})
	})
	t.Run("deleting the GitSync writes nothing, either", func(t *testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) {
			gs.Spec.Enforcement.Mode, gs.Spec.DeletionPolicy = v1alpha1.ModeObserve, "Delete"
		})
		s.look()
		version := s.web().ResourceVersion
		gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: s.sync.Name}}
		must(t, s.client.Delete(t.Context(), gs))
		_, err := s.loop.Reconcile(t.Context(), reconcile.Request{NamespacedName: s.sync})
		must(t, err)
		if err := s.client.Get(t.Context(), s.sync, gs); !apierrors.IsNotFound(err) {
			t.Errorf("the GitSync: %v, want it gone", err)
		}
		if got := s.web().ResourceVersion; got != version {
			t.Error("web was written")
		}
	})
}

func TestAMilderModeNeedsNoGit(t *testing.T) {
	s := newTheatre(t)
	s.push("web.yaml", web)
	s.synced()
	url := ""
	s.edit(func(gs *v1alpha1.GitSync) {
		url, gs.Spec.Source.URL = gs.Spec.Source.URL, "file:///absent/shop.git"
		gs.Spec.Enforcement.Mode = v1alpha1.ModeAudit
	})
	s.fails("RepositoryNotFound")
	s.patch(s.web(), "kubectl-edit", `{"spec":{"replicas":7}}`)
	s.await("the drift is counted", func() bool { current, _ := s.drift(); return current == 1 })
	if got := *s.web().Spec.Replicas; got != 7 {
		t.Errorf("replicas = %d: it is enforced still", got)
	}
	t.Run("a stricter one comes with the next sync", func(*testing.T) {
		s.mode(v1alpha1.ModeEnforce)
		s.fails("RepositoryNotFound")
		if known, _ := s.loop.Index.Sync(s.sync); known.Mode != v1alpha1.ModeAudit {
			s.t.Errorf("mode = %s", known.Mode)
		}
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.URL = url })
		s.synced()
		s.await("git's value is back", func() bool { return *s.web().Spec.Replicas == 2 })
	})
}

func TestANewLeaderGoesOnObserving(t *testing.T) {
	s := newTheatre(t)
	s.byHand(configMap("settings", "mine"))
	s.mode(v1alpha1.ModeObserve)
	s.push("cm.yaml", configMap("settings", "one"))
	s.observes("1 object: 1 would change")
	head, _ := s.loop.Index.Sync(s.sync)
	s.loop.forget(s.sync) // what a new leader does not know
	s.observes("1 object: 1 would change")
	if now, _ := s.loop.Index.Sync(s.sync); now.Generation != head.Generation {
		t.Error("the inventory was written anew")
	}
}
