// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
)

// shopChart has what charts usually have.
const shopChart = `
-- charts/shop/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
kubeVersion: ">= 1.30.0-0"
dependencies:
- {name: db, version: 1.x, repository: https://charts.example.org, alias: store, condition: store.enabled}
- {name: cache, version: 1.0.0, tags: [extras], import-values: [exported]}
-- charts/shop/values.yaml --
replicas: 1
extras: {}
tags: {extras: false}
store: {size: 1}
-- charts/shop/crds/widget.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
-- charts/shop/templates/_helpers.tpl --
{{- define "labels" }}
app: {{ .Release.Name }}
{{- end }}
-- charts/shop/templates/NOTES.txt --
Thank you for installing {{ .Chart.Name }}.
-- charts/shop/templates/web.yaml --
{{- if .Capabilities.APIVersions.Has "apps/v1/Deployment" }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-web
  labels: {{- include "labels" . | nindent 4 }}
spec:
  replicas: {{ .Values.replicas }}
  template:
    spec:
      containers:
      {{- range $i, $name := list "web" "side" }}
      - name: {{ $name }}
        image: {{ $name }}:1
      {{- end }}
{{- end }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-files
  namespace: other
data:
  a: {{ .Files.Get "files/a.txt" | quote }}
  kube: {{ .Capabilities.KubeVersion.Version }}
  release: {{ .Release.Namespace }}
-- charts/shop/templates/hooks.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: before, annotations: {helm.sh/hook: "pre-install,pre-upgrade"}}
---
apiVersion: v1
kind: Pod
metadata: {name: try, annotations: {helm.sh/hook: test}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: after, annotations: {helm.sh/hook: "post-delete, pre-rollback"}}
-- charts/shop/files/a.txt --
hello
-- charts/shop/charts/database/Chart.yaml --
apiVersion: v2
name: db
version: 1.2.3
-- charts/shop/charts/database/templates/db.yaml --
# the database
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Chart.Name }}, labels: {size: "{{ .Values.size }}"}}
-- charts/shop/charts/cache/Chart.yaml --
apiVersion: v2
name: cache
version: 1.0.0
-- charts/shop/charts/cache/values.yaml --
exports: {exported: {replicas: 7}}
-- charts/shop/charts/cache/templates/cache.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: cache}
-- charts/shop/.helmignore --
*.bak
-- charts/shop/templates/old.yaml.bak --
{{ fail "not to be read" }}
-- prod.yaml --
replicas: 3
-- charts/shop/more.yaml --
replicas: 2
store: {size: 5}
`

func helm() render.Helm {
	return render.Helm{ReleaseName: "shop", Namespace: "prod", KubeVersion: "v1.37.2", APIVersions: []string{"apps/v1/Deployment"}}
}

func TestHelm(t *testing.T) {
	const where = "charts/shop/templates/"
	tests := map[string]struct {
		change func(*render.Helm)
		want   []string
		// replicas of the first Deployment.
		replicas int64
	}{
		"templates, definitions, hooks, dependencies": {
			want: []string{
				"charts/shop/crds/widget.yaml:1 CustomResourceDefinition.apiextensions.k8s.io widgets.example.org",
				"charts/shop/charts/database/templates/db.yaml:2 ConfigMap store",
				where + "hooks.yaml:1 ConfigMap before",
				where + "web.yaml:2 Deployment.apps shop-web",
				where + "web.yaml:18 ConfigMap other/shop-files",
			},
			replicas: 1,
		},
		"values of files, the later over the earlier, and those of the spec over both": {
			change: func(h *render.Helm) {
				h.ValuesFiles = []string{"more.yaml", "/prod.yaml"}
				h.Values = map[string]any{"store": map[string]any{"enabled": false}}
			},
			want: []string{
				"charts/shop/crds/widget.yaml:1 CustomResourceDefinition.apiextensions.k8s.io widgets.example.org",
				where + "hooks.yaml:1 ConfigMap before",
				where + "web.yaml:2 Deployment.apps shop-web",
				where + "web.yaml:18 ConfigMap other/shop-files",
			},
			replicas: 3,
		},
		"tags, and values that a dependency exports": {
			change: func(h *render.Helm) {
				h.Values = map[string]any{"tags": map[string]any{"extras": true}, "replicas": nil}
			},
			want: []string{
				"charts/shop/crds/widget.yaml:1 CustomResourceDefinition.apiextensions.k8s.io widgets.example.org",
				"charts/shop/charts/cache/templates/cache.yaml:1 ConfigMap cache",
				"charts/shop/charts/database/templates/db.yaml:2 ConfigMap store",
				where + "hooks.yaml:1 ConfigMap before",
				where + "web.yaml:2 Deployment.apps shop-web",
				where + "web.yaml:18 ConfigMap other/shop-files",
			},
		},
		"what the cluster does not have": {
			change: func(h *render.Helm) { h.APIVersions = []string{"v1"}; h.KubeVersion = "v1.31.0-gke.7" },
			want: []string{
				"charts/shop/crds/widget.yaml:1 CustomResourceDefinition.apiextensions.k8s.io widgets.example.org",
				"charts/shop/charts/database/templates/db.yaml:2 ConfigMap store",
				where + "hooks.yaml:1 ConfigMap before",
				where + "web.yaml:18 ConfigMap other/shop-files",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := helm()
			if test.change != nil {
				test.change(&h)
			}
			objects, err := render.Objects(t.Context(), archive(shopChart), render.Options{Path: "charts/shop", Helm: h})
			if err != nil {
				t.Fatal(err)
			}
			got := places(objects)
			slices.Sort(got)
			slices.Sort(test.want)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, o := range objects {
				if o.ID.Kind == "Deployment" && test.replicas != 0 && o.Object["spec"].(map[string]any)["replicas"] != test.replicas {
					t.Errorf("replicas %v, want %d", o.Object["spec"].(map[string]any)["replicas"], test.replicas)
				}
				if o.ID.Name == "shop-files" {
					want := map[string]any{"a": "hello\n", "kube": h.KubeVersion, "release": "prod"}
					if diff := cmp.Diff(want, o.Object["data"]); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				}
			}
		})
	}
}

func TestHelmKnowsTheTemplatesLine(t *testing.T) {
	objects, err := render.Objects(t.Context(), archive(shopChart), render.Options{Path: "charts/shop", Helm: helm()})
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(objects, func(o render.Object) bool { return o.ID.Kind == "Deployment" })
	o := objects[at]
	desired, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	content := &ownership.Content{File: o.File, Line: o.Line, Lines: o.Lines(), Desired: desired}
	for text, want := range map[string]int{
		"metadata.name":       5,
		"metadata.labels.app": 6,
		"spec.replicas":       8,
		"spec.template.spec.containers[name=web].image":  14,
		"spec.template.spec.containers[name=side].image": 14,
	} {
		path, err := fieldset.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := content.Place(path); got != want {
			t.Errorf("%s is set in line %d, want %d", text, got, want)
		}
	}
}

// chartOf is a chart of one template, in its third line where it matters.
func chartOf(line string) string {
	return "-- Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\n-- templates/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  " + line + "\n"
}

func TestHelmRefusesChance(t *testing.T) {
	const message = "give the value in spec.render.helm, or take it from a Secret that is made elsewhere"
	for call, line := range map[string]string{
		"randAlphaNum":      `a: {{ randAlphaNum 1 }}`,
		"randNumeric":       `a: "{{ randNumeric 1 }}"`,
		"randInt":           `a: "{{ randInt 0 2 }}"`,
		"randBytes":         `a: {{ randBytes 8 }}`,
		"uuidv4":            `a: {{ uuidv4 }}`,
		"now":               `a: {{ now | date "2006" | quote }}`,
		"shuffle":           `a: {{ shuffle "ab" }}`,
		"ago":               `a: {{ toDate "2006-01-02" "2026-01-01" | ago }}`,
		"genPrivateKey":     `a: {{ genPrivateKey "rsa" | b64enc }}`,
		"genCA":             `a: {{ (genCA "x" 365).Cert | b64enc }}`,
		"genSelfSignedCert": `a: {{ (genSelfSignedCert "x" nil nil 365).Key | b64enc }}`,
		"genSignedCert":     `a: {{ $ca := genCA "x" 365 }}{{ (genSignedCert "y" nil nil 365 $ca).Key | b64enc }}`,
		"htpasswd":          `a: {{ htpasswd "u" "p" }}`,
		"bcrypt":            `a: {{ bcrypt "p" }}`,
		"encryptAES":        `a: {{ encryptAES "k" "p" }}`,
		"lookup":            `a: "{{ if lookup "v1" "Secret" "ns" "s" }}there{{ end }}"`,
	} {
		t.Run(call, func(t *testing.T) {
			_, err := render.Objects(t.Context(), archive(chartOf(line)), render.Options{Helm: helm()})
			want := "templates/a.yaml:5: does not render to the same each time and in each cluster (" + call
			if err == nil || !strings.HasPrefix(err.Error(), want) && !(call == "genSignedCert" && strings.Contains(err.Error(), "(genCA, templates/a.yaml:5)")) || !strings.HasSuffix(err.Error(), message) {
				t.Errorf("got  %v\nwant %s…", err, want)
			}
		})
	}
	t.Run("in a helper, which is named", func(t *testing.T) {
		tree := chartOf(`a: {{ include "secret" . }}`) + "-- templates/_helpers.tpl --\n{{- define \"secret\" -}}\n{{ randAlpha 5 }}\n{{- end }}\n"
		_, err := render.Objects(t.Context(), archive(tree), render.Options{Helm: helm()})
		want := "templates/a.yaml:5: does not render to the same each time and in each cluster (randAlpha, templates/_helpers.tpl:2): " + message
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
	t.Run("a look into what lookup finds", func(t *testing.T) {
		tree := chartOf(`a: {{ $s := lookup "v1" "Secret" "ns" "s" }}{{ if $s }}{{ fail "no key" }}{{ end }}x`)
		_, err := render.Objects(t.Context(), archive(tree), render.Options{Helm: helm()})
		want := "templates/a.yaml:5: does not render to the same each time and in each cluster (lookup, templates/a.yaml:5)"
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got  %v\nwant %s…", err, want)
		}
	})
	t.Run("not where a value is given instead, nor where nothing comes of it", func(t *testing.T) {
		tree := chartOf(`a: {{ .Values.password | default (randAlphaNum 8) }}{{ $_ := lookup "v1" "Secret" "" "" }}`)
		h := helm()
		h.Values = map[string]any{"password": "x"}
		if _, err := render.Objects(t.Context(), archive(tree), render.Options{Helm: h}); err != nil {
			t.Error(err)
		}
	})
	t.Run("not the order of a map's keys", func(t *testing.T) {
		tree := chartOf(`a: {{ keys (dict "b" 1 "c" 2 "a" 3) | join "" }}{{ values (dict "b" 1 "c" 2 "a" 3) | join "" }}`)
		objects, err := render.Objects(t.Context(), archive(tree), render.Options{Helm: helm()})
		if err != nil || objects[0].Object["data"].(map[string]any)["a"] != "abc312" {
			t.Errorf("got %v, %v", objects, err)
		}
	})
}

func TestHelmRefuses(t *testing.T) {
	tests := map[string]struct {
		tree   string
		change func(*render.Helm)
		want   string
	}{
		"a host name": {
			tree: chartOf(`a: {{ getHostByName "example.org" }}`),
			want: `templates/a.yaml:5: executing "templates/a.yaml" at <getHostByName "example.org">: error calling getHostByName: getHostByName asks the network, which rendering never does: give the address as a value`,
		},
		"a value that is required": {
			tree: chartOf(`a: {{ required "set a password" .Values.password }}`),
			want: "templates/a.yaml:5: set a password",
		},
		"a template that does not parse": {
			tree: chartOf(`a: {{ .Values.a `),
			want: "templates/a.yaml:6: unclosed action started at templates/a.yaml:5",
		},
		"a text that is no YAML": {
			tree: chartOf("a: {{ \"x: [\" }}"),
			want: "templates/a.yaml:5: renders to what is not valid YAML: mapping values are not allowed in this context",
		},
		"what is no object": {
			tree: chartOf(`a: x`) + "---\na: {{ 1 }}\n",
			want: "templates/a.yaml:7: has no apiVersion and no kind and is therefore not a Kubernetes object: add what is missing, or list the file in .mainstayignore",
		},
		"a list without end": {
			tree: chartOf(`a: {{ until 2000000000 }}`),
			want: `templates/a.yaml:5: executing "templates/a.yaml" at <until 2000000000>: error calling until: until counts further than 1000000`,
		},
		"a dependency that is not vendored": {
			tree: strings.Replace(chartOf("a: x"), "version: 1.0.0", "version: 1.0.0\ndependencies:\n- name: db\n  version: 1.0.0\n  repository: https://example.org", 1),
			want: `Chart.yaml:5: dependency db is not in charts/, and nothing is downloaded: run "helm dependency build ." and commit charts/`,
		},
		"values that the chart's schema refuses": {
			tree:   chartOf("a: x") + "-- values.schema.json --\n{\"properties\": {\"replicas\": {\"type\": \"integer\"}}}",
			change: func(h *render.Helm) { h.Values = map[string]any{"replicas": "many"} },
			want:   "values.schema.json: values don't meet the specifications of the schema(s) in the following chart(s): web: - at '/replicas': got string, want integer",
		},
		"a file of values that is not there": {
			tree:   chartOf("a: x"),
			change: func(h *render.Helm) { h.ValuesFiles = []string{"prod.yaml"} },
			want:   "prod.yaml: file does not exist (spec.render.helm.valuesFiles: relative to the chart, or with a leading slash to the repository's root)",
		},
		"a file of values that leads out": {
			tree:   chartOf("a: x"),
			change: func(h *render.Helm) { h.ValuesFiles = []string{"../../etc/passwd"} },
			want:   "../../etc/passwd: leads out of the repository (spec.render.helm.valuesFiles: relative to the chart, or with a leading slash to the repository's root)",
		},
		"an older cluster than the chart wants": {
			tree: strings.Replace(chartOf("a: x"), "version: 1.0.0", "version: 1.0.0\nkubeVersion: '>= 1.99'", 1),
			want: "Chart.yaml:4: the chart wants Kubernetes >= 1.99, and the cluster has v1.37.2",
		},
		"APIs that are not all known": {
			tree:   chartOf(`a: {{ .Capabilities.APIVersions.Has "x/v1" }}`),
			change: func(h *render.Helm) { h.Undiscovered = errors.New("metrics.k8s.io/v1beta1: is not available") },
			want:   "templates/a.yaml asks which APIs the cluster has: metrics.k8s.io/v1beta1: is not available",
		},
		"no namespace": {
			tree:   chartOf("a: x"),
			change: func(h *render.Helm) { h.Namespace = "" },
			want:   "the chart needs a namespace: set spec.render.helm.namespace or spec.targetNamespace",
		},
		"a release name that is too long": {
			tree:   chartOf("a: x"),
			change: func(h *render.Helm) { h.ReleaseName = strings.Repeat("a", 54) },
			want:   `release name "` + strings.Repeat("a", 54) + `" has more than 53 characters: set a shorter spec.render.helm.releaseName`,
		},
		"a library": {
			tree: strings.Replace(chartOf("a: x"), "version: 1.0.0", "version: 1.0.0\ntype: library", 1),
			want: "Chart.yaml:4: a library chart declares nothing by itself: follow a chart that uses it",
		},
		"an unknown hook": {
			tree: strings.Replace(chartOf("a: x"), "{name: a}", "{name: a, annotations: {helm.sh/hook: sometimes}}", 1),
			want: `templates/a.yaml:3: helm.sh/hook "sometimes" is unknown`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := helm()
			if test.change != nil {
				test.change(&h)
			}
			objects, err := render.Objects(t.Context(), archive(test.tree), render.Options{Helm: h})
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if objects != nil {
				t.Errorf("objects beside an error: %v", places(objects))
			}
		})
	}
}

func TestSettle(t *testing.T) {
	const content = `{apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: a}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: web}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}
subjects:
- {kind: ServiceAccount, name: web, namespace: a}
- {kind: ServiceAccount, name: web, namespace: b}
- {kind: User, name: web}
`
	namespaced := func(o *render.Object) (bool, bool) { return o.ID.Kind != "Namespace", true }
	objects, err := render.Objects(t.Context(), tree(map[string]string{"a.yaml": content}), render.Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprint(objects[2].Object)
	settled, err := render.Settle(objects, "shop", namespaced)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a.yaml:1 ServiceAccount shop/web", "a.yaml:3 Namespace shop", "a.yaml:5 RoleBinding.rbac.authorization.k8s.io shop/web"}
	if diff := cmp.Diff(want, places(settled)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var subjects []string
	for _, s := range settled[2].Object["subjects"].([]any) {
		m := maps.Clone(s.(map[string]any))
		subjects = append(subjects, fmt.Sprint(m["kind"], " ", m["namespace"]))
	}
	if diff := cmp.Diff([]string{"ServiceAccount shop", "ServiceAccount b", "User <nil>"}, subjects); diff != "" {
		t.Errorf("subjects (-want +got):\n%s", diff)
	}
	if after := fmt.Sprint(objects[2].Object); after != before {
		t.Errorf("the objects that were passed were changed to %s", after)
	}
	t.Run("two objects that become one", func(t *testing.T) {
		two := tree(map[string]string{
			"a.yaml": "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: a}}", "b.yaml": "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: b}}",
		})
		objects, err := render.Objects(t.Context(), two, render.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = render.Settle(objects, "shop", namespaced)
		if want := "b.yaml:1: Secret shop/s is declared twice: here and in a.yaml:1"; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}
