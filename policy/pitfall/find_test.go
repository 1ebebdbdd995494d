// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package pitfall

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
)

// find looks at one policy, and returns rule:row of what was found.
func find(t *testing.T, files map[string]string) []string {
	t.Helper()
	o := Options{Modules: map[string]*ast.Module{}, Now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	for name, text := range files {
		m, err := ast.ParseModuleWithOpts(name, text, ast.ParserOptions{RegoVersion: ast.RegoV1, ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		o.Modules[name] = m
	}
	out := []string{}
	for _, f := range Find(o) {
		if f.Rule != "untested" {
			out = append(out, fmt.Sprintf("%s:%d %s", f.File, f.Row, f.Rule))
		}
	}
	return out
}

const pipeline = `package p

# METADATA
# title: The pipeline may do everything
exception contains {"reason": "r", "paths": ["**"]} if {
	input.namespace == "build"
	startswith(input.userInfo.username, "pipe")
}
`

// What the rules find is told by the corpus of mistakes beside the command; here
// is what holds for all of them.
func TestFindings(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"by file and line": {
			map[string]string{"p.rego": pipeline, "a.rego": "package a\n\nunused := 1\n"},
			[]string{"a.rego:3 unreachable-rule", "p.rego:5 wide-without-end", "p.rego:7 user-by-prefix", "p.rego:7 only-at-admission"},
		},
		"silenced above the rule and at the line": {
			map[string]string{"p.rego": `package p

# mainstay ignore:wide-without-end
# METADATA
# title: The pipeline may do everything
exception contains {"reason": "r", "paths": ["**"]} if {
	input.namespace == "build"
	startswith(input.userInfo.username, "pipe") # mainstay ignore:user-by-prefix, only-at-admission
}
`}, []string{},
		},
		"another rule is not silenced": {
			map[string]string{"p.rego": "package p\n\n# mainstay ignore:expired\nunused := 1\n"},
			[]string{"p.rego:4 unreachable-rule"},
		},
		"tests are no policies": {
			map[string]string{"p_test.rego": "package p_test\n\nunused := startswith(input.userInfo.username, \"a\")\n"}, []string{},
		},
		"a name behind an import": {
			map[string]string{"p.rego": `package p

import data.mainstay.lib as l

# METADATA
# title: All service accounts
exception contains {"reason": "r", "paths": ["spec.replicas"], "until": "2027-01-01T00:00:00Z"} if {
	input.name == "web"
	l.by_group("system:serviceaccounts")
}
`}, []string{"p.rego:9 group-of-everybody", "p.rego:9 only-at-admission"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, find(t, test.files)); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryRuleHasANameOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules() {
		if r.Name == "" || r.Title == "" || seen[r.Name] {
			t.Errorf("%+v", r)
		}
		seen[r.Name] = true
	}
}
