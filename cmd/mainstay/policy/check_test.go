// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/pitfall"
)

var today = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// TestCheckFindsPlantedMistakes: a file's comment says what is to be found in
// its policies, and nothing else is. Notes count where one is wanted.
func TestCheckFindsPlantedMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/mistakes/*.txtar")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		t.Run(strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".txtar"), "-", " "), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, want, ok := strings.Cut(string(archive.Comment), "want: ")
			if want = strings.TrimSpace(want); !ok || want == "" {
				t.Fatal("the comment does not say what is wanted")
			}
			seen[want] = true
			modules := map[string]string{}
			for _, f := range archive.Files {
				modules[f.Name] = string(f.Data)
			}
			got, _, err := examine(t.Context(), policy.Source{Key: folderKey, Modules: modules}, nil, today)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(got, func(x finding) bool { return x.Rule == want }) {
				t.Errorf("%s is not found", want)
			}
			for _, x := range got {
				if x.Rule != want && x.Level != "note" {
					t.Errorf("%s%s %s is found as well", place(x), x.Message, x.Rule)
				}
				if x.Rule == want && (x.Row == 0 || x.File == "" || x.Message == "") {
					t.Errorf("it is found, but where? %+v", x)
				}
			}
		})
	}
	for _, rule := range pitfall.Rules() {
		if !seen[rule.Name] {
			t.Errorf("no mistake is planted for %s", rule.Name)
		}
	}
}

// TestCheckIsContentWithGoodPolicies: whatever ships as an example has neither
// an error nor a warning.
func TestCheckIsContentWithGoodPolicies(t *testing.T) {
	root := "../../.."
	folders := map[string]map[string]string{"the page for authors": exampleOf(t, root+"/policy/README.md")}
	for _, folder := range []string{"policy/library", "cmd/mainstay/demo/policies", "cmd/mainstay/sandbox/seed"} {
		source, err := readFolders([]string{filepath.Join(root, folder)})
		if err != nil {
			continue // it has none
		}
		// Each folder is a source of its own: they may use the same names.
		for file, text := range source.Modules {
			dir := filepath.Dir(file)
			if folders[dir] == nil {
				folders[dir] = map[string]string{}
			}
			folders[dir][file] = text
		}
	}
	if len(folders) < 2 {
		t.Fatalf("only %d folders", len(folders))
	}
	for folder, modules := range folders {
		t.Run(folder, func(t *testing.T) {
			got := look(t, folder, modules)
			for _, x := range got {
				if x.Level != "note" {
					t.Errorf("%s%s%s [%s]", place(x), x.Message, hinted(x.Hint), x.Rule)
				}
			}
		})
	}
}

// look examines a folder. The library's packages have names and keys of their
// own, which only Mainstay may load, and tests of their own.
func look(t *testing.T, folder string, modules map[string]string) []finding {
	t.Helper()
	if !strings.Contains(folder, "policy/library") {
		got, _, err := examine(t.Context(), policy.Source{Key: folderKey, Modules: modules}, nil, today)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	parsed := map[string]*ast.Module{}
	for file, text := range modules {
		m, err := ast.ParseModuleWithOpts(file, text, ast.ParserOptions{RegoVersion: ast.RegoV1, ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		parsed[file] = m
	}
	var out []finding
	for _, x := range pitfall.Find(pitfall.Options{Modules: parsed, Now: today}) {
		out = append(out, finding{x.File, x.Row, x.Col, string(x.Level), x.Rule, x.Message, x.Hint})
	}
	return out
}

// exampleOf takes the files out of a page that are shown under their names.
func exampleOf(t *testing.T, page string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)`(policies/[^`]+\\.rego)`:\n```rego\n(.*?)```").FindAllSubmatch(text, -1) {
		modules[string(m[1])] = string(m[2])
	}
	return modules
}
