// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/policy/library"
)

// TestReadme loads the worked example, and holds the page to what exists.
func TestReadme(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)`(policies/night/[^`]+)`:\n```rego\n(.*?)```").FindAllSubmatch(page, -1) {
		modules[string(m[1])] = string(m[2])
	}
	if len(modules) != 2 {
		t.Fatalf("%d files in the example, want 2", len(modules))
	}
	got, err := newEngine(t).Load(t.Context(), Source{Key: "k", Modules: modules})
	if err != nil {
		t.Fatal(err)
	}
	if got.Tests != 3 || len(got.Rules) != 2 {
		t.Errorf("Load = %+v", got)
	}
	builtins, err := builtinModules(nil)
	if err != nil {
		t.Fatal(err)
	}
	for file := range builtins {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "rego/"), ".rego")
		if !strings.Contains(string(page), "| `"+name+"` |") {
			t.Errorf("the page does not tell of the built-in policy %s", name)
		}
	}
	ships, err := library.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ships.Policies() {
		if row := "| [`" + p.Name + "`](library/" + p.Name + "/README.md) | " + p.Title + " |"; !strings.Contains(string(page), row) {
			t.Errorf("the page does not contain %s", row)
		}
	}
	helpers, err := libraryModules()
	if err != nil {
		t.Fatal(err)
	}
	for file, m := range helpers {
		for _, r := range m.Rules {
			if name := r.Head.Name.String(); !strings.HasPrefix(name, "_") && !strings.Contains(string(page), "`"+name) {
				t.Errorf("the page does not tell of %s in %s", name, file)
			}
		}
	}
}
