// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// A repository may declare the GitSyncs of others: they are held like any
// object, and work like any GitSync.
func TestAGitSyncThatGitDeclares(t *testing.T) {
	const ns = "nested"
	world.Must(t, shared.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}))
	root := follow(t, client.ObjectKey{Namespace: system, Name: "root"}, func(gs *v1alpha1.GitSync) {
		gs.Spec.Source.Path, gs.Spec.Enforcement.Mode = "root", v1alpha1.ModeEnforce
	})
	for _, folder := range []string{"root", "leaf"} {
		world.Must(t, os.Mkdir(filepath.Join(root.dir, folder), 0o755))
	}
	root.push(t, "leaf/cm.yaml", manifestOf(ns, "settings", "git"))
	root.push(t, "root/cm.yaml", manifestOf(ns, "more", "git"))
	root.push(t, "root/leaf.yaml", fmt.Sprintf(`apiVersion: mainstay.dev/v1alpha1
kind: GitSync
metadata: {name: leaf, namespace: %s}
spec:
  source: {url: "file://%s", ref: {branch: main}, path: leaf}
  interval: 1s
  enforcement: {mode: Enforce}
`, system, root.dir))
	root.is(t, metav1.ConditionTrue, "Applied", "")
	leaf := &repository{dir: root.dir, sync: client.ObjectKey{Namespace: system, Name: "leaf"}}
	gs := leaf.is(t, metav1.ConditionTrue, "Applied", "")
	if len(gs.Finalizers) != 1 || gs.Finalizers[0] != v1alpha1.GitSyncFinalizer || gs.Labels[v1alpha1.SyncLabel] == "" {
		t.Errorf("finalizers %v, labels %v", gs.Finalizers, gs.Labels)
	}

	for name, args := range map[string][]string{
		"its object is held":           {"-n", ns, "patch", "configmap", "settings", "--type=merge", `-p={"data":{"key":"alice"}}`},
		"its spec is held":             {"-n", system, "patch", "gitsync", "leaf", "--type=merge", `-p={"spec":{"contact":"#alice"}}`},
		"its mode is held":             {"-n", system, "patch", "gitsync", "leaf", "--type=merge", `-p={"spec":{"enforcement":{"mode":"Audit"}}}`},
		"Mainstay's finalizer stays":   {"-n", system, "patch", "gitsync", "leaf", "--type=merge", `-p={"metadata":{"finalizers":null}}`},
		"and no other takes its place": {"-n", system, "patch", "gitsync", "leaf", "--type=merge", `-p={"metadata":{"finalizers":["example.org/x"]}}`},
		"it is not deleted":            {"-n", system, "delete", "gitsync", "leaf", "--wait=false"},
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := shared.Kubectl(t, "alice", "", args...); err == nil || !strings.Contains(out, "denied the request") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	if out, err := shared.Kubectl(t, "alice", "", "-n", system, "annotate", "gitsync", "leaf", v1alpha1.RequestedAtAnnotation+"=now"); err != nil {
		t.Errorf("asked to look now: %s", out)
	}
	root.push(t, "root/leaf.yaml", "")
	root.is(t, metav1.ConditionTrue, "Applied", "")
	shared.Await(t, "the GitSync is gone", func() (bool, string) {
		err := shared.Client.Get(t.Context(), leaf.sync, gs)
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
	var cm corev1.ConfigMap
	world.Must(t, shared.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "settings"}, &cm))
	if cm.Labels[v1alpha1.SyncLabel] != "" {
		t.Errorf("labels = %v", cm.Labels)
	}
	if out, err := shared.Kubectl(t, "alice", "", "-n", ns, "patch", "configmap", "settings", "--type=merge", `-p={"data":{"key":"alice"}}`); err != nil {
		t.Errorf("its object is held still: %s", out)
	}
}
