// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package regal

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	astjson "github.com/open-policy-agent/opa/v1/ast/json"
	"github.com/open-policy-agent/opa/v1/rego"
)

// result stands for Regal's package of the same name, which is not part of this
// module: it finds the same rule and place. Regal itself runs the rules where
// make regal has built it.
const result = `package regal.result

fail(chain, details) := object.union(details, {"title": chain[count(chain) - 1].path[4]})

location(x) := {"row": x.location.row}
`

// found lints a policy as Regal does: a rule's name and its line.
func found(t *testing.T, file, text string) []string {
	t.Helper()
	rules, err := Rules()
	if err != nil {
		t.Fatal(err)
	}
	options := []func(*rego.Rego){
		rego.Query("report := data.custom.regal.rules.mainstay[_].report"), rego.Module("result.rego", result), rego.EnablePrintStatements(false),
	}
	for name, rule := range rules {
		module, err := ast.ParseModuleWithOpts(name, rule, ast.ParserOptions{RegoVersion: ast.RegoV1, ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		options = append(options, rego.ParsedModule(module))
	}
	results, err := rego.New(append(options, rego.Input(tree(t, file, text)))...).Eval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range results {
		for _, v := range r.Bindings["report"].([]any) {
			violation := v.(map[string]any)
			out = append(out, fmt.Sprintf("%v:%v", violation["title"], violation["row"]))
		}
	}
	slices.Sort(out)
	return out
}

// tree is a policy's syntax tree, with the name of its file where Regal puts it.
func tree(t *testing.T, file, text string) map[string]any {
	t.Helper()
	module, err := ast.ParseModuleWithOpts(file, text, ast.ParserOptions{RegoVersion: ast.RegoV1, ProcessAnnotation: true})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(module)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	out["regal"] = map[string]any{"file": map[string]any{"name": file}}
	return out
}

func TestMain(m *testing.M) {
	// Regal's trees say where everything is.
	astjson.SetOptions(astjson.Options{MarshalOptions: astjson.MarshalOptions{IncludeLocation: astjson.NodeToggle{Term: true, Rule: true, Head: true, Expr: true}}})
	os.Exit(m.Run())
}

func TestWhatTheRulesFind(t *testing.T) {
	const good = `package night

import data.mainstay.lib

# METADATA
# title: The night shift may change images
exception contains {"reason": "r", "paths": ["spec.template.spec.containers[*].image"], "ttl": "8h"} if {
	input.namespace == "shop"
	startswith(input.userInfo.username, "system:serviceaccount:shop:")
	lib.by_group("night-shift")
}

# METADATA
# title: Frozen
deny contains {"reason": "frozen"} if input.name == "web"
`
	replaced := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("there is no %q", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	for name, test := range map[string]struct {
		file, text string
		want       []string
	}{
		"nothing in a good policy":           {"night.rego", good, nil},
		"a deny called denial":               {"night.rego", replaced("deny contains", "denial contains"), []string{"misnamed-entry:15"}},
		"in a test it is a helper":           {"night_test.rego", replaced("deny contains", "denial contains"), nil},
		"a user by prefix":                   {"night.rego", replaced(`"system:serviceaccount:shop:"`, `"system:serviceaccount:shop"`), []string{"user-by-prefix:9"}},
		"a user by a part of the name":       {"night.rego", replaced(`startswith(input.userInfo.username, "system:serviceaccount:shop:")`, `contains(input.userInfo.username, "ci")`), []string{"user-by-prefix:9"}},
		"within a comprehension":             {"night.rego", replaced(`input.name == "web"`, `count([1 | endswith(input.userInfo.username, "x")]) > 0`), []string{"user-by-prefix:15"}},
		"a path like a JSON pointer":         {"night.rego", replaced("spec.template.spec.containers[*].image", "/spec/replicas"), []string{"path-in-wrong-form:7"}},
		"a path by position":                 {"night.rego", replaced("containers[*]", "containers[0]"), []string{"path-in-wrong-form:7"}},
		"everything without an end":          {"night.rego", replaced(`["spec.template.spec.containers[*].image"], "ttl": "8h"`, `["**"]`), []string{"wide-without-end:7"}},
		"everything, for a time":             {"night.rego", replaced(`["spec.template.spec.containers[*].image"]`, `["**"]`), nil},
		"a title that is missing":            {"night.rego", replaced("# METADATA\n# title: Frozen\n", ""), []string{"missing-title:13"}},
		"a description is no title":          {"night.rego", replaced("# title: Frozen", "# description: Frozen"), []string{"missing-title:15"}},
		"a helper called exception_for, too": {"night.rego", good + "\nexception_for(name) if input.name == name\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, found(t, test.file, test.text)); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}
