// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package pitfall

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Level says how sure a rule is that something is wrong.
type Level string

// The levels.
const (
	// Warning is most likely a mistake.
	Warning Level = "warning"
	// Note is worth knowing, and often as it should be.
	Note Level = "note"
)

// Finding is one doubtful place of a policy.
type Finding struct {
	File     string
	Row, Col int
	// Rule that found it, for example wide-without-end.
	Rule    string
	Level   Level
	Message string
	// Hint says what to do about it.
	Hint string
}

// Options are what is looked at.
type Options struct {
	// Modules as they were parsed, by file, with their tests.
	Modules map[string]*ast.Module
	// Unindexed are the entry rules that are asked about every change, since
	// nothing in them lets the index of rules skip them; by file and row.
	Unindexed []*ast.Location
	// Schemas of kinds that the program does not know by itself; may be nil.
	Schemas Schemas
	// Now is what an end is compared with.
	Now time.Time
}

// Find looks for everything in Rules. The findings are in the order of files
// and lines; those that a comment silences are left out:
//
//	# mainstay ignore:wide-without-end
//
// at the line of the finding, above it, or above the rule.
func Find(o Options) []Finding {
	f := &finder{options: o, schemas: both{builtinSchemas(), o.Schemas}, rules: map[string][]*view{}}
	defined := map[string]bool{}
	for _, m := range o.Modules {
		for _, r := range m.Rules {
			defined[ruleName(m, r)] = true
		}
	}
	for _, file := range slices.Sorted(maps.Keys(o.Modules)) {
		m := o.Modules[file]
		test := strings.HasSuffix(file, "_test.rego")
		for _, r := range m.Rules {
			for at := r; at != nil; at = at.Else {
				v := newView(file, m, at, defined)
				v.test = test
				f.views = append(f.views, v)
				f.rules[v.name] = append(f.rules[v.name], v)
			}
		}
	}
	for _, rule := range checks() {
		f.current = rule.Info
		for _, v := range f.views {
			if !v.test && (rule.entry == "" || v.entry == rule.entry || rule.entry == anyEntry && v.entry != "") {
				if rule.find != nil {
					rule.find(f, v)
				}
			}
		}
		if rule.whole != nil {
			rule.whole(f)
		}
	}
	slices.SortStableFunc(f.found, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Col, b.Col), strings.Compare(a.Rule, b.Rule))
	})
	return f.found
}

type finder struct {
	options Options
	schemas Schemas
	views   []*view
	// rules are the views by full name, for example data.hpa.exception.
	rules   map[string][]*view
	current Info
	found   []Finding
}

func (f *finder) add(v *view, at *ast.Location, hint, format string, args ...any) {
	if at == nil {
		at = v.rule.Location
	}
	x := Finding{
		File: v.file, Row: at.Row, Col: at.Col, Rule: f.current.Name, Level: f.current.Level,
		Message: fmt.Sprintf(format, args...), Hint: hint,
	}
	if !slices.Contains(f.found, x) && !silenced(v, x) {
		f.found = append(f.found, x)
	}
}

// silenced looks for a comment that names the rule.
func silenced(v *view, x Finding) bool {
	comments := map[int]string{}
	for _, c := range v.module.Comments {
		comments[c.Location.Row] = string(c.Text)
	}
	names := func(text string) bool {
		_, list, ok := strings.Cut(text, "mainstay ignore:")
		return ok && slices.ContainsFunc(strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }), func(s string) bool { return s == x.Rule })
	}
	if names(comments[x.Row]) || names(comments[x.Row-1]) {
		return true
	}
	for row := v.rule.Location.Row - 1; comments[row] != ""; row-- {
		if names(comments[row]) {
			return true
		}
	}
	return false
}
