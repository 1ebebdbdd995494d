// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// widgets is a definition whose schema of spec is given, in YAML.
func widgets(t *testing.T, spec string, edits ...func(map[string]any)) map[string]any {
	t.Helper()
	schema := func(spec string) map[string]any {
		var s any
		if err := yaml.Unmarshal([]byte(spec), &s); err != nil {
			t.Fatal(err)
		}
		return map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{"spec": s}}}
	}
	o := object("widgets.example.com", set("example.com", "spec", "group"), set("Widget", "spec", "names", "kind"),
		set([]any{
			map[string]any{"name": "v1", "served": true, "storage": true, "schema": schema(spec)},
			map[string]any{"name": "v2", "served": true, "schema": schema("{type: object}")},
		}, "spec", "versions"))
	for _, edit := range edits {
		edit(o)
	}
	return o
}

// declaring is an index with a Widget that says this.
func declaring(t *testing.T, mode v1alpha1.Mode, spec string) *ownership.Index {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: one, namespace: shop, labels: {a: b}}\nspec: " + spec))
	if err != nil {
		t.Fatal(err)
	}
	x := ownership.NewIndex()
	c := content(string(raw))
	c.Desired, c.Fields = raw, []byte("{}")
	err = x.Replace(syncHead(mode), []*ownership.Entry{{
		ID: ownership.ID{Group: "example.com", Kind: "Widget", Namespace: "shop", Name: "one"}, Version: "v1", Resource: "widgets", Applied: c,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func redefined(old, updated map[string]any) asked {
	return own("UPDATE", "apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", "", old, updated)
}

func TestASchemaKeepsWhatGitSays(t *testing.T) {
	const full = `{type: object, properties: {size: {type: integer}, more: {type: object, properties: {deep: {type: string}}},
  list: {type: array, items: {type: object, properties: {a: {type: string}, b: {type: string}}}},
  table: {type: array, items: {type: array, items: {type: object, properties: {cell: {type: string}}}}},
  map: {type: object, additionalProperties: {type: object, properties: {x: {type: string}}}},
  any: {type: object, x-kubernetes-preserve-unknown-fields: true},
  pod: {type: object, x-kubernetes-embedded-resource: true, properties: {spec: {type: object, properties: {node: {type: string}}}}}}}`
	without := func(texts ...string) string {
		s := full
		for _, text := range texts {
			if !strings.Contains(s, text) {
				t.Fatalf("the schema has no %q", text)
			}
			s = strings.Replace(s, text, "", 1)
		}
		return s
	}
	const pod = "{pod: {apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {node: a}}}"
	for name, tt := range map[string]struct {
		says          string
		before, after string
		lost          string
	}{
		"nothing changes":                     {"{size: 1}", full, full, ""},
		"a property goes":                     {"{size: 1}", full, without("size: {type: integer}, "), "spec.size"},
		"one that nobody declares goes":       {"{size: 1}", full, without(", properties: {deep: {type: string}}"), ""},
		"a deep property goes":                {"{more: {deep: x}}", full, without("deep: {type: string}"), "spec.more.deep"},
		"its parent goes":                     {"{more: {deep: x}}", full, without("more: {type: object, properties: {deep: {type: string}}},"), "spec.more"},
		"of a list's items":                   {"{list: [{a: x}, {a: x, b: y}]}", full, without(", b: {type: string}"), "spec.list.b"},
		"of the items of lists in a list":     {"{table: [[{cell: x}]]}", full, without("cell: {type: string}"), "spec.table.cell"},
		"of a map's values":                   {"{map: {k: {x: a}}}", full, without("x: {type: string}"), "spec.map.k.x"},
		"the map's values themselves":         {"{map: {k: {x: a}}}", full, without(", additionalProperties: {type: object, properties: {x: {type: string}}}"), "spec.map.k"},
		"additional properties are forbidden": {"{map: {k: {x: a}}}", full, strings.Replace(full, "additionalProperties: {type: object, properties: {x: {type: string}}}", "additionalProperties: false", 1), "spec.map.k"},
		"additional properties of any kind":   {"{map: {k: {x: a}}}", full, strings.Replace(full, "additionalProperties: {type: object, properties: {x: {type: string}}}", "additionalProperties: true", 1), ""},
		"unknown fields are kept from now on": {"{size: 1}", full, "{type: object, x-kubernetes-preserve-unknown-fields: true}", ""},
		"unknown fields are kept as before":   {"{any: {a: {b: c}}}", full, full, ""},
		"unknown fields are kept no more":     {"{any: {a: {b: c}}}", full, without(", x-kubernetes-preserve-unknown-fields: true"), "spec.any.a"},
		"what the API server never kept":      {"{typo: 1}", full, "{type: object}", ""},
		"what belongs to an embedded object":  {pod, full, full, ""},
		"what an embedded object says":        {pod, full, without("node: {type: string}"), "spec.pod.spec.node"},
		"only allOf says what is there":       {"{size: 1}", full, "{type: object, allOf: [{properties: {size: {type: integer}}}]}", ""},
		"a property of no schema at all":      {"{more: {deep: x}}", full, strings.Replace(full, "more: {type: object, properties: {deep: {type: string}}}", "more: {}", 1), "spec.more.deep"},
		"a property becomes another type":     {"{size: 1}", full, strings.Replace(full, "size: {type: integer}", "size: {type: string}", 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, declaring(t, v1alpha1.ModeEnforce, tt.says))
			got := f.send(t, redefined(widgets(t, tt.before), widgets(t, tt.after)))
			if got.Allowed != (tt.lost == "") {
				t.Fatalf("allowed = %v: %+v", got.Allowed, got.Result)
			}
			want := `1 object of GitSync mainstay-system/shop would lose what git says, for example widgets.example.com "one" (namespace shop): ` + tt.lost + ","
			if !got.Allowed && !strings.Contains(got.Result.Message, want) {
				t.Errorf("refused with %q, want %q", got.Result.Message, want)
			}
		})
	}
	small := without("size: {type: integer}, ")
	for name, tt := range map[string]struct {
		mode    v1alpha1.Mode
		edits   []func(map[string]any)
		refused bool
	}{
		"a definition of another kind":               {mode: v1alpha1.ModeEnforce, edits: []func(map[string]any){set("Gadget", "spec", "names", "kind")}},
		"a definition that is being deleted":         {mode: v1alpha1.ModeEnforce, edits: []func(map[string]any){set("2026-11-23T11:00:00Z", "metadata", "deletionTimestamp")}},
		"one that keeps whatever it does not know":   {mode: v1alpha1.ModeEnforce, edits: []func(map[string]any){set(true, "spec", "preserveUnknownFields")}},
		"an object that is only audited":             {mode: v1alpha1.ModeAudit},
		"an object that is held, beside all of that": {mode: v1alpha1.ModeEnforce, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, declaring(t, tt.mode, "{size: 1}"))
			got := f.send(t, redefined(widgets(t, full, tt.edits...), widgets(t, small, tt.edits...)))
			if got.Allowed == tt.refused {
				t.Errorf("allowed = %v: %+v", got.Allowed, got.Result)
			}
		})
	}
	t.Run("the stored version is another", func(t *testing.T) {
		f := newFixture(t, declaring(t, v1alpha1.ModeEnforce, "{size: 1}"))
		after := widgets(t, full)
		versions := after["spec"].(map[string]any)["versions"].([]any)
		versions[0].(map[string]any)["storage"], versions[1].(map[string]any)["storage"] = false, true
		if got := f.send(t, redefined(widgets(t, full), after)); got.Allowed || !strings.Contains(got.Result.Message, "spec.size") {
			t.Errorf("allowed = %v: %+v", got.Allowed, got.Result)
		}
		after["spec"].(map[string]any)["conversion"] = map[string]any{"strategy": "Webhook"}
		if got := f.send(t, redefined(widgets(t, full), after)); !got.Allowed {
			t.Errorf("what a conversion webhook makes of it nobody knows: %+v", got.Result)
		}
	})
	t.Run("git itself says so", func(t *testing.T) {
		x := declaring(t, v1alpha1.ModeEnforce, "{size: 1}")
		baseline, err := json.Marshal(widgets(t, small))
		if err != nil {
			t.Fatal(err)
		}
		addEntries(t, x, &ownership.Entry{
			ID:      ownership.ID{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "widgets.example.com"},
			Version: "v1", Resource: "customresourcedefinitions", Applied: bareContent(string(baseline), `{"f:spec":{"f:versions":{}}}`),
		})
		f := newFixture(t, x)
		for _, user := range []string{"alice", syncAccount} {
			if got := f.send(t, as(user, redefined(widgets(t, full), widgets(t, small)))); !got.Allowed {
				t.Errorf("%s: refused: %+v", user, got.Result)
			}
		}
		if got := f.send(t, redefined(widgets(t, full), widgets(t, without("deep: {type: string}", "size: {type: integer}, ")))); got.Allowed {
			t.Error("more than git says is permitted")
		}
	})
}

func TestAnotherConversionIsPermittedAndSaid(t *testing.T) {
	const schema = "{type: object, properties: {size: {type: integer}}}"
	by := func(url, bundle string) func(map[string]any) {
		return set(map[string]any{"strategy": "Webhook", "webhook": map[string]any{"clientConfig": map[string]any{"url": url, "caBundle": bundle}}}, "spec", "conversion")
	}
	for name, tt := range map[string]struct {
		before, after []func(map[string]any)
		says          bool
	}{
		"a webhook converts from now on": {nil, []func(map[string]any){by("https://x", "")}, true},
		"another webhook":                {[]func(map[string]any){by("https://x", "")}, []func(map[string]any){by("https://y", "")}, true},
		"another certificate":            {[]func(map[string]any){by("https://x", "")}, []func(map[string]any){by("https://x", "eA==")}, false},
		"another label":                  {nil, []func(map[string]any){set("b", "metadata", "labels", "a")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, declaring(t, v1alpha1.ModeEnforce, "{size: 1}"))
			got := f.send(t, redefined(widgets(t, schema, tt.before...), widgets(t, schema, tt.after...)))
			if !got.Allowed {
				t.Fatalf("refused: %+v", got.Result)
			}
			said := len(got.Warnings) == 1 && strings.Contains(got.Warnings[0], `widgets.example.com "one"`)
			recorded := len(f.recorder.decisions) == 1 && f.recorder.decisions[0].Verdict == policy.Permit && f.recorder.decisions[0].Rule == ownRule
			if said != tt.says || recorded != tt.says {
				t.Errorf("warnings %q, recorded %+v", got.Warnings, f.recorder.decisions)
			}
		})
	}
}
