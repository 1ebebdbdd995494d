// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// given are the reasons that a package's code gives: literals and constants
// where a failure is made, and the constants that are called Reason….
func given(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", folder, len(files), err)
	}
	constants, reasons := map[string]string{}, map[string]bool{}
	var trees []*ast.File
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		trees = append(trees, tree)
		ast.Inspect(tree, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for i, name := range spec.Names {
					if i < len(spec.Values) {
						constants[name.Name] = literal(spec.Values[i], nil)
					}
				}
			}
			return true
		})
	}
	for name, value := range constants {
		if strings.HasPrefix(name, "Reason") && value != "" {
			reasons[value] = true
		}
	}
	// The reason's place among the arguments of what makes a failure.
	makers := map[string]int{"limited": 0, "stalled": 2, "each": 3}
	for _, tree := range trees {
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if name, ok := n.Type.(*ast.Ident); ok && name.Name == "failure" && len(n.Elts) > 0 {
					reasons[literal(n.Elts[0], constants)] = true
				}
			case *ast.CallExpr:
				name := ""
				switch f := n.Fun.(type) {
				case *ast.Ident:
					name = f.Name
				case *ast.SelectorExpr:
					name = f.Sel.Name
				}
				if at, ok := makers[name]; ok && at < len(n.Args) {
					reasons[literal(n.Args[at], constants)] = true
				}
			}
			return true
		})
	}
	delete(reasons, "") // made of another one
	return reasons
}

// literal is a string that is written there, or the constant of that name.
func literal(e ast.Expr, constants map[string]string) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text
		}
	case *ast.Ident:
		return constants[e.Name]
	}
	return ""
}

func TestTheREADMESaysWhatToDoAboutEachReason(t *testing.T) {
	listed := v1alpha1.UnreadyReasons()
	slices.Sort(listed)
	t.Run("the list has every reason that the code gives", func(t *testing.T) {
		code := given(t, "../sync/loop")
		maps.Copy(code, given(t, "../sync/source"))
		for _, reason := range []string{"Deleting", "HealthTimeout", "Unhealthy"} {
			code[reason] = true // of a condition, and no failure
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(code)), listed); diff != "" {
			t.Errorf("config/v1alpha1/reasons.go (-code +list):\n%s", diff)
		}
	})
	t.Run("the table has every reason of the list", func(t *testing.T) {
		readme, err := os.ReadFile("../README.md")
		if err != nil {
			t.Fatal(err)
		}
		_, table, ok := strings.Cut(string(readme), "| `Ready` is False because | do |\n")
		table, _, _ = strings.Cut(table, "\n\n")
		if !ok {
			t.Fatal("there is no table in README.md")
		}
		rows := map[string]bool{}
		word := regexp.MustCompile("`([A-Za-z]+)`")
		for row := range strings.Lines(table) {
			cells := strings.Split(row, "|")
			if len(cells) < 4 || strings.TrimSpace(cells[2]) == "" {
				t.Errorf("no row of reasons and what to do: %s", row)
				continue
			}
			for _, m := range word.FindAllStringSubmatch(cells[1], -1) {
				rows[m[1]] = true
			}
		}
		if diff := cmp.Diff(listed, slices.Sorted(maps.Keys(rows))); diff != "" {
			t.Errorf("README.md (-list +table):\n%s", diff)
		}
	})
}
