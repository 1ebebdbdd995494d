// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

func helperFiles(t *testing.T) map[string]string {
	t.Helper()
	files, err := Helpers()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestHelpersBesidePoliciesAreLeftOut(t *testing.T) {
	own := module("package p\n\nimport data.mainstay.lib\n\nexception contains {\"reason\": \"r\", \"paths\": [\"**\"]} if lib.by_user(\"alice\")\n")
	plain, err := newEngine(t).Load(t.Context(), own)
	if err != nil {
		t.Fatal(err)
	}
	const lib = "mainstay/lib/lib.rego"
	for name, tt := range map[string]struct {
		edit func(text string) string
		says string
	}{
		"as they were written":            {func(text string) string { return text }, ""},
		"with the ends of another system": {func(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }, ""},
		"of another version": {func(text string) string {
			_, rest, _ := strings.Cut(text, "\n")
			rest += "\nby_nobody(_) := false\n"
			return helperMark + sum(rest) + "\n" + rest
		}, ""},
		"edited by hand": {func(text string) string { return text + "\nby_nobody(_) := false\n" }, "run mainstay policy vendor"},
	} {
		t.Run(name, func(t *testing.T) {
			s := module("")
			s.Modules = maps.Clone(own.Modules)
			for file, text := range helperFiles(t) {
				s.Modules["policies/"+file] = text
			}
			s.Modules["policies/"+lib] = tt.edit(helperFiles(t)[lib])
			got, err := newEngine(t).Load(t.Context(), s)
			switch {
			case tt.says != "":
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("Load: %v, want %q", err, tt.says)
				}
			case err != nil:
				t.Errorf("Load: %v", err)
			case got.Digest != plain.Digest:
				t.Error("the helpers count as policies")
			}
		})
	}
}

// OPA alone, without anything of Mainstay's, compiles the helpers.
func TestHelpersArePlainRego(t *testing.T) {
	modules := map[string]*ast.Module{}
	for file, text := range helperFiles(t) {
		m, err := ast.ParseModuleWithOpts(file, text, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		modules[file] = m
		formatted, err := format.SourceWithOpts(file, []byte(text), format.Opts{RegoVersion: ast.RegoV1})
		if err != nil || string(formatted) != text {
			t.Errorf("%s is not as opa fmt writes it: %v", file, err)
		}
	}
	compiler := ast.NewCompiler().WithStrict(true)
	if compiler.Compile(modules); compiler.Failed() {
		t.Fatal(compiler.Errors)
	}
	if got := slices.Sorted(maps.Keys(modules)); len(got) != 3 {
		t.Errorf("files = %v", got)
	}
}

func TestThePlainCoversIsTheSame(t *testing.T) {
	patterns := []string{
		"spec", "spec.replicas", "spec.*", "spec.**", "**", "*", "**.image", "spec.**.image",
		"spec.template.spec.containers[*].image", "spec.template.spec.containers[name=web].image",
		`metadata.annotations["a.b/c"]`, `metadata["labels"].app`, "metadata.annotations.*", `metadata.finalizers[="x"]`,
		"spec.ports[containerPort=80,protocol=TCP]", "spec.*.spec", "**.spec.**.image",
	}
	paths := []string{
		"spec", "spec.replicas", "spec.replicasX", "spec.template.spec.containers[name=web].image",
		"spec.template.spec.containers[name=db].image", "spec.template.spec.containers[name=web]",
		`metadata.annotations["a.b/c"]`, `metadata.annotations["a.b/d"]`, "metadata.labels.app", `metadata.finalizers[="x"]`,
		"spec.ports[containerPort=80,protocol=TCP]", "spec.ports[containerPort=81,protocol=TCP].name", "image",
	}
	var options []func(*rego.Rego)
	for file, text := range helperFiles(t) {
		options = append(options, rego.Module(file, text))
	}
	options = append(options, rego.Query("[c | some i; x := input[i]; c := {y | y := true; data.mainstay.lib.covers(x[0], x[1])} != set()]"))
	var pairs [][2]string
	var want []bool
	for _, pattern := range patterns {
		p, err := fieldset.ParsePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range paths {
			path, err := fieldset.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			pairs, want = append(pairs, [2]string{pattern, text}), append(want, p.Covers(path))
		}
	}
	results, err := rego.New(append(options, rego.Input(pairs))...).Eval(t.Context())
	if err != nil || len(results) != 1 {
		t.Fatal(results, err)
	}
	var got []bool
	text, err := json.Marshal(results[0].Expressions[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &got); err != nil || len(got) != len(want) {
		t.Fatal(fmt.Errorf("%d answers, %w", len(got), err))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s covers %s: %t in Rego, %t in Go", pairs[i][0], pairs[i][1], got[i], want[i])
		}
	}
}
