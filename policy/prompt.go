// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"
)

// promptBuiltins return in a time that their arguments' size bounds, and make
// nothing that is much larger than these. Between two of them an evaluation
// heeds its deadline.
const promptBuiltins = `
eq assign equal neq gt gte lt lte internal.member_2 internal.member_3
plus minus mul div rem round ceil floor abs to_number
and or intersection union count sum max min
object.get object.keys array.slice array.concat
contains startswith endswith indexof lower upper substring split
trim trim_left trim_right trim_prefix trim_suffix trim_space
strings.any_prefix_match strings.any_suffix_match
is_array is_boolean is_null is_number is_object is_set is_string type_name
time.clock time.date time.weekday time.diff time.parse_rfc3339_ns time.parse_duration_ns
mainstay.covers
`

// Prompt tells whether the policies that speak of a change return promptly
// once their deadline is over: none of them calls a function that can take
// long by itself and can't be interrupted. Such a change may be judged where
// somebody waits for it; any other needs a place that can be left behind. It
// says so for changes of a usual size only.
func (e *Engine) Prompt(c *Change) bool {
	for _, s := range e.sources.Load().list {
		if !s.prompt && s.speaksOf(c) {
			return false
		}
	}
	return true
}

// promptRules tells whether the rules of a source that Decide asks, with all
// that they depend on, call prompt functions only.
func (s *source) promptRules() bool {
	known := map[string]bool{}
	for name := range strings.FieldsSeq(promptBuiltins) {
		known[name] = true
	}
	seen := map[util.T]bool{}
	var prompt func(node util.T) bool
	prompt = func(node util.T) bool {
		if seen[node] {
			return true
		}
		seen[node] = true
		ok := true
		ast.WalkWiths(node, func(*ast.With) bool { ok = false; return true })
		ast.WalkExprs(node, func(e *ast.Expr) bool {
			if terms, call := e.Terms.([]*ast.Term); call {
				ok = ok && promptCall(known, terms)
			}
			return false
		})
		ast.WalkTerms(node, func(t *ast.Term) bool {
			if terms, call := t.Value.(ast.Call); call {
				ok = ok && promptCall(known, terms)
			}
			return false
		})
		for next := range s.compiler.Graph.Dependencies(node) {
			ok = ok && prompt(next)
		}
		return ok
	}
	for _, rule := range s.compiler.Modules[entryFile].Rules {
		if !prompt(rule) {
			return false
		}
	}
	return true
}

// promptCall judges one call; terms[0] is the function.
func promptCall(known map[string]bool, terms []*ast.Term) bool {
	ref, ok := terms[0].Value.(ast.Ref)
	if !ok {
		return false
	}
	switch name := strings.TrimPrefix(ref.String(), boundedPrefix); {
	case known[name] || ref.HasPrefix(ast.DefaultRootRef):
		return true // functions of Rego are among the dependencies
	case name == "regex.match":
		// RE2 takes time in proportion, if the pattern is not made of input.
		return len(terms) > 1 && constantText(terms[1]) != ""
	case name == "sprintf":
		// A width can make any amount of text.
		return len(terms) > 1 && !strings.ContainsAny(constantText(terms[1]), "0123456789*.") && constantText(terms[1]) != ""
	}
	return false
}

func constantText(t *ast.Term) string {
	s, _ := t.Value.(ast.String)
	return string(s)
}
