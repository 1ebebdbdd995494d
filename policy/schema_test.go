// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func asLoadError(err error, into **LoadError) bool { return errors.As(err, into) }

func TestAMisspeltMemberDoesNotCompile(t *testing.T) {
	for body, want := range map[string]string{
		`input.namspace == "x"`:                     `p/p.rego:4:2: input has no "namspace" (did you mean "namespace"?)`,
		`input.userInfo.user == "x"`:                `input.userInfo has no "user" (did you mean input.userInfo.username?)`,
		`input.request.object.spec.x == 1`:          `input has no "request" (did you mean input itself: Mainstay has no envelope?)`,
		`input.subresource == "exec"`:               `input has no "subresource" (did you mean input.subResource?)`,
		`input.kind == "Deployment"`:                `match error (compare member by member`,
		`input.kind.kin == "Deployment"`:            `input.kind has no "kin" (did you mean "kind"?)`,
		"some c in input.changes\n\tc.too == 1":     `undefined ref`,
		`input.changes[_].pth == "x"`:               `has no "pth"`,
		`input.dryRun == "true"`:                    `match error`,
		`input.actor.serviceaccount.name == "x"`:    `(did you mean "serviceAccount"?)`,
		`input.sync.lables.team == "x"`:             `(did you mean "labels"?)`,
		`input.operation.x == 1`:                    `undefined ref: input.operation.x`,
		`input.cluster.label.env == "prod"`:         `input.cluster has no "label"`,
		`startswith(input.userInfo.groups, "team")`: `startswith: invalid argument`,
	} {
		t.Run(body, func(t *testing.T) {
			_, err := newEngine(t).Load(t.Context(), module("package p\n\ndeny contains {\"reason\": \"r\"} if {\n\t"+body+"\n}"))
			var le *LoadError
			if err == nil || !asLoadError(err, &le) || !strings.Contains(err.Error(), want) || le.Items[0].File != "p/p.rego" || le.Items[0].Row < 4 {
				t.Errorf("Load: %v, want %q", err, want)
			}
		})
	}
	for _, body := range []string{
		`input.object.spec.whatever.nobody[0].knows == 1`, `input.oldObject.x == input.object.y`, `input.options.fieldManager == "x"`,
		`input.userInfo.extra["example.org/x"][_] == "y"`, `input.sync.labels["example.org/team"] == "y"`, `input.cluster.labels.env == "prod"`,
		`input.changes[_].from.a.b == input.changes[_].to[0]`, `input.namespaceObject.annotations["a/b"] == "c"`, "some k in [\"name\"]\n\tinput[k] == \"x\"",
		`object.get(input, "whatever", 1) == 1`, `input.pod.name == "x"`, `input.source.line > 3`, `data.parameters.any.thing == 1`,
		`input.object == null`,
	} {
		if _, err := newEngine(t).Load(t.Context(), module("package p\n\ndeny contains {\"reason\": \"r\"} if {\n\t"+body+"\n}")); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// matches checks a value against the parts of JSON schema that the schema of
// input uses; any other keyword is an error, so that none is overlooked.
func matches(s map[string]any, v any, at string) error {
	for key := range s {
		if !slices.Contains([]string{"type", "properties", "additionalProperties", "items", "required", "description", "title", "$schema"}, key) {
			return fmt.Errorf("%s: unknown keyword %s", at, key)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	switch want, _ := s["type"].(string); v := v.(type) {
	case map[string]any:
		if want != "object" && want != "" {
			return fmt.Errorf("%s is an object, want %s", at, want)
		}
		required, _ := s["required"].([]any)
		for _, key := range required {
			if _, ok := v[key.(string)]; !ok {
				return fmt.Errorf("%s has no %s", at, key)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			child, known := properties[key].(map[string]any)
			more, open := s["additionalProperties"].(map[string]any)
			switch {
			case known:
			case open:
				child = more
			case want == "":
				continue // open
			default:
				return fmt.Errorf("the schema has no %s.%s", at, key)
			}
			if err := matches(child, v[key], at+"."+key); err != nil {
				return err
			}
		}
	case []any:
		if want != "array" && want != "" {
			return fmt.Errorf("%s is an array, want %s", at, want)
		}
		items, _ := s["items"].(map[string]any)
		for i, item := range v {
			if err := matches(items, item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case string:
		return typed(at, want, "string")
	case bool:
		return typed(at, want, "boolean")
	case float64:
		if want == "integer" && v == float64(int64(v)) {
			return nil
		}
		return typed(at, want, "number")
	}
	return nil
}

func typed(at, want, is string) error {
	if want != "" && want != is {
		return fmt.Errorf("%s is a %s, want %s", at, is, want)
	}
	return nil
}

func TestTheSchemaIsWhatPoliciesSee(t *testing.T) {
	var s map[string]any
	if err := json.Unmarshal(InputSchema, &s); err != nil {
		t.Fatal(err)
	}
	e, err := New(t.Context(), Options{ClusterName: "prod", ClusterLabels: map[string]string{"env": "prod"}})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for name, change := range map[string]func() *Change{
		"a request": imageChange,
		"a request of a service account": func() *Change {
			c := imageChange()
			c.User = &User{Username: "system:serviceaccount:a:b"}
			c.Options = fastjson.MustParse(`{"fieldManager":"kubectl"}`)
			c.NamespaceAnnotations = map[string]string{"a": "b"}
			return c
		},
		"drift":                 func() *Change { return drift(imageChange(), "kubectl-edit") },
		"drift by nobody known": func() *Change { return drift(imageChange(), "") },
		"a commit":              commit,
		"a commit that creates": func() *Change { c := commit(); c.Operation, c.Fields, c.OldObject = Create, nil, nil; return c },
		"a deletion":            func() *Change { c := imageChange(); c.Operation, c.Fields, c.Object = Delete, nil, nil; return c },
		"the use of a pod":      func() *Change { return use("exec") },
		"a scale": func() *Change {
			c := imageChange()
			c.SubResource = "scale"
			c.Fields = []Field{field("spec.replicas", "1", "2")}
			return c
		},
		"a Secret": func() *Change {
			c := imageChange()
			c.Kind = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
			return c
		},
		"what git knows nothing of": func() *Change { c := imageChange(); c.Record.Applied = nil; return c },
	} {
		t.Run(name, func(t *testing.T) {
			c := change()
			raw, err := jsonOf(e.input(c, pathsOf(c), everything()))
			if err != nil {
				t.Fatal(err)
			}
			var v map[string]any
			if err := json.Unmarshal(raw, &v); err != nil {
				t.Fatal(err)
			}
			if err := matches(s, v, "input"); err != nil {
				t.Error(err)
			}
			for key := range v {
				seen[key] = true
			}
		})
	}
	for key := range s["properties"].(map[string]any) {
		if !seen[key] {
			t.Errorf("the schema has input.%s, which no change has", key)
		}
	}
}
