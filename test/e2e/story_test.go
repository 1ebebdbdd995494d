// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/demo"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

func TestTheDemoTellsItsStory(t *testing.T) {
	var story bytes.Buffer
	result, err := demo.Run(t.Context(), demo.Options{
		Dir: filepath.Join(t.TempDir(), "demo"), Controller: shared.Options.Controller, Story: &story, Progress: os.Stderr,
	})
	if err != nil || !result.OK {
		t.Fatalf("%v\n%s", err, story.String())
	}
	if len(result.Steps) < 8 || result.Summary == nil {
		t.Errorf("%d steps, summary %v", len(result.Steps), result.Summary)
	}
}

// second is a GitSync that follows a repository of its own, with one ConfigMap.
func second(t *testing.T, name, deletionPolicy string) (namespace string) {
	t.Helper()
	namespace = "second-" + name
	world.Must(t, shared.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	repo := filepath.Join(t.TempDir(), "repo")
	world.Must(t, os.MkdirAll(repo, 0o755))
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: " + namespace + "}\ndata: {key: git}\n"
	world.Must(t, os.WriteFile(filepath.Join(repo, "settings.yaml"), []byte(manifest), 0o600))
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"commit", "-q", "-m", "settings"}} {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=Cy", "-c", "user.email=cy@shop.example"}, args...)...)
		cmd.Dir = repo
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	world.Must(t, shared.Client.Create(t.Context(), &v1alpha1.GitSync{
		ObjectMeta: metav1.ObjectMeta{Namespace: "mainstay-system", Name: name},
		Spec: v1alpha1.GitSyncSpec{
			Source:         v1alpha1.Source{URL: "file://" + repo, Ref: v1alpha1.Ref{Branch: "main"}},
			DeletionPolicy: deletionPolicy,
			Enforcement:    v1alpha1.Enforcement{Mode: v1alpha1.ModeEnforce},
		},
	}))
	shared.Await(t, "alice may not change the ConfigMap", func() (bool, string) {
		out, err := overwrite(t, namespace)
		return err != nil && strings.Contains(out, "denied the request"), out
	})
	return namespace
}

func overwrite(t *testing.T, namespace string) (string, error) {
	t.Helper()
	return shared.Kubectl(t, "alice", "", "-n", namespace, "patch", "configmap", "settings", "--type=merge", `-p={"data":{"key":"alice"}}`)
}

func TestDeletingAGitSyncLetsItsObjectsGo(t *testing.T) {
	namespace := second(t, "orphaning", "Orphan")
	out, err := shared.Kubectl(t, "admin", "", "-n", "mainstay-system", "delete", "gitsync", "orphaning", "--timeout=30s")
	if err != nil {
		t.Fatal(out)
	}
	if out, err := overwrite(t, namespace); err != nil {
		t.Errorf("the object is still held: %s", out)
	}
	var cm corev1.ConfigMap
	world.Must(t, shared.Client.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: "settings"}, &cm))
	if cm.Data["key"] != "alice" || cm.Labels[v1alpha1.SyncLabel] != "" {
		t.Errorf("data %v, labels %v; want alice's value, and no ownership label", cm.Data, cm.Labels)
	}
}

func TestDeletingAGitSyncDeletesItsObjectsWhereItSaysSo(t *testing.T) {
	namespace := second(t, "deleting", "Delete")
	out, err := shared.Kubectl(t, "admin", "", "-n", "mainstay-system", "delete", "gitsync", "deleting", "--timeout=30s")
	if err != nil {
		t.Fatal(out)
	}
	var cm corev1.ConfigMap
	if err := shared.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "settings"}, &cm); !apierrors.IsNotFound(err) {
		t.Errorf("get: %v, want it gone", err)
	}
}
