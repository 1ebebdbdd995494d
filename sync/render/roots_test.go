// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/sync/render"
)

func TestTypeOf(t *testing.T) {
	for name, test := range map[string]struct {
		files []string
		opts  render.Options
		want  v1alpha1.RenderType
	}{
		"manifests alone":                           {[]string{"p/a.yaml"}, render.Options{Path: "p"}, v1alpha1.RenderPlain},
		"an empty folder":                           {[]string{"p/README.md"}, render.Options{Path: "p"}, v1alpha1.RenderPlain},
		"kustomization.yaml":                        {[]string{"p/a.yaml", "p/kustomization.yaml"}, render.Options{Path: "p"}, v1alpha1.RenderKustomize},
		"kustomization.yml":                         {[]string{"p/kustomization.yml"}, render.Options{Path: "p"}, v1alpha1.RenderKustomize},
		"Kustomization":                             {[]string{"p/Kustomization", "p/z.yaml"}, render.Options{Path: "p"}, v1alpha1.RenderKustomize},
		"Chart.yaml":                                {[]string{"p/Chart.yaml", "p/values.yaml"}, render.Options{Path: "p"}, v1alpha1.RenderHelm},
		"both: the kustomization":                   {[]string{"p/Chart.yaml", "p/kustomization.yaml"}, render.Options{Path: "p"}, v1alpha1.RenderKustomize},
		"both, in the other order of names":         {[]string{"p/Chart.yaml", "p/Kustomization"}, render.Options{Path: "p"}, v1alpha1.RenderKustomize},
		"a kustomization in a folder below":         {[]string{"p/a/kustomization.yaml"}, render.Options{Path: "p"}, v1alpha1.RenderPlain},
		"a kustomization beside the path":           {[]string{"kustomization.yaml", "p/a.yaml"}, render.Options{Path: "p"}, v1alpha1.RenderPlain},
		"the repository's root, without a path":     {[]string{"kustomization.yaml"}, render.Options{}, v1alpha1.RenderKustomize},
		"names in other letters":                    {[]string{"p/Kustomization.yaml", "p/chart.yaml"}, render.Options{Path: "p"}, v1alpha1.RenderPlain},
		"what was chosen, whatever is there":        {[]string{"p/kustomization.yaml"}, render.Options{Path: "p", Type: v1alpha1.RenderPlain}, v1alpha1.RenderPlain},
		"what was chosen, where the path is absent": {nil, render.Options{Path: "p", Type: v1alpha1.RenderHelm}, v1alpha1.RenderHelm},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for _, file := range test.files {
				files[file] = ""
			}
			got, err := render.TypeOf(tree(files), test.opts)
			if err != nil || got != test.want {
				t.Errorf("got %s, %v; want %s", got, err, test.want)
			}
		})
	}
}

const (
	smallChart   = "apiVersion: v2\nname: anything\nversion: 1.0.0\n"
	releaseNamed = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}\"}\n"
)

func TestAutoRendersWhatIsBelow(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		path  string
		want  []string
	}{
		"manifests, kustomizations and charts, plain ones first": {
			files: map[string]string{
				"apps/a/kustomization.yaml": "namePrefix: x-\nresources: [one.yaml]\n", "apps/a/one.yaml": configMap("one"),
				"apps/b/Chart.yaml": smallChart, "apps/b/templates/a.yaml": releaseNamed,
				"apps/z.yaml": configMap("z"), "apps/y/deep/y.yaml": configMap("yy"),
			},
			path: "apps",
			want: []string{
				"apps/y/deep/y.yaml:1 ConfigMap yy of apps Plain", "apps/z.yaml:1 ConfigMap z of apps Plain",
				"apps/a/one.yaml:1 ConfigMap x-one of apps/a Kustomize", "apps/b/templates/a.yaml:1 ConfigMap b of apps/b Helm",
			},
		},
		"at any depth, and none within another": {
			files: map[string]string{
				"x/y/z/kustomization.yml": "resources: [one.yaml, sub]\n", "x/y/z/one.yaml": configMap("one"),
				"x/y/z/sub/kustomization.yaml": "resources: [two.yaml]\n", "x/y/z/sub/two.yaml": configMap("two"),
				"x/y/z/other/kustomization.yaml": "resources: [not-read.yaml]\n",
			},
			want: []string{"x/y/z/one.yaml:1 ConfigMap one of x/y/z Kustomize", "x/y/z/sub/two.yaml:1 ConfigMap two of x/y/z Kustomize"},
		},
		"a base and a component outside of the path": {
			files: map[string]string{
				"base/kustomization.yaml": "resources: [one.yaml]\n", "base/one.yaml": configMap("one"),
				"part/kustomization.yaml":   "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnameSuffix: -s\n",
				"apps/a/kustomization.yaml": "namePrefix: a-\nresources: [../../base]\n",
				"apps/b/kustomization.yaml": "namePrefix: b-\nresources: [../../base]\ncomponents: [../../part]\n",
			},
			path: "apps",
			want: []string{"base/one.yaml:1 ConfigMap a-one of apps/a Kustomize", "base/one.yaml:1 ConfigMap b-one-s of apps/b Kustomize"},
		},
		"not what is hidden, ignored, for policies or in testdata": {
			files: map[string]string{
				".x/kustomization.yaml": "?", "testdata/kustomization.yaml": "?", "policies/Chart.yaml": "?", "ignored/Chart.yaml": "?",
				".mainstayignore": "ignored/\n", "a.yaml": configMap("a"),
			},
			want: []string{"a.yaml:1 ConfigMap a of . Plain"},
		},
		"an ignored kustomization file leaves its folder's manifests": {
			files: map[string]string{"a/kustomization.yaml": "?", "a/.mainstayignore": "kustomization.yaml\n", "a/a.yaml": configMap("a")},
			want:  []string{"a/a.yaml:1 ConfigMap a of . Plain"},
		},
		"an object in a file of such a name is an object": {
			files: map[string]string{
				"a/kustomization.yaml": "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: flux}\n",
				"b/Chart.yaml":         "apiVersion: example.org/v1\nkind: Chart\nmetadata: {name: wall}\n",
				"b/c.yaml":             configMap("c"),
			},
			want: []string{
				"a/kustomization.yaml:1 Kustomization.kustomize.toolkit.fluxcd.io flux of . Plain",
				"b/Chart.yaml:1 Chart.example.org wall of . Plain", "b/c.yaml:1 ConfigMap c of . Plain",
			},
		},
		"a path that is one itself is one alone": {
			files: map[string]string{
				"kustomization.yaml": "resources: [one.yaml]\n", "one.yaml": configMap("one"), "two.yaml": configMap("two"), "sub/Chart.yaml": smallChart,
			},
			want: []string{"one.yaml:1 ConfigMap one of . Kustomize"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := render.Objects(t.Context(), tree(test.files), render.Options{
				Path: test.path, SkipPaths: []string{"policies"}, Helm: render.Helm{ReleaseName: "mine", Namespace: "prod"},
			})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range objects {
				got = append(got, fmt.Sprintf("%s:%d %s of %s %s", o.File, o.Line, o.ID, o.Root.Folder, o.Root.Type))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAutoRefusesBelow(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		opts  render.Options
		want  string
	}{
		"a base beside its overlays, which nobody means to have as well": {
			files: map[string]string{
				"apps/base/kustomization.yaml": "resources: [one.yaml]\n", "apps/base/one.yaml": configMap("one"),
				"apps/prod/kustomization.yaml": "namePrefix: p-\nresources: [../base]\n", "apps/test/kustomization.yaml": "namePrefix: t-\nresources: [../base]\n",
			},
			opts: render.Options{Path: "apps"},
			want: "apps/base/kustomization.yaml: is part of apps/prod and would be declared by itself as well: list base/ in apps/.mainstayignore, or move it out of apps",
		},
		"a component that nothing has": {
			files: map[string]string{"part/kustomization.yaml": "kind: Component\nnamePrefix: p-\n"},
			want:  "part/kustomization.yaml: is a Component, which is never declared by itself: list part/ in .mainstayignore, or move it out of .",
		},
		"an object of two of them": {
			files: map[string]string{
				"a/kustomization.yaml": "resources: [../one.txt]\n", "b/kustomization.yaml": "resources: [../one.txt]\n", "one.txt": configMap("one"),
			},
			want: "one.txt:1: ConfigMap one is declared twice: here and in one.txt:1",
		},
		"an object of one that a manifest has, too": {
			files: map[string]string{"a/kustomization.yaml": "resources: [../one.yaml]\n", "one.yaml": configMap("one")},
			want:  "one.yaml:1: ConfigMap one is declared twice: here and in one.yaml:1",
		},
		"what is wrong in each of them, and in a manifest": {
			files: map[string]string{
				"a/kustomization.yaml": "resources: [gone.yaml]\n", "b/Chart.yaml": smallChart, "b/templates/x.yaml": "{{ fail \"no\" }}", "c.yaml": "a: 1\n",
			},
			want: "a/kustomization.yaml:1: gone.yaml does not exist in the repository\n" +
				"b/templates/x.yaml:1: no\n" +
				"c.yaml:1: has no apiVersion and no kind and is therefore not a Kubernetes object: add what is missing, or list the file in .mainstayignore",
		},
		"a chart without a namespace": {
			files: map[string]string{"b/Chart.yaml": smallChart},
			opts:  render.Options{Helm: render.Helm{ReleaseName: "x"}},
			want:  "b: the chart needs a namespace: set spec.render.helm.namespace or spec.targetNamespace",
		},
		"a chart, where the cluster does not answer": {
			files: map[string]string{"b/Chart.yaml": smallChart},
			opts:  render.Options{Helm: render.Helm{Ask: func(*render.Helm) error { return errors.New("no answer") }}},
			want:  "no answer",
		},
		"a kustomization, where only manifests are wanted": {
			files: map[string]string{"a/kustomization.yaml": "resources: []\n"},
			opts:  render.Options{Type: v1alpha1.RenderPlain},
			want:  "a/kustomization.yaml:1: has no apiVersion and no kind and is therefore not a Kubernetes object: add what is missing, or list the file in .mainstayignore",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.opts.Helm.Namespace == "" && !strings.Contains(name, "without a namespace") {
				test.opts.Helm.Namespace = "prod"
			}
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

func TestRootsThatAreKnownAreNotRead(t *testing.T) {
	fsys := tree(map[string]string{
		"a/kustomization.yaml": "resources: [one.yaml]\n", "a/one.yaml": configMap("a"),
		"b/kustomization.yaml": "resources: [gone.yaml]\n", "c/Chart.yaml": smallChart, "c/templates/c.yaml": releaseNamed,
		"d/Chart.yaml": smallChart, "d/templates/d.yaml": releaseNamed,
	})
	asked := 0
	var told []render.Root
	objects, err := render.Objects(t.Context(), fsys, render.Options{
		Helm: render.Helm{Namespace: "prod", Ask: func(*render.Helm) error { asked++; return nil }},
		Roots: func(roots []render.Root) []fs.FS {
			told = slices.Clone(roots)
			return []fs.FS{fsys, nil, fsys, fsys}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []render.Root{{Folder: "a", Type: v1alpha1.RenderKustomize}, {Folder: "b", Type: v1alpha1.RenderKustomize}, {Folder: "c", Type: v1alpha1.RenderHelm}, {Folder: "d", Type: v1alpha1.RenderHelm}}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("roots (-want +told):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a/one.yaml:1 ConfigMap a", "c/templates/c.yaml:1 ConfigMap c", "d/templates/d.yaml:1 ConfigMap d"}, places(objects)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if asked != 1 {
		t.Errorf("the cluster was asked %d times, want once", asked)
	}
	t.Run("too few trees are an error", func(t *testing.T) {
		if _, err := render.Objects(t.Context(), fsys, render.Options{Roots: func([]render.Root) []fs.FS { return nil }}); err == nil {
			t.Error("roots were left out")
		}
	})
}
