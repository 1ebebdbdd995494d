// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// ends deletes the GitSync and waits until it is gone.
func (s *theatre) ends() {
	s.t.Helper()
	gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: s.sync.Name}}
	must(s.t, s.client.Delete(s.t.Context(), gs))
	s.await("the GitSync is gone", func() bool {
		_, err := s.loop.Reconcile(s.t.Context(), reconcile.Request{NamespacedName: s.sync})
		must(s.t, err)
		return apierrors.IsNotFound(s.client.Get(s.t.Context(), s.sync, gs))
	})
}

// entries are those of the GitSync's inventory.
func (s *theatre) entries() []*ownership.Entry {
	return slices.Collect(maps.Values(s.loop.Index.Entries(s.sync)))
}

func (s *theatre) deletes() {
	s.t.Helper()
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.DeletionPolicy = "Delete" })
}

func TestAGitSyncThatIsDeletedEnds(t *testing.T) {
	t.Run("and takes nothing that other GitSyncs declare", func(t *testing.T) {
		s := newTheatre(t)
		s.push("a/cm.yaml", configMap("settings", "one"))
		s.push("a/own.yaml", configMap("own", "one"))
		s.push("b/cm.yaml", configMap("settings", "one"))
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "a" })
		s.deletes()
		s.synced()
		till := s.another(s.sync.Namespace, "till")
		till.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "b" })
		till.fails("Conflict")
		uid := s.configMap("settings").UID

		gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: s.sync.Name}}
		must(t, s.client.Delete(t.Context(), gs))
		s.await("the GitSync is gone", func() bool {
			_, err := s.loop.Reconcile(t.Context(), reconcile.Request{NamespacedName: s.sync})
			must(t, err)
			till.loop.pass(till.sync).notBefore = time.Time{}
			till.look()
			return apierrors.IsNotFound(s.client.Get(t.Context(), s.sync, gs))
		})
		if got := s.configMap("settings").UID; got != uid || !s.held("settings") {
			t.Errorf("settings is the same object: %t, held: %t", got == uid, s.held("settings"))
		}
		if err := s.get("own", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
			t.Errorf("own: %v, want it deleted", err)
		}
	})
	t.Run("and keeps what is to be kept", func(t *testing.T) {
		s := newTheatre(t)
		s.push("kept.yaml", strings.Replace(configMap("kept", "one"), "name: kept,", `name: kept, annotations: {"helm.sh/resource-policy": keep},`, 1))
		s.deletes()
		s.synced()
		s.ends()
		kept := s.configMap("kept")
		if _, labelled := kept.Labels[v1alpha1.SyncLabel]; labelled {
			t.Errorf("labels = %v", kept.Labels)
		}
		for _, m := range kept.ManagedFields {
			if m.Manager == v1alpha1.FieldManager {
				t.Errorf("Mainstay owns %s still", m.FieldsV1)
			}
		}
	})
	t.Run("while a finalizer of somebody else keeps an object, saying so, until its time is up", func(t *testing.T) {
		s := newTheatre(t)
		s.push("stuck.yaml", configMap("stuck", "one"))
		s.deletes()
		s.synced()
		s.patch(s.configMap("stuck"), "some-controller", `{"metadata":{"finalizers":["example.org/x"]}}`)
		t.Cleanup(func() {
			cm := new(corev1.ConfigMap)
			ctx := context.WithoutCancel(t.Context())
			if s.client.Get(ctx, types.NamespacedName{Namespace: s.sync.Namespace, Name: "stuck"}, cm) == nil {
				cm.Finalizers = nil
				must(t, s.client.Update(ctx, cm))
			}
		})
		gs := new(v1alpha1.GitSync)
		must(t, s.client.Get(t.Context(), s.sync, gs))
		must(t, s.client.Delete(t.Context(), gs))
		gs = s.look()
		if c := condition(gs, "Ready"); c.Reason != "Deleting" || !strings.Contains(c.Message, "still there: ConfigMap "+s.sync.Namespace+"/stuck; waited for until") {
			t.Errorf("Ready = %+v", c)
		}
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Timeout = &metav1.Duration{Duration: time.Second} })
		s.await("it is gone", func() bool {
			_, err := s.loop.Reconcile(t.Context(), reconcile.Request{NamespacedName: s.sync})
			must(t, err)
			return apierrors.IsNotFound(s.client.Get(t.Context(), s.sync, gs))
		})
	})
	t.Run("without git, and though its account may do nothing", func(t *testing.T) {
		s := newTheatre(t)
		for _, name := range []string{"settings", "a", "b", "c", "d"} {
			s.push(name+".yaml", configMap(name, "one"))
		}
		s.deletes()
		s.synced()
		known, _ := s.loop.Index.Sync(s.sync)
		sync := *known
		sync.ServiceAccount = "system:serviceaccount:" + s.sync.Namespace + ":gone"
		must(t, s.loop.Inventory.Save(t.Context(), &sync, s.entries()))
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.URL = "file:///nowhere" })
		gs := new(v1alpha1.GitSync)
		must(t, s.client.Get(t.Context(), s.sync, gs))
		must(t, s.client.Delete(t.Context(), gs))
		said := condition(s.look(), "Ready").Message
		if again := condition(s.look(), "Ready").Message; !strings.Contains(said, "bind a role") || again != said {
			t.Errorf("it says %q and then %q, want the same again", said, again)
		}
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Timeout = &metav1.Duration{Duration: time.Second} })
		s.ends()
		if got := s.configMap("settings").Data["key"]; got != "one" {
			t.Errorf("key = %q: it was touched by an account that may not", got)
		}
	})
}

func TestOrphanTakesEveryMarkOff(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	s.ends()
	cm := s.configMap("settings")
	if len(cm.Labels) > 0 || cm.Data["key"] != "one" {
		t.Errorf("labels = %v, data = %v", cm.Labels, cm.Data)
	}
	for _, m := range cm.ManagedFields {
		if m.Manager == v1alpha1.FieldManager {
			t.Errorf("Mainstay owns %s still", m.FieldsV1)
		}
	}
}
