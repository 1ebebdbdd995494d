// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package edit

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

const manifest = `# The shop's settings.
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {mode: "fast"} # and nothing else
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # in every cluster
spec:
  replicas: 2 # enough
  template:
    spec:
      containers:
      - name: web
        image: 'nginx:1.27'
        args: [--fast, "--loud"]
        resources:
          limits: {cpu: "1"}
      # The sidecar comes last.
      - image: proxy:3
        name: proxy
  paused: false`

func TestAFieldIsChangedAndNothingElse(t *testing.T) {
	web := Object{"Deployment", "shop", "web"}
	const container = "spec.template.spec.containers[name=web]"
	for name, tt := range map[string]struct {
		object      Object
		path, value string
		old, now    string // what changes of the text
		fail        string
	}{
		"a number":                          {web, "spec.replicas", "5", "replicas: 2 # enough", "replicas: 5 # enough", ""},
		"a quoted string":                   {web, container + ".image", `"nginx:1.28"`, "'nginx:1.27'", "'nginx:1.28'", ""},
		"an element that comes last":        {web, "spec.template.spec.containers[name=proxy].image", `"proxy:4"`, "image: proxy:3", "image: proxy:4", ""},
		"in a flow mapping":                 {Object{"ConfigMap", "shop", "settings"}, "data.mode", `"slow"`, `mode: "fast"`, `mode: "slow"`, ""},
		"a key more in one":                 {Object{"ConfigMap", "shop", "settings"}, "data.size", `"9"`, `"fast"}`, `"fast", size: "9"}`, ""},
		"a string that looks like a number": {web, container + ".resources.limits.memory", `"1"`, `{cpu: "1"}`, `{cpu: "1", memory: "1"}`, ""},
		"a whole list":                      {web, container + ".args", `["--slow","x y"]`, "args: [--fast, \"--loud\"]", "args:\n        - \"--slow\"\n        - \"x y\"", ""},
		"a field that is missing":           {web, "spec.minReadySeconds", "10", "  paused: false", "  paused: false\n  minReadySeconds: 10", ""},
		"fields that are missing":           {web, `metadata.annotations["a.b/c"]`, `"yes"`, "every cluster\n", "every cluster\n  annotations:\n    a.b/c: \"yes\"\n", ""},
		"an element that is missing":        {web, "spec.template.spec.containers[name=log].image", `"log:1"`, "        name: proxy\n", "        name: proxy\n      - name: log\n        image: log:1\n", ""},
		"a field that goes":                 {web, "spec.replicas", "", "  replicas: 2 # enough\n", "", ""},
		"what is not there goes":            {web, "spec.minReadySeconds", "", "", "", ""},
		"another object":                    {Object{"Deployment", "shop", "api"}, "spec.replicas", "5", "", "", "0 manifests"},
		"a path through a string":           {web, "spec.paused.x", "5", "", "", "spec.paused is no object"},
	} {
		t.Run(name, func(t *testing.T) {
			path, err := fieldset.Parse(tt.path)
			if err != nil {
				t.Fatal(err)
			}
			var value []byte
			if tt.value != "" {
				value = []byte(tt.value)
			}
			got, err := Set([]byte(manifest), tt.object, path, value)
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Errorf("error %v, want %q", err, tt.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := manifest
			if tt.old != "" {
				want = strings.Replace(manifest, tt.old, tt.now, 1)
			}
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Errorf("Set (-want +got):\n%s", diff)
			}
			applies(t, manifest, string(got))
		})
	}
}

// applies tries the patch with git.
func applies(t *testing.T, before, after string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "web.yaml")
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	patch := Unified("web.yaml", []byte(before), []byte(after))
	if before == after {
		if patch != "" {
			t.Errorf("a patch of nothing: %s", patch)
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), "git", "apply", "--verbose", "-")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(patch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git apply: %v\n%s\n%s", err, out, patch)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(after, string(got)); diff != "" {
		t.Errorf("what git made of it (-want +got):\n%s", diff)
	}
}

func TestAnEntryOfAKustomization(t *testing.T) {
	for name, tt := range map[string]struct{ before, after string }{
		"the first": {"resources: [web.yaml]\n", "resources: [web.yaml]\npatches:\n- path: x.yaml\n"},
		"one more":  {"patches:\n  - path: a.yaml # old\nresources:\n- web.yaml\n", "patches:\n  - path: a.yaml # old\n  - path: x.yaml\nresources:\n- web.yaml\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Append([]byte(tt.before), "patches", []byte(`{"path":"x.yaml"}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.after, string(got)); diff != "" {
				t.Errorf("Append (-want +got):\n%s", diff)
			}
		})
	}
}
