// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
)

// tree makes a file system of name and content, in turn.
func tree(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, content := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return fsys
}

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\n"
}

// places lists the objects as file:line id.
func places(objects []render.Object) []string {
	var list []string
	for _, o := range objects {
		list = append(list, fmt.Sprintf("%s:%d %s", o.File, o.Line, o.ID))
	}
	return list
}

func TestObjectsFindsFiles(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		opts  render.Options
		want  []string
	}{
		"yaml, yml and json are read, in the order of files": {
			files: map[string]string{
				"b.yml": configMap("b"), "a.yaml": configMap("a"), "d.txt": "no", "README.md": "# no",
				"c/c.json": "\n{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"c\"}}",
			},
			want: []string{"a.yaml:1 ConfigMap a", "b.yml:1 ConfigMap b", "c/c.json:2 ConfigMap c"},
		},
		"hidden files and folders, testdata and policy folders are skipped": {
			files: map[string]string{
				".a.yaml": "x", ".github/a.yaml": "x", "testdata/a.yaml": "x", "deep/testdata/a.yaml": "x",
				"policies/a.yaml": "x", "deep/policies/b.yaml": configMap("b"), "more/a.yaml": "x", "one.yaml": "x",
			},
			opts: render.Options{SkipPaths: []string{"policies", "/more/", "./one.yaml"}},
			want: []string{"deep/policies/b.yaml:1 ConfigMap b"},
		},
		"only what is below the path is read": {
			files: map[string]string{"a.yaml": "x", "clusters/prod/b.yaml": configMap("b"), "clusters/product/c.yaml": "x"},
			opts:  render.Options{Path: "./clusters/prod/"},
			want:  []string{"clusters/prod/b.yaml:1 ConfigMap b"},
		},
		"a path may be hidden or called testdata when it is named": {
			files: map[string]string{".hidden/testdata/a.yaml": configMap("a")},
			opts:  render.Options{Path: ".hidden/testdata"},
			want:  []string{".hidden/testdata/a.yaml:1 ConfigMap a"},
		},
		"ignore files work as with git, also above the path": {
			files: map[string]string{
				".mainstayignore":       "# comment\n\nvalues*.yaml\n/prod/charts/\n*.json\r\n",
				"values.yaml":           "x",
				"prod/.mainstayignore":  "*.tmp.yaml\n!values-keep.yaml\n",
				"prod/values-keep.yaml": configMap("keep"), "prod/values-drop.yaml": "x",
				"prod/charts/a.yaml": "x", "prod/x/charts/a.yaml": configMap("a"), "prod/x/b.tmp.yaml": "x", "prod/a.json": "x",
			},
			opts: render.Options{Path: "prod"},
			want: []string{"prod/values-keep.yaml:1 ConfigMap keep", "prod/x/charts/a.yaml:1 ConfigMap a"},
		},
		"an empty folder declares nothing": {
			files: map[string]string{"prod/README.md": ""},
			opts:  render.Options{Path: "prod"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			objects, err := render.Objects(t.Context(), tree(test.files), test.opts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, places(objects)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestObjectsReadsDocuments(t *testing.T) {
	tests := map[string]struct {
		name, content string
		want          []string
	}{
		"several documents, empty ones between them": {
			content: "# head\n---\n# only a comment\n---\n" + configMap("a") + "---\n\n---\nnull\n--- # next\n\n" + configMap("b") + "...\n",
			want:    []string{"a.yaml:5 ConfigMap a", "a.yaml:14 ConfigMap b"},
		},
		"directives, a document on the line of its marker, carriage returns and a byte order mark": {
			content: "\xef\xbb\xbf%YAML 1.1\r\n---\r\n" + strings.ReplaceAll(configMap("a"), "\n", "\r\n") +
				"---\r\n--- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\r\n",
			want: []string{"a.yaml:3 ConfigMap a", "a.yaml:7 ConfigMap b"},
		},
		"no line break at the end": {
			content: strings.TrimSuffix(configMap("a"), "\n"),
			want:    []string{"a.yaml:1 ConfigMap a"},
		},
		"dashes inside a block are text": {
			content: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n    ---\n    y\n",
			want:    []string{"a.yaml:1 ConfigMap a"},
		},
		"a List and its items' lines": {
			content: "---\n" + configMap("first") + "---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n" +
				"- apiVersion: apps/v1\n  kind: Deployment\n  metadata:\n    name: b\n    namespace: shop\n",
			want: []string{"a.yaml:2 ConfigMap first", "a.yaml:9 ConfigMap a", "a.yaml:12 Deployment.apps shop/b"},
		},
		"a typed list, whose items say no kind": {
			content: "apiVersion: apps/v1\nkind: DeploymentList\nitems:\n- metadata: {name: a}\n",
			want:    []string{"a.yaml:4 Deployment.apps a"},
		},
		"a List in a List": {
			content: "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:\n  - apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: a}\n",
			want:    []string{"a.yaml:7 ConfigMap a"},
		},
		"an empty List": {content: "apiVersion: v1\nkind: List\nitems: []\n"},
		"JSON with tabs, several values and a List": {
			name: "a.json",
			content: "{\n\t\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"a\"}\n}\n" +
				"{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n\t{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"b\\ud83d\\ude00\"}}]}\n",
			want: []string{"a.json:1 ConfigMap a", "a.json:6 ConfigMap b😀"},
		},
		"an object that is only configuration for a local tool": {
			content: "apiVersion: x/v1\nkind: Config\nmetadata:\n  annotations: {config.kubernetes.io/local-config: \"true\"}\n",
		},
		"the same name in other kinds, groups and namespaces": {
			content: configMap("a") + "---\n" + strings.Replace(configMap("a"), "ConfigMap", "Secret", 1) +
				"---\n" + strings.Replace(configMap("a"), "v1", "x.io/v1", 1) + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\n",
			want: []string{"a.yaml:1 ConfigMap a", "a.yaml:5 Secret a", "a.yaml:9 ConfigMap.x.io a", "a.yaml:13 ConfigMap b/a"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := test.name
			if file == "" {
				file = "a.yaml"
			}
			objects, err := render.Objects(t.Context(), tree(map[string]string{file: test.content}), render.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, places(objects)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestObjectsRefuses(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		opts  render.Options
		want  string
	}{
		"a document without apiVersion and kind": {
			files: map[string]string{"a.yaml": configMap("a") + "---\n# values\nreplicas: 2\n"},
			want:  "a.yaml:6: has no apiVersion and no kind and is therefore not a Kubernetes object: add what is missing, or list the file in .mainstayignore",
		},
		"a document without a kind": {
			files: map[string]string{"a.yaml": "apiVersion: v1\n"},
			want:  "a.yaml:1: has no kind and is therefore not a Kubernetes object: add what is missing, or list the file in .mainstayignore",
		},
		"the mode Observe on an object": {
			files: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations:\n    mainstay.dev/mode: Observe\n"},
			want:  `a.yaml:6: annotation mainstay.dev/mode is "Observe": write Audit, Warn or Enforce`,
		},
		"a mode in small letters on an object": {
			files: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations:\n    mainstay.dev/mode: enforce\n"},
			want:  `a.yaml:6: annotation mainstay.dev/mode is "enforce": write Audit, Warn or Enforce`,
		},
		"an empty mode on an object": {
			files: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations:\n    mainstay.dev/mode: \"\"\n"},
			want:  `a.yaml:6: annotation mainstay.dev/mode is "": write Audit, Warn or Enforce`,
		},
		"a document that is a list": {
			files: map[string]string{"a.yaml": "\n- a\n"},
			want:  "a.yaml:2: is not a Kubernetes object: remove it, or list the file in .mainstayignore",
		},
		"an item that is no object": {
			files: map[string]string{"a.yaml": "apiVersion: v1\nkind: List\nitems:\n- 1\n"},
			want:  "a.yaml:4: item 0 of the List is not a Kubernetes object",
		},
		"YAML that does not parse, in a later document": {
			files: map[string]string{"a.yaml": configMap("a") + "---\napiVersion: v1\nkind: [\n"},
			want:  "a.yaml:6: is not valid YAML: did not find expected node content",
		},
		"a key given twice": {
			files: map[string]string{"a.yaml": "---\n" + configMap("a") + "data: {}\ndata: {}\n"},
			want:  `a.yaml:6: is not valid YAML: key "data" already set in map`,
		},
		"a key given twice in JSON": {
			files: map[string]string{"a.json": "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"a\", \"name\": \"b\"}}"},
			want:  `a.json:1: duplicate field "metadata.name"`,
		},
		"JSON that does not parse": {
			files: map[string]string{"a.json": "{\n\"apiVersion\": v1\n}"},
			want:  "a.json:2: invalid character 'v' looking for beginning of value",
		},
		"an apiVersion that is none": {
			files: map[string]string{"a.yaml": "kind: ConfigMap\napiVersion: a/b/c\nmetadata: {name: a}\n"},
			want:  `a.yaml:2: apiVersion "a/b/c" is not of the form group/version`,
		},
		"no metadata": {
			files: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\n"},
			want:  "a.yaml:1: has no metadata: give it at least a name",
		},
		"no name": {
			files: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels: {}\n"},
			want:  "a.yaml:3: has no metadata.name",
		},
		"a name that is a number": {
			files: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: 12\n"},
			want:  "a.yaml:4: metadata.name must be a string: put it in quotes",
		},
		"a generated name": {
			files: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  generateName: a-\n"},
			want:  "a.yaml:4: metadata.generateName would make another object with each sync: give it a metadata.name",
		},
		"an annotation that is no string": {
			files: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations:\n    x: 'yes'\n    z: yes\n"},
			want:  `a.yaml:7: metadata.annotations["z"] must be a string: put it in quotes`,
		},
		"the same object twice": {
			files: map[string]string{"a.yaml": configMap("a"), "b.yaml": "---\n" + configMap("a")},
			want:  "b.yaml:2: ConfigMap a is declared twice: here and in a.yaml:1",
		},
		"the same object twice in two versions": {
			files: map[string]string{"a.yaml": strings.Replace(configMap("a"), "v1", "x.io/v1", 1), "b.yaml": strings.Replace(configMap("a"), "v1", "x.io/v2", 1)},
			want:  "b.yaml:1: ConfigMap.x.io a is declared twice: here and in a.yaml:1",
		},
		"a kind in two versions": {
			files: map[string]string{"a.yaml": strings.Replace(configMap("a"), "v1", "x.io/v1", 1), "b.yaml": strings.Replace(configMap("b"), "v1", "x.io/v2", 1)},
			want:  "b.yaml:1: ConfigMap.x.io is declared in version x.io/v2 here and in version x.io/v1 in a.yaml:1: choose one of them for all",
		},
		"an object encrypted with SOPS": {
			files: map[string]string{"a.yaml": configMap("a") + "data: {a: 'ENC[AES256_GCM,data:x]'}\nsops:\n  version: 3\n  age: [{recipient: age1x}]\n"},
			want:  "a.yaml:5: is encrypted with SOPS for age1x, and spec.render.decryption names no keys: ciphertext is never applied",
		},
		"a Secret with ciphertext": {
			files: map[string]string{"a.yaml": strings.Replace(configMap("a"), "ConfigMap", "Secret", 1) + "stringData:\n  a: x\n  b: ENC[AES256_GCM,data:x]\n"},
			want:  `a.yaml:6: stringData["b"] is encrypted with SOPS, and has no sops metadata to decrypt it by: ciphertext is never applied`,
		},
		"stringData that is no string": {
			files: map[string]string{"a.yaml": strings.Replace(configMap("a"), "ConfigMap", "Secret", 1) + "stringData:\n  a: 1\n"},
			want:  `a.yaml:5: stringData["a"] must be a string: put it in quotes`,
		},
		"an Inventory": {
			files: map[string]string{"a.yaml": strings.NewReplacer("v1", "mainstay.dev/v1alpha1", "ConfigMap", "Inventory").Replace(configMap("a"))},
			want:  "a.yaml:1: Inventory is never declared in git: Mainstay and people write it in the cluster",
		},
		"a BreakGlass of another version": {
			files: map[string]string{"a.yaml": strings.NewReplacer("v1", "mainstay.dev/v2", "ConfigMap", "BreakGlass").Replace(configMap("a"))},
			want:  "a.yaml:1: BreakGlass is never declared in git: Mainstay and people write it in the cluster",
		},
		"a Secret of Mainstay": {
			files: map[string]string{"a.yaml": strings.Replace(configMap("a"), "ConfigMap", "Secret", 1) + "type: mainstay.dev/permit\n"},
			want:  "a.yaml:4: a Secret of type mainstay.dev/permit is Mainstay's own and is never declared in git",
		},
		"a path that is not there": {
			opts: render.Options{Path: "prod"},
			want: `path "prod" does not exist in the repository; check spec.source.path`,
		},
		"a path that leads out": {
			opts: render.Options{Path: "../prod"},
			want: `path "../prod" leads out of the repository; check spec.source.path`,
		},
		"a path that is a file": {
			files: map[string]string{"a.yaml": ""},
			opts:  render.Options{Path: "a.yaml"},
			want:  `path "a.yaml" is a file: name its folder in spec.source.path`,
		},
		"a file that is too large": {
			files: map[string]string{"a.yaml": strings.Repeat("#", 10*1024*1024+1)},
			want:  "a.yaml: has 10485761 bytes, and more than 10485760 are not read: split it, or list it in .mainstayignore",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			objects, err := render.Objects(t.Context(), tree(test.files), test.opts)
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if objects != nil {
				t.Errorf("objects beside an error: %v", places(objects))
			}
		})
	}
}

func TestObjectsRefusesTooManyFiles(t *testing.T) {
	fsys := fstest.MapFS{}
	empty := &fstest.MapFile{}
	for i := range 100_001 {
		fsys[fmt.Sprintf("%d.yaml", i)] = empty
	}
	_, err := render.Objects(t.Context(), fsys, render.Options{})
	if err == nil || !strings.Contains(err.Error(), "more than 100000 manifests") {
		t.Errorf("got %v", err)
	}
}

func TestObjectsRefusesSymlinks(t *testing.T) {
	fsys := tree(map[string]string{"prod/b.yaml": configMap("b"), "other/c.yaml": configMap("c")})
	for _, name := range []string{"prod/a.yaml", "prod/dir", "prod/README.md"} {
		fsys[name] = &fstest.MapFile{Data: []byte("../other"), Mode: fs.ModeSymlink}
	}
	_, err := render.Objects(t.Context(), fsys, render.Options{Path: "prod"})
	want := "prod/a.yaml: is a symbolic link, which Mainstay does not follow: put a copy in its place, or list it in .mainstayignore\n" +
		"prod/dir: is a symbolic link, which Mainstay does not follow: put a copy in its place, or list it in .mainstayignore"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestObjectsReportsAllErrors(t *testing.T) {
	files := map[string]string{}
	for i := range 30 {
		files[fmt.Sprintf("f%02d.yaml", i)] = "a: 1\n"
	}
	files["f00.yaml"] = "a: 1\n---\nb: 1\n"
	_, err := render.Objects(t.Context(), tree(files), render.Options{})
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 21 || !strings.HasPrefix(lines[0], "f00.yaml:1:") || !strings.HasPrefix(lines[1], "f00.yaml:3:") || lines[20] != "… and 11 more" {
		t.Errorf("got\n%v", err)
	}
	var first *render.Error
	if !errors.As(err, &first) || first.File != "f00.yaml" || first.Line != 1 {
		t.Errorf("first is %+v", first)
	}
}

func TestObjectsStripsWhatTheServerOwns(t *testing.T) {
	content := `apiVersion: apps/v1
kind: Deployment
metadata:
  name: a
  uid: x
  resourceVersion: "1"
  generation: 2
  creationTimestamp: null
  managedFields: [{}]
  selfLink: x
  labels: {a: b}
spec: {replicas: 2, ratio: 0.5, big: 9007199254740993}
status: {replicas: 1}
`
	objects, err := render.Objects(t.Context(), tree(map[string]string{"a.yaml": content}), render.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "a", "labels": map[string]any{"a": "b"}},
		"spec":     map[string]any{"replicas": int64(2), "ratio": 0.5, "big": int64(9007199254740993)},
	}
	if diff := cmp.Diff(want, objects[0].Object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	asJSON, err := json.Marshal(objects[0].Object["spec"])
	if err != nil || string(asJSON) != `{"big":9007199254740993,"ratio":0.5,"replicas":2}` {
		t.Errorf("as JSON %s, %v", asJSON, err)
	}
}

func TestObjectsFoldsStringData(t *testing.T) {
	head := strings.Replace(configMap("a"), "ConfigMap", "Secret", 1)
	tests := map[string]struct {
		content string
		want    any
	}{
		"stringData alone":        {"stringData: {a: plain}\n", map[string]any{"a": "cGxhaW4="}},
		"stringData wins":         {"data: {a: b2xk, b: b2xk}\nstringData: {a: new}\n", map[string]any{"a": "bmV3", "b": "b2xk"}},
		"an empty stringData":     {"stringData: {}\n", nil},
		"stringData that is null": {"data: {a: b2xk}\nstringData:\n", map[string]any{"a": "b2xk"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			objects, err := render.Objects(t.Context(), tree(map[string]string{"a.yaml": head + test.content}), render.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, objects[0].Object["data"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, ok := objects[0].Object["stringData"]; ok {
				t.Error("stringData is still there")
			}
		})
	}
}

func TestDigest(t *testing.T) {
	digest := func(content string) string {
		t.Helper()
		objects, err := render.Objects(t.Context(), tree(map[string]string{"a.yaml": content}), render.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return render.Digest(objects[0].Unstructured)
	}
	same := digest("{kind: ConfigMap, metadata: {name: a}, apiVersion: v1}")
	if digest(configMap("a")) != same {
		t.Error("the digest depends on how the object is written")
	}
	if digest(configMap("b")) == same {
		t.Error("the digest does not depend on the content")
	}
	if len(same) != 64 {
		t.Errorf("digest %q", same)
	}
}

func TestObjectsStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := render.Objects(ctx, tree(map[string]string{"a.yaml": configMap("a")}), render.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzObjects(f *testing.F) {
	for _, seed := range []string{
		configMap("a"), "---\n...\n---", "a: &a [*a]", "{", "- 1", "\xef\xbb\xbf", "apiVersion: v1\nkind: List\nitems: [1, {}]",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {a: 1}\n", "? [a]: b", "<<: [1]", "a: !!binary x", "a: .nan",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, content []byte, asJSON bool) {
		file := "some/file.yaml"
		if asJSON {
			file = "some/file.json"
		}
		objects, err := render.Objects(t.Context(), fstest.MapFS{file: {Data: content}}, render.Options{})
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, file) && !strings.HasPrefix(line, "… and") {
					t.Errorf("error does not name the file: %q", line)
				}
			}
			return
		}
		for _, o := range objects {
			if o.GetName() == "" || o.GetKind() == "" || o.Line < 1 || render.Digest(o.Unstructured) == "" {
				t.Errorf("incomplete object %+v", o)
			}
		}
	})
}

func TestLinesLeadToFields(t *testing.T) {
	content := `# a comment
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: web
        image: nginx
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: c}
  data:
    a/b: x
`
	objects, err := render.Objects(t.Context(), fstest.MapFS{"a.yaml": {Data: []byte(content)}}, render.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		object int
		path   string
		want   int
	}{
		"a field":                             {0, "spec.replicas", 6},
		"a field of a list's element":         {0, "spec.template.spec.containers[name=web].image", 11},
		"a field on its parent's line":        {0, "metadata.name", 4},
		"a field that git does not set":       {0, "spec.template.spec.containers[name=web].env[name=A]", 10},
		"nothing at all that git sets":        {0, "status.x", 2},
		"a field of an object in a List":      {1, `data["a/b"]`, 20},
		"an element that git does not have":   {0, "spec.template.spec.containers[name=side]", 9},
		"the metadata of an object in a List": {1, "metadata.labels.x", 18},
	} {
		t.Run(name, func(t *testing.T) {
			o := objects[tt.object]
			desired, err := json.Marshal(o.Unstructured)
			if err != nil {
				t.Fatal(err)
			}
			path, err := fieldset.Parse(tt.path)
			if err != nil {
				t.Fatal(err)
			}
			c := ownership.Content{Line: o.Line, Lines: o.Lines(), Desired: desired}
			if _, got := c.Place(path); got != tt.want {
				t.Errorf("line %d, want %d; lines %q", got, tt.want, c.Lines)
			}
		})
	}
}
