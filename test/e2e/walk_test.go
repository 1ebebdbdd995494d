// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// walk is a repository of its own with a GitSync that follows it.
type walk struct {
	*testing.T
	repo string
	key  types.NamespacedName
}

// newWalk pushes files and has them followed.
func newWalk(t *testing.T, name string, files map[string]string, spec v1alpha1.GitSyncSpec) *walk {
	t.Helper()
	w := &walk{T: t, repo: filepath.Join(t.TempDir(), "repo"), key: types.NamespacedName{Namespace: "mainstay-system", Name: name}}
	world.Must(t, os.MkdirAll(w.repo, 0o755))
	w.git("init", "-q", "-b", "main")
	w.push(files)
	spec.Source.URL, spec.Source.Ref = "file://"+w.repo, v1alpha1.Ref{Branch: "main"}
	spec.Interval, spec.DeletionPolicy = &metav1.Duration{Duration: time.Second}, "Delete"
	spec.Enforcement.Mode = v1alpha1.ModeEnforce
	gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: w.key.Namespace, Name: name}, Spec: spec}
	world.Must(t, shared.Client.Create(t.Context(), gs))
	t.Cleanup(func() {
		world.Must(t, client.IgnoreNotFound(shared.Client.Delete(world.Lasting(t), gs)))
	})
	return w
}

func (w *walk) git(args ...string) string {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), "git", append([]string{"-C", w.repo, "-c", "user.name=Cy", "-c", "user.email=cy@shop.example"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *walk) push(files map[string]string) {
	w.Helper()
	for name, text := range files {
		file := filepath.Join(w.repo, name)
		world.Must(w.T, os.MkdirAll(filepath.Dir(file), 0o755))
		world.Must(w.T, os.WriteFile(file, []byte(text), 0o600))
	}
	w.git("add", "-A")
	w.git("commit", "-q", "-m", w.Name())
}

// applied waits until the clone's head, or what ref names, is applied.
func (w *walk) applied(ref string) {
	w.Helper()
	commit := w.git("rev-parse", ref+"^{commit}")
	w.ready("the newest commit is applied", func(gs *v1alpha1.GitSync, c metav1.Condition) bool {
		return c.Status == metav1.ConditionTrue && strings.HasSuffix(gs.Status.LastAppliedRevision, commit)
	})
}

// fails waits until Ready says why not.
func (w *walk) fails(reason string, words ...string) {
	w.Helper()
	w.ready("Ready says "+reason, func(_ *v1alpha1.GitSync, c metav1.Condition) bool {
		for _, word := range words {
			if !strings.Contains(c.Message, word) {
				return false
			}
		}
		return c.Status == metav1.ConditionFalse && c.Reason == reason
	})
}

func (w *walk) ready(what string, is func(*v1alpha1.GitSync, metav1.Condition) bool) {
	w.Helper()
	shared.Await(w.T, what, func() (bool, string) {
		gs := new(v1alpha1.GitSync)
		world.Must(w.T, shared.Client.Get(w.Context(), w.key, gs))
		c := meta.FindStatusCondition(gs.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil {
			return false, "nothing is said yet"
		}
		return is(gs, *c), gs.Status.LastAppliedRevision + ": " + c.Reason + ": " + c.Message
	})
}

// refused has alice change a field, which names the place of it.
func (w *walk) refused(patch string, places ...string) {
	w.Helper()
	shared.Await(w.T, "alice is refused", func() (bool, string) {
		out, err := shared.Kubectl(w.T, "alice", "", "-n", w.key.Name, "patch", "configmap", "settings", "--type=merge", "-p", patch)
		for _, place := range places {
			if !strings.Contains(out, place) {
				return false, "it does not say " + place + ": " + out
			}
		}
		return err != nil, out
	})
}

// is checks a value of the ConfigMap.
func (w *walk) is(key, want string) {
	w.Helper()
	out, err := shared.Kubectl(w.T, "admin", "", "-n", w.key.Name, "get", "configmap", "settings", "-o", "jsonpath={.data."+key+"}")
	if err != nil || out != want {
		w.Errorf("%s is %q, want %q", key, out, want)
	}
}

const walked = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n"

func TestAKustomizationFromPushToRollback(t *testing.T) {
	const overlay = "namespace: walk-kustomize\nresources: [../../base, ns.yaml]\npatches:\n- path: color.yaml\n"
	w := newWalk(t, "walk-kustomize", map[string]string{
		"base/kustomization.yaml":          "resources: [settings.yaml]\n",
		"base/settings.yaml":               walked + "  color: red\n  size: small\n",
		"overlays/prod/kustomization.yaml": overlay,
		"overlays/prod/ns.yaml":            "apiVersion: v1\nkind: Namespace\nmetadata: {name: walk-kustomize}\n",
		"overlays/prod/color.yaml":         walked + "  color: blue\n",
	}, v1alpha1.GitSyncSpec{Source: v1alpha1.Source{Path: "overlays/prod"}})
	w.applied("HEAD")
	w.is("color", "blue")
	w.refused(`{"data":{"color":"pink"}}`, "overlays/prod/color.yaml:6")
	w.refused(`{"data":{"size":"large"}}`, "base/settings.yaml:7")

	w.git("tag", "v1")
	w.push(map[string]string{"overlays/prod/kustomization.yaml": strings.Replace(overlay, "ns.yaml", "ns.yaml, missing.yaml", 1)})
	w.fails("RenderFailed", "overlays/prod/kustomization.yaml:2", "missing.yaml", "stays enforced")
	says(t, 1, []string{"RenderFailed", "overlays/prod/kustomization.yaml:2"}, "alice", "status", w.key.Name)
	w.refused(`{"data":{"color":"pink"}}`, "overlays/prod/color.yaml:6")

	w.git("revert", "--no-edit", "HEAD")
	w.applied("HEAD")
	w.push(map[string]string{"base/settings.yaml": walked + "  color: red\n  size: large\n"})
	w.applied("HEAD")
	w.is("size", "large")
	w.git("revert", "--no-edit", "HEAD")
	w.applied("HEAD")
	w.is("size", "small")

	pin := []byte(`{"spec":{"source":{"ref":{"branch":null,"tag":"v1"},"allowRewind":true}}}`)
	gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: w.key.Namespace, Name: w.key.Name}}
	world.Must(t, shared.Client.Patch(t.Context(), gs, client.RawPatch(types.MergePatchType, pin)))
	w.applied("v1")
	if !strings.HasPrefix(w.revision(), "v1@sha1:") {
		t.Errorf("the revision is %s, want that of the tag", w.revision())
	}
}

func (w *walk) revision() string {
	w.Helper()
	gs := new(v1alpha1.GitSync)
	world.Must(w.T, shared.Client.Get(w.Context(), w.key, gs))
	return gs.Status.LastAppliedRevision
}

func TestAChartFromPushToRollback(t *testing.T) {
	const template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  color: {{ .Values.color }}\n  release: {{ .Release.Name }}\n"
	values := v1alpha1.Helm{ReleaseName: "shop", ValuesFiles: []string{"prod.yaml"}}
	w := newWalk(t, "walk-helm", map[string]string{
		"chart/Chart.yaml":              "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
		"chart/values.yaml":             "color: red\n",
		"chart/prod.yaml":               "color: blue\n",
		"chart/templates/ns.yaml":       "apiVersion: v1\nkind: Namespace\nmetadata: {name: walk-helm}\n",
		"chart/templates/settings.yaml": template,
	}, v1alpha1.GitSyncSpec{
		Source: v1alpha1.Source{Path: "chart"}, TargetNamespace: "walk-helm",
		Render: v1alpha1.Render{Helm: &values},
	})
	w.applied("HEAD")
	w.is("color", "blue")
	w.is("release", "shop")
	w.refused(`{"data":{"color":"pink"}}`, "chart/templates/settings.yaml:6")

	w.push(map[string]string{"chart/templates/settings.yaml": strings.Replace(template, ".Values.color }}", ".Values.color }", 1)})
	w.fails("RenderFailed", "chart/templates/settings.yaml:", "stays enforced")
	w.refused(`{"data":{"color":"pink"}}`, "chart/templates/settings.yaml:6")
	w.git("revert", "--no-edit", "HEAD")
	w.applied("HEAD")

	w.push(map[string]string{"chart/prod.yaml": "color: green\n"})
	w.applied("HEAD")
	w.is("color", "green")
}
