// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func TestAMadeUpLabelIsTakenOff(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	label := func(name string) string {
		return ownership.LabelValue(s.sync, ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: name})
	}
	for name, value := range map[string]string{"fits": label("fits"), "copy": label("settings")} {
		must(t, s.client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: s.sync.Namespace, Name: name, Labels: map[string]string{v1alpha1.SyncLabel: value, "mine": "yes"},
		}}))
	}
	s.await("the label that fits is gone", func() bool {
		_, there := s.configMap("fits").Labels[v1alpha1.SyncLabel]
		return !there
	})
	if got := s.configMap("fits").Labels["mine"]; got != "yes" {
		t.Errorf("another label is %q", got)
	}
	if got := s.configMap("copy").Labels[v1alpha1.SyncLabel]; got != label("settings") {
		t.Errorf("the copied label, which binds nobody, is %q", got)
	}
	if got := s.configMap("settings").Labels[v1alpha1.SyncLabel]; got != label("settings") {
		t.Errorf("the declared object's label is %q", got)
	}
}

func TestMainstaysAnnotationsAreNotTakenOver(t *testing.T) {
	s := newTheatre(t)
	must(t, s.client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.sync.Namespace, Name: "settings",
		Annotations: map[string]string{v1alpha1.ModeAnnotation: "Audit", "note": "stays"},
	}}))
	s.push("cm.yaml", configMap("settings", "one"))
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Adopt = v1alpha1.AdoptForce })
	s.synced()
	s.await("the annotation is gone", func() bool {
		_, there := s.configMap("settings").Annotations[v1alpha1.ModeAnnotation]
		return !there
	})
	if got := s.configMap("settings").Annotations["note"]; got != "stays" {
		t.Errorf("what was there besides is %q", got)
	}
}
