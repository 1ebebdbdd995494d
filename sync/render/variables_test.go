// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/sync/render"
)

func TestVariables(t *testing.T) {
	variables := map[string]string{"cluster": "prod-eu-1", "count": "3", "on": "yes", "ratio": "0.5", "empty": "", "list": "[a]", "deep": "${cluster}"}
	tests := map[string]struct {
		line string // of a ConfigMap-like object of any fields
		want any
	}{
		"within a string":                             {`x: a-${cluster}-b`, "a-prod-eu-1-b"},
		"several":                                     {`x: ${cluster}/${count}`, "prod-eu-1/3"},
		"a whole number without quotes is one":        {`x: ${count}`, int64(3)},
		"in quotes it stays a string":                 {`x: "${count}"`, "3"},
		"within a longer string it stays a string":    {`x: ${count}0`, "30"},
		"a truth value, read as YAML 1.1":             {`x: ${on}`, true},
		"a number":                                    {`x: ${ratio}`, 0.5},
		"a list is never made of a string":            {`x: ${list}`, "[a]"},
		"nothing stays a string":                      {`x: ${empty}`, ""},
		"a default where the variable is not defined": {`x: ${none:=five}`, "five"},
		"an empty default":                            {`x: "${none:=}"`, ""},
		"the variable where it is defined":            {`x: "${count:=5}"`, "3"},
		"a defined, empty one goes before a default":  {`x: "${empty:=5}"`, ""},
		"two dollars stand for the text itself":       {`x: $${cluster} ${cluster}`, "${cluster} prod-eu-1"},
		"a dollar without a brace is left":            {`x: $cluster $(cluster) 5$`, "$cluster $(cluster) 5$"},
		"what a variable holds is not replaced again": {`x: ${deep}`, "${cluster}"},
		"a block":              {"x: |\n  a ${cluster}\n  b\n", "a prod-eu-1\nb\n"},
		"an element of a list": {`x: ["${count}", 1]`, []any{"3", int64(1)}},
		"a key is left":        {`x: {"${count}": 1}`, map[string]any{"${count}": int64(1)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{"a.yaml": {Data: []byte(configMap("a") + test.line)}}
			objects, err := render.Objects(t.Context(), fsys, render.Options{Variables: variables})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, objects[0].Object["x"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestVariablesReach(t *testing.T) {
	content := "apiVersion: v1\nkind: List\nitems:\n" +
		"- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: \"${n}\"\n    namespace: ${n}\n    labels:\n      a: ${n}\n" +
		"- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: b\n    annotations: {mainstay.dev/substitute: disabled}\n  data: {a: \"${other}\"}\n"
	fsys := fstest.MapFS{"a.yaml": {Data: []byte(content)}}
	objects, err := render.Objects(t.Context(), fsys, render.Options{Variables: map[string]string{"n": "7"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a.yaml:4 ConfigMap 7/7", "a.yaml:11 ConfigMap b"}, places(objects)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if label := objects[0].GetLabels()["a"]; label != "7" {
		t.Errorf("label %q, want 7: metadata holds nothing but strings", label)
	}
	if data := objects[1].Object["data"].(map[string]any)["a"]; data != "${other}" {
		t.Errorf("data %v: the annotation keeps variables out", data)
	}
	t.Run("without variables nothing is replaced", func(t *testing.T) {
		fsys := fstest.MapFS{"a.yaml": {Data: []byte(configMap("a") + "data: {a: \"${x}\"}\n")}}
		objects, err := render.Objects(t.Context(), fsys, render.Options{})
		if err != nil || objects[0].Object["data"].(map[string]any)["a"] != "${x}" {
			t.Errorf("got %v, %v", objects, err)
		}
	})
}

func TestVariablesRefuse(t *testing.T) {
	tests := map[string]struct {
		content   string
		variables map[string]string
		want      string
	}{
		"an undefined one": {
			content: configMap("a") + "data:\n  a: x\n  b: y ${region}\n",
			want:    "a.yaml:6: variable region is not defined: set it in spec.render.variables, write ${region:=default}, or $${region} for the text itself",
		},
		"another form": {
			content: configMap("a") + "data:\n  a: ${region:-x}\n",
			want:    `a.yaml:5: "${region:-x}" is neither ${name} nor ${name:=default}: write $${ for ${ itself, or annotate the object with mainstay.dev/substitute: disabled`,
		},
		"a brace that is never closed": {
			content: configMap("a") + "data:\n  a: ${region\n",
			want:    `a.yaml:5: "${region" is neither ${name} nor ${name:=default}: write $${ for ${ itself, or annotate the object with mainstay.dev/substitute: disabled`,
		},
		"in a Secret, without a word of its value": {
			content: strings.Replace(configMap("a"), "ConfigMap", "Secret", 1) + "stringData:\n  a: p${assw}ord\n",
			want:    "a.yaml:5: a ${ in this value refers to no variable of spec.render.variables: write $${ for ${ itself",
		},
		"a name that is none": {
			content:   configMap("a"),
			variables: map[string]string{"a-b": ""},
			want:      `spec.render.variables: "a-b" is no name for a variable: use letters, digits and _, and no digit first`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.variables == nil {
				test.variables = map[string]string{}
			}
			fsys := fstest.MapFS{"a.yaml": {Data: []byte(test.content)}}
			objects, err := render.Objects(t.Context(), fsys, render.Options{Variables: test.variables})
			if err == nil || err.Error() != test.want || objects != nil {
				t.Errorf("got  %v, %v\nwant %s", places(objects), err, test.want)
			}
		})
	}
}
