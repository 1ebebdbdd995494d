// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// patch runs breakglass patch in the clone.
func (w *walk) patch(name string) (patch, said string, status int) {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), shared.Program, "breakglass", "patch", name, "--context", "alice", "--clone", w.repo)
	cmd.Env = append(os.Environ(), shared.State.Environment(os.Getenv("PATH"))...)
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		w.Fatal(err)
	}
	return out.String(), progress.String(), cmd.ProcessState.ExitCode()
}

// edited gives alice an emergency grant, under which she changes the ConfigMap.
func (w *walk) edited(name, duration string) {
	w.Helper()
	w.refused(`{"data":{"color":"pink"}}`)
	spec := fmt.Sprintf(`"duration":%q,"emergency":true,"atEnd":"Revert","scope":{"namespaces":[%q]}`, duration, w.key.Name)
	if out, err := asked(w.T, "alice", name, spec); err != nil {
		w.Fatal(out)
	}
	permitted(w.T, "alice may change the ConfigMap", func() (string, error) {
		return shared.Kubectl(w.T, "alice", "", "-n", w.key.Name, "patch", "configmap", "settings", "--type=merge", "-p", `{"data":{"color":"pink"}}`)
	})
	shared.Await(w.T, "the change is listed", func() (bool, string) {
		s := breakGlass(w.T, name).Status
		return len(s.AwaitingGit) == 1, fmt.Sprintf("%+v", s)
	})
}

// A grant is extended, and what was changed under it comes into a kustomization:
// nothing goes back in between.
func TestWhatAGrantChangedComesIntoAKustomization(t *testing.T) {
	const name = "patch-kustomize"
	w := newWalk(t, name, map[string]string{
		"base/kustomization.yaml":          "resources: [settings.yaml]\n",
		"base/settings.yaml":               walked + "  color: red\n",
		"overlays/prod/kustomization.yaml": "namespace: " + name + "\nresources: [../../base, ns.yaml]\n",
		"overlays/prod/ns.yaml":            "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n",
	}, v1alpha1.GitSyncSpec{Source: v1alpha1.Source{Path: "overlays/prod"}})
	w.applied("HEAD")
	w.edited(name, "20s")
	out, status := bgCommand(t, "alice", "extend", name, "--for", "1h", "--reason", "INC-7: still looking", "--emergency")
	more := regexp.MustCompile(name + `-\w+`).FindString(out)
	if status != 0 || more == "" {
		t.Fatalf("extending: status %d, %s", status, out)
	}
	phase(t, name, v1alpha1.PhaseEnded)
	w.is("color", "pink")

	patch, said, status := w.patch(more)
	if status != 0 || said != "" {
		t.Fatalf("patch: status %d, %s", status, said)
	}
	apply := exec.CommandContext(t.Context(), "git", "apply", "-")
	apply.Dir, apply.Stdin = w.repo, strings.NewReader(patch)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("git apply: %v: %s\n%s", err, out, patch)
	}
	w.git("add", "-A")
	w.git("commit", "-qm", "settings: the color of the night")
	w.applied("HEAD")
	shared.Await(t, "git has adopted it", func() (bool, string) {
		s := breakGlass(t, name).Status
		return len(s.AwaitingGit) == 0 && len(s.Settled) == 1 && s.Settled[0].How == v1alpha1.SettledInGit, fmt.Sprintf("%+v", s)
	})
	if out, status := bgCommand(t, "alice", "revoke", more); status != 0 {
		t.Errorf("revoking what is no longer needed: %s", out)
	}
	w.is("color", "pink")
}

// A chart's values are for people: what they have to set is listed.
func TestWhatAGrantChangedOfAChartIsListed(t *testing.T) {
	const name = "patch-helm"
	w := newWalk(t, name, map[string]string{
		"chart/Chart.yaml":              "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
		"chart/values.yaml":             "color: red\n",
		"chart/templates/ns.yaml":       "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n",
		"chart/templates/settings.yaml": walked + "  color: {{ .Values.color }}\n",
	}, v1alpha1.GitSyncSpec{Source: v1alpha1.Source{Path: "chart"}, TargetNamespace: name})
	w.applied("HEAD")
	w.edited(name, "1h")
	patch, said, status := w.patch(name)
	want := `ConfigMap ` + name + `/settings data.color "pink": a chart makes it: set the values from which chart/templates/settings.yaml makes this field`
	if status != 1 || patch != "" || !strings.Contains(said, want) {
		t.Errorf("status %d, %q, %q, want %q", status, patch, said, want)
	}
	world.Must(t, shared.Client.Delete(t.Context(), breakGlass(t, name)))
	shared.Await(t, "git's value is back", func() (bool, string) {
		out, err := shared.Kubectl(t, "admin", "", "-n", name, "get", "configmap", "settings", "-o", "jsonpath={.data.color}")
		return err == nil && out == "red", out
	})
}
