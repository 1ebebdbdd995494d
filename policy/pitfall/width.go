// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package pitfall

import (
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

func (v *view) ends() bool { return v.member("until") != nil || v.member("ttl") != nil }

// wide tells whether a pattern covers an object or most of it.
func wide(steps []fieldset.Step) bool {
	for i, s := range steps {
		switch {
		case s.Any || s.One:
		case i == 0 && (s.Field == "spec" || s.Field == "metadata"):
		default:
			return false
		}
	}
	return true
}

func steps(t *ast.Term) []fieldset.Step {
	p, err := fieldset.ParsePattern(text(t))
	if err != nil {
		return nil // package policy says so
	}
	return p.Steps()
}

func wideWithoutEnd(f *finder, v *view) {
	if v.ends() {
		return
	}
	paths, _ := v.paths()
	for _, t := range paths {
		if s := steps(t); len(s) > 0 && wide(s) {
			f.add(v, t.Location, `name the fields, or give it an "until" or a "ttl"`, "%s covers (nearly) everything, for good", text(t))
		}
	}
}

func expired(f *finder, v *view) {
	t := v.member("until")
	until, err := time.Parse(time.RFC3339, text(t))
	if t != nil && err == nil && !f.options.Now.Before(until) {
		f.add(v, t.Location, "delete the rule, or give it a new end", "ended on %s", text(t))
	}
}

func (v *view) speaksOfDeletion() bool {
	return slices.ContainsFunc(v.equals("input.operation"), func(t *ast.Term) bool { return text(t) == "DELETE" || text(t) == "CONNECT" })
}

func missingPaths(f *finder, v *view) {
	if v.value() != nil && v.member("paths") == nil && !v.speaksOfDeletion() && !f.reaches(v, "input.operation") {
		f.add(v, v.rule.Head.Key.Location, `add "paths": ["…"], or input.operation == "DELETE" if that is meant`,
			"without paths it covers nothing but a deletion")
	}
}

func pathsOnDelete(f *finder, v *view) {
	operations := v.equals("input.operation")
	if v.member("paths") == nil || len(operations) != 1 || text(operations[0]) != "DELETE" {
		return
	}
	f.add(v, v.member("paths").Location, "leave paths out", "a deletion changes no path, so this never covers it")
}

func unscoped(f *finder, v *view) {
	about := []string{
		"input.kind", "input.resource", "input.namespace", "input.name", "input.sync", "input.source",
		"input.namespaceObject", "input.object", "input.oldObject",
	}
	if v.value() == nil || f.reaches(v, about...) {
		return
	}
	// An account that is named bounds it as well, and so does a field that only
	// one kind has.
	if f.account(v) {
		return
	}
	paths, all := v.paths()
	// Paths that are computed are made of what the rule has looked at.
	if !all || !slices.ContainsFunc(paths, func(t *ast.Term) bool {
		s := steps(t)
		return len(s) == 0 || wide(s) || s[0].Any || s[0].Field == "metadata"
	}) {
		return
	}
	f.add(v, nil, "add a condition on input.kind, input.namespace or input.name", "no condition says which objects it speaks of")
}

// someNotEvery finds "there is a good change" where "all changes are good" was
// meant: paths that are wider than what the condition looks at.
func someNotEvery(f *finder, v *view) {
	paths, all := v.paths()
	if !all || len(paths) == 0 || !v.loops() {
		return
	}
	var judged *ast.Location
	for _, c := range v.comparisons() {
		if (below(c.name, "change.to") || below(c.name, "change.from")) && !c.negated {
			judged = c.at
		}
	}
	if judged == nil {
		return
	}
	narrow := map[string]bool{}
	for _, t := range v.equals("change.path") {
		narrow[text(t)] = true
	}
	for _, t := range paths {
		if !narrow[text(t)] {
			f.add(v, judged, `write "paths": [change.path], so that each change is judged by itself, or every change in input.changes {…}`,
				"one change that fits lets others at %s pass beside it", text(t))
			return
		}
	}
}

// loops tells whether the rule takes one change out of input.changes.
func (v *view) loops() bool {
	found := false
	for _, x := range v.rule.Body {
		if _, every := x.Terms.(*ast.Every); every {
			return false
		}
		if d, ok := x.Terms.(*ast.SomeDecl); ok {
			for _, s := range d.Symbols {
				if c, ok := s.Value.(ast.Call); ok && v.of(c[len(c)-1]) == "input.changes" {
					found = true
				}
			}
		}
	}
	return found || slices.ContainsFunc(v.reads, func(r read) bool { return strings.HasPrefix(r.name, "change.") })
}

func restartsPods(f *finder, v *view) {
	if !v.ends() || v.member("warn") != nil {
		return
	}
	paths, _ := v.paths()
	for _, t := range paths {
		if s := steps(t); len(s) > 2 && s[0].Field == "spec" && (s[1].Field == "template" || s[1].Field == "jobTemplate") {
			f.add(v, t.Location, `say so in "warn", or do without an end and take it into git`,
				"when it ends, %s goes back to what git says, and the pods restart", text(t))
			return
		}
	}
}
