// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
)

// archive makes a file system of a txtar archive.
func archive(text string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for _, file := range txtar.Parse([]byte(text)).Files {
		fsys[file.Name] = &fstest.MapFile{Data: file.Data}
	}
	return fsys
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 1
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: side
        image: side:1
      - name: web
        image: nginx:1.0
        env:
        - name: LEVEL
          value: info
`

// overlay is a base and an overlay that changes it in every usual way.
const overlay = `
-- base/kustomization.yaml --
resources: [web.yaml]
-- base/web.yaml --
# the shop
` + deployment + `
-- overlays/prod/kustomization.yaml --
namespace: shop
namePrefix: prod-
resources:
- ../../base
- extra.yaml
images:
- name: nginx
  newTag: "2.0"
replicas:
- name: web
  count: 3
patches:
- path: level.yaml
- target: {kind: Deployment}
  patch: |
    - op: replace
      path: /spec/template/spec/containers/1/image
      value: side:2
configMapGenerator:
- name: settings
  literals:
  - COLOR=red
-- overlays/prod/level.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
      - name: web
        env:
        - name: LEVEL
          value: debug
-- overlays/prod/extra.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: one}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: another}
`

func TestKustomize(t *testing.T) {
	tests := map[string]struct {
		tree string
		path string
		want []string
	}{
		"a base beside its overlay, with a generator": {
			tree: overlay, path: "overlays/prod",
			want: []string{
				"base/web.yaml:2 Deployment.apps shop/prod-web",
				"overlays/prod/extra.yaml:1 ConfigMap shop/prod-one",
				"overlays/prod/extra.yaml:5 ConfigMap shop/prod-another",
				"overlays/prod/kustomization.yaml:20 ConfigMap shop/prod-settings-m87bfthtd5",
			},
		},
		"what no kustomization names is not read": {
			tree: "-- kustomization.yml --\nresources: [a.yaml]\n-- a.yaml --\n" + configMap("a") + "-- b.yaml --\nx\n",
			want: []string{"a.yaml:1 ConfigMap a"},
		},
		"files beside the kustomization's folder": {
			tree: "-- app/kustomization.yaml --\nresources: [../shared/a.yaml]\nconfigMapGenerator:\n- {name: b, files: [k=../shared/b.txt], options: {disableNameSuffixHash: true}}\n" +
				"-- shared/a.yaml --\n" + configMap("a") + "-- shared/b.txt --\nhello\n",
			path: "app",
			want: []string{"shared/a.yaml:1 ConfigMap a", "app/kustomization.yaml:3 ConfigMap b"},
		},
		"a component": {
			tree: "-- kustomization.yaml --\nresources: [a.yaml]\ncomponents: [part]\n-- a.yaml --\n" + configMap("a") +
				"-- part/kustomization.yaml --\napiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [b.yaml]\n-- part/b.yaml --\n" + configMap("b"),
			want: []string{"a.yaml:1 ConfigMap a", "part/b.yaml:1 ConfigMap b"},
		},
		"a built-in transformer in a file of its own": {
			tree: "-- kustomization.yaml --\nresources: [a.yaml]\ntransformers: [t.yaml]\n-- a.yaml --\n" + configMap("a") +
				"-- t.yaml --\napiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: p}\nprefix: x-\nfieldSpecs:\n- path: metadata/name\n",
			want: []string{"a.yaml:1 ConfigMap x-a"},
		},
		"sorted where the kustomization says so": {
			tree: "-- kustomization.yaml --\nresources: [a.yaml]\nsortOptions: {order: legacy}\n-- a.yaml --\n" + configMap("a") +
				"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n",
			want: []string{"a.yaml:5 Namespace n", "a.yaml:1 ConfigMap a"},
		},
		"local configuration is dropped": {
			tree: "-- kustomization.yaml --\nresources: [a.yaml]\n-- a.yaml --\n" + configMap("a") +
				"---\napiVersion: x/v1\nkind: X\nmetadata:\n  name: b\n  annotations: {config.kubernetes.io/local-config: \"true\"}\n",
			want: []string{"a.yaml:1 ConfigMap a"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			objects, err := render.Objects(t.Context(), archive(test.tree), render.Options{Path: test.path})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, places(objects)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, o := range objects {
				for key := range o.GetAnnotations() {
					if strings.Contains(key, "config.kubernetes.io") {
						t.Errorf("%s has the annotation %s", o.ID, key)
					}
				}
				if _, ok := o.Object["metadata"].(map[string]any)["annotations"]; ok {
					t.Errorf("%s has annotations that nobody wrote", o.ID)
				}
			}
		})
	}
}

func TestKustomizeKnowsWhoSetsAField(t *testing.T) {
	objects, err := render.Objects(t.Context(), archive(overlay), render.Options{Path: "overlays/prod"})
	if err != nil {
		t.Fatal(err)
	}
	for id, fields := range map[int]map[string]string{
		0: {
			"spec.replicas": "overlays/prod/kustomization.yaml:11",
			"spec.template.spec.containers[name=web].image":                 "overlays/prod/kustomization.yaml:8",
			"spec.template.spec.containers[name=side].image":                "overlays/prod/kustomization.yaml:18",
			"spec.template.spec.containers[name=web].env[name=LEVEL].value": "overlays/prod/level.yaml:11",
			"spec.template.spec.containers[name=web].env[name=LEVEL]":       "base/web.yaml:20",
			"spec.template.spec.containers[name=web].name":                  "base/web.yaml:17",
			"metadata.name":                 "overlays/prod/kustomization.yaml:2",
			"metadata.namespace":            "overlays/prod/kustomization.yaml:1",
			"spec.selector.matchLabels.app": "base/web.yaml:9",
			"spec.template.spec.containers[name=web].env[name=OTHER].nothing": "base/web.yaml:19",
		},
		3: {"data.COLOR": "overlays/prod/kustomization.yaml:22"},
	} {
		o := objects[id]
		desired, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		content := &ownership.Content{File: o.File, Line: o.Line, Lines: o.Lines(), Desired: desired}
		for text, want := range fields {
			path, err := fieldset.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			file, line := content.Place(path)
			if got := fmt.Sprintf("%s:%d", file, line); got != want {
				t.Errorf("%s is set at %s, want %s", text, got, want)
			}
		}
	}
}

func TestKustomizeRefuses(t *testing.T) {
	const localize = `, and nothing else is read: run "kustomize localize" in . and commit what it writes`
	with := func(line string) string {
		return "-- kustomization.yaml --\nresources:\n- a.yaml\n" + line + "\n-- a.yaml --\n" + configMap("a")
	}
	tests := map[string]struct{ tree, want string }{
		"a remote base": {
			tree: with("- https://github.com/org/repo//base?ref=v1"),
			want: "kustomization.yaml:3: https://github.com/org/repo//base?ref=v1 is not in this repository" + localize,
		},
		"a remote base in the short form of ssh": {
			tree: with("- git@example.org:org/repo.git"),
			want: "kustomization.yaml:3: git@example.org:org/repo.git is not in this repository" + localize,
		},
		"a remote base without a scheme": {
			tree: with("- GitHub.com/org/repo/base"),
			want: "kustomization.yaml:3: GitHub.com/org/repo/base is not in this repository" + localize,
		},
		"a remote base of a base": {
			tree: "-- kustomization.yaml --\nresources: [base]\n-- base/kustomization.yaml --\nresources: ['HTTPS://example.org/a.yaml']\n",
			want: `base/kustomization.yaml:1: HTTPS://example.org/a.yaml is not in this repository, and nothing else is read: run "kustomize localize" in base and commit what it writes`,
		},
		"a remote patch": {
			tree: with("patches:\n- path: https://example.org/p.yaml"),
			want: "kustomization.yaml:4: https://example.org/p.yaml is not in this repository" + localize,
		},
		"a remote file in a generator": {
			tree: with("configMapGenerator:\n- name: c\n  files:\n  - key=https://example.org/k"),
			want: "kustomization.yaml:6: key=https://example.org/k is not in this repository" + localize,
		},
		"a remote file in a key of odd letters": {
			tree: with("PATCHES:\n- path: https://example.org/p.yaml"),
			want: "kustomization.yaml:4: https://example.org/p.yaml is not in this repository" + localize,
		},
		"a remote schema": {
			tree: with("openapi:\n  path: http://example.org/schema.json"),
			want: "kustomization.yaml:4: http://example.org/schema.json is not in this repository" + localize,
		},
		"a remote file in a built-in generator": {
			tree: with("generators:\n- g.yaml\n-- g.yaml --\napiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: g}\nfiles: ['k=https://example.org/k']"),
			want: "g.yaml:1: ConfigMapGenerator names what is not in this repository, and nothing else is read: commit it, and name the file",
		},
		"a chart": {
			tree: with("helmCharts:\n- name: redis"),
			want: `kustomization.yaml:3: helmCharts are not inflated: follow the chart with a GitSync of its own (spec.render.type: Helm), or commit what "helm template" writes`,
		},
		"a chart in a generator": {
			tree: with("generators:\n- |\n  apiVersion: builtin\n  kind: HelmChartInflationGenerator\n  metadata: {name: g}"),
			want: `kustomization.yaml:4: HelmChartInflationGenerator is not run: follow the chart with a GitSync of its own (spec.render.type: Helm), or commit what "helm template" writes`,
		},
		"a plug-in": {
			tree: with("generators:\n- g.yaml\n-- g.yaml --\napiVersion: example.org/v1\nkind: Made\nmetadata: {name: g}"),
			want: "g.yaml:1: Made is a plug-in, and none is run: only Kustomize's own (apiVersion: builtin) are, so commit what it generates",
		},
		"a container that is called built in": {
			tree: with("transformers:\n- |\n  apiVersion: builtin\n  kind: PatchTransformer\n  metadata:\n    name: g\n    annotations: {config.kubernetes.io/function: 'container: {image: x}'}"),
			want: "kustomization.yaml:4: PatchTransformer is a plug-in, and none is run: only Kustomize's own (apiVersion: builtin) are, so commit what it generates",
		},
		"a folder of plug-ins": {
			tree: with("generators:\n- g\n-- g/kustomization.yaml --\nresources: []"),
			want: "kustomization.yaml:4: g is a folder: name the files of generators, transformers and validators one by one",
		},
		"a resource that leads out of the repository": {
			tree: with("- ../../etc/passwd"),
			want: "kustomization.yaml:3: ../../etc/passwd leads out of the repository",
		},
		"a resource that is not there": {
			tree: with("- b.yaml"),
			want: "kustomization.yaml:3: b.yaml does not exist in the repository",
		},
		"a patch that is not there": {
			tree: with("patches:\n- path: p.yaml"),
			want: "kustomization.yaml:4: p.yaml does not exist in the repository",
		},
		"a base without a kustomization": {
			tree: with("- base\n-- base/b.yaml --"),
			want: "base: has no kustomization.yaml: write one, or set spec.render.type to Plain or Helm",
		},
		"two kustomization files": {
			tree: with("-- Kustomization --"),
			want: "Kustomization: is one kustomization file too many in its folder: kustomization.yaml is there as well",
		},
		"an unknown field": {
			tree: with("resource: [b.yaml]"),
			want: `kustomization.yaml:1: is not valid YAML: invalid Kustomization: json: unknown field "resource"`,
		},
		"a manifest that does not parse": {
			tree: "-- kustomization.yaml --\nresources: [a.yaml]\n-- a.yaml --\n" + configMap("a") + "---\nkind: [\n",
			want: "a.yaml:5: is not valid YAML: did not find expected node content",
		},
		"two resources of the same name": {
			tree: with("- b.yaml\n-- b.yaml --\n" + strings.TrimSpace(configMap("a"))),
			want: "kustomization.yaml: accumulating resources: accumulation err='merging resources from 'b.yaml': may not add resource with an already registered id: ConfigMap.v1.[noGrp]/a.[noNs]': must build at directory: '/b.yaml': file is not directory",
		},
		"two resources of the same name, one of them a base's": {
			tree: "-- kustomization.yaml --\nresources: [base, a.yaml]\n-- a.yaml --\n" + configMap("a") +
				"-- base/kustomization.yaml --\nresources: [a.yaml]\n-- base/a.yaml --\n" + configMap("a"),
			want: "kustomization.yaml: accumulating resources: accumulation err='merging resources from 'a.yaml': may not add resource with an already registered id: ConfigMap.v1.[noGrp]/a.[noNs]': must build at directory: '/a.yaml': file is not directory",
		},
		"aliases that grow without end": {
			tree: with("- b.yaml\n-- b.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\na: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + bomb()),
			want: "b.yaml:1: is not valid YAML: document contains excessive aliasing",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			objects, err := render.Objects(t.Context(), archive(test.tree), render.Options{})
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if objects != nil {
				t.Errorf("objects beside an error: %v", places(objects))
			}
		})
	}
}

// bomb is YAML whose aliases stand for 10^9 values.
func bomb() string {
	var b strings.Builder
	for i, name := range "bcdefghi" {
		fmt.Fprintf(&b, "%c: &%c [%s]\n", name, name, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", 'a'+rune(i)), 10), ", "))
	}
	return b.String()
}

func TestKustomizeFollowsNoSymlink(t *testing.T) {
	fsys := archive("-- kustomization.yaml --\nresources: [a.yaml]\n")
	fsys["a.yaml"] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("/etc/passwd")}
	_, err := render.Objects(t.Context(), refusing{fsys}, render.Options{})
	want := "kustomization.yaml:1: a.yaml: is a symbolic link"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// refusing follows no symbolic link, like the trees of sync/source.
type refusing struct{ fstest.MapFS }

func (r refusing) check(name string) error {
	if f := r.MapFS[name]; f != nil && f.Mode&fs.ModeSymlink != 0 {
		return &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("is a symbolic link")}
	}
	return nil
}

func (r refusing) Open(name string) (fs.File, error) {
	if err := r.check(name); err != nil {
		return nil, err
	}
	return r.MapFS.Open(name)
}

func (r refusing) Stat(name string) (fs.FileInfo, error) {
	if err := r.check(name); err != nil {
		return nil, err
	}
	return r.MapFS.Stat(name)
}

func TestKustomizeGivesTheSameEachTime(t *testing.T) {
	var first []string
	for range 3 {
		objects, err := render.Objects(t.Context(), archive(overlay), render.Options{Path: "overlays/prod"})
		if err != nil {
			t.Fatal(err)
		}
		var digests []string
		for _, o := range objects {
			digests = append(digests, render.Digest(o.Unstructured), o.Lines(), fmt.Sprint(o.Text()))
		}
		if first == nil {
			first = digests
		} else if diff := cmp.Diff(first, digests); diff != "" {
			t.Fatalf("another time (-first +now):\n%s", diff)
		}
	}
}
