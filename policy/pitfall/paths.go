// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package pitfall

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

func pathInWrongForm(f *finder, v *view) {
	for _, c := range v.comparisons() {
		if c.name != "change.path" || c.op != "equal" && c.op != "neq" && c.op != "eq" && c.op != "internal.member_2" {
			continue
		}
		for _, t := range c.values {
			if want, bad := wrongForm(text(t)); bad {
				f.add(v, t.Location, want, "no path is written like %q", text(t))
			}
		}
	}
}

var index = regexp.MustCompile(`\[(\d+)\]|\.(\d+)(\.|$)`)

// wrongForm tells whether a text is no path as Path.String writes it, and how
// it may have been meant.
func wrongForm(s string) (string, bool) {
	p, err := fieldset.Parse(s)
	switch {
	case err == nil && p.String() == s:
		return "", false
	case err == nil:
		return "write " + p.String(), true
	case strings.Contains(s, "*"):
		return fmt.Sprintf("a pattern is asked for with lib.covers(%q, change.path)", s), true
	case strings.HasPrefix(s, "/"):
		return "write " + strings.ReplaceAll(strings.TrimPrefix(s, "/"), "/", "."), true
	case strings.HasPrefix(s, "."), strings.HasPrefix(s, "$."):
		return "write " + strings.TrimLeft(s, "$."), true
	case index.MatchString(s):
		return "elements are told by their key, not by their position: containers[name=web]", true
	}
	for _, parent := range []string{"metadata.annotations.", "metadata.labels."} {
		if key, ok := strings.CutPrefix(s, parent); ok {
			return fmt.Sprintf("write %s[%q]", strings.TrimSuffix(parent, "."), key), true
		}
	}
	return err.Error(), true
}

// kinds that the rule is limited to, where they are written out.
func (v *view) kinds() []string {
	var out []string
	for _, t := range v.equals("input.kind.kind") {
		out = append(out, text(t))
	}
	return out
}

func pathNotInSchema(f *finder, v *view) {
	kinds := v.kinds()
	paths, _ := v.paths()
	if len(kinds) == 0 || len(paths) == 0 {
		return
	}
	group := "*"
	if groups := v.equals("input.kind.group"); len(groups) == 1 {
		group = text(groups[0])
	}
	var schemas []Schema
	for _, kind := range kinds {
		found := f.schemas.Of(group, kind)
		if len(found) == 0 {
			return // a kind that nobody knows has any field
		}
		schemas = append(schemas, found...)
	}
	for _, t := range paths {
		hint, what := "", ""
		matches := slices.ContainsFunc(schemas, func(s Schema) bool {
			why, h := follow(s, steps(t), "")
			if why != "" && (what == "" || h != "" && hint == "") {
				what, hint = why, h
			}
			return why == ""
		})
		if !matches {
			f.add(v, t.Location, hint, "%s never matches: %s of %s", text(t), what, strings.Join(kinds, ", "))
		}
	}
}

// follow walks a pattern through a type. It returns why there can't be such a
// path, or nothing.
func follow(s Schema, steps []fieldset.Step, at string) (why, hint string) {
	if len(steps) == 0 || s.Open() {
		return "", ""
	}
	step, rest := steps[0], steps[1:]
	element, key, list := s.Element()
	switch {
	case step.Any:
		return "", ""
	case step.One && list:
		return follow(element, rest, at+"[*]")
	case step.One:
		return "", ""
	case list && step.Keys != nil:
		if key != "" && !slices.ContainsFunc(step.Keys, func(k fieldset.Key) bool { return k.Name == key }) {
			return fmt.Sprintf("elements of %s are told by %s", at, key), fmt.Sprintf("write %s[%s=…]", at, key)
		}
		return follow(element, rest, at+"[…]")
	case list && step.Value != "":
		return follow(element, rest, at+"[…]")
	case list:
		return at + " is a list", fmt.Sprintf("write %s[%s=…] or %s[*]", at, orName(key), at)
	case step.Keys != nil || step.Value != "":
		return at + " is no list", ""
	}
	next, ok := s.Field(step.Field)
	if !ok {
		where := "no field " + step.Field
		if at != "" {
			where = fmt.Sprintf("%s has %s", at, where)
		}
		if known := s.Fields(); len(known) > 0 {
			if best := nearest(step.Field, known); best != "" {
				hint = "did you mean " + join(at, best) + "?"
			}
		}
		return where, hint
	}
	return follow(next, rest, join(at, step.Field))
}

func orName(key string) string {
	if key == "" {
		return "name"
	}
	return key
}

func join(at, field string) string {
	if at == "" {
		return field
	}
	return at + "." + field
}

// never are paths that no change has, or that are not for exceptions.
var never = []struct{ prefix, why string }{
	{"status", "the status stanza is never judged"},
	{"metadata.managedFields", "managedFields are bookkeeping"},
	{"metadata.resourceVersion", "resourceVersion is bookkeeping"},
	{"metadata.generation", "generation is bookkeeping"},
	{"metadata.uid", "uid never changes"},
	{"metadata.creationTimestamp", "creationTimestamp never changes"},
	{`metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]`, "it is bookkeeping"},
	{`metadata.labels["mainstay.dev/`, "no exception covers Mainstay's own labels"},
	{`metadata.annotations["mainstay.dev/`, "no exception covers Mainstay's own annotations"},
}

func pathNeverJudged(f *finder, v *view) {
	paths, _ := v.paths()
	for _, t := range paths {
		for _, n := range never {
			s := text(t)
			if s == n.prefix || strings.HasPrefix(s, n.prefix) && (strings.HasSuffix(n.prefix, "/") || strings.ContainsAny(s[len(n.prefix):len(n.prefix)+1], ".[")) {
				f.add(v, t.Location, "leave it out", "%s: %s", s, n.why)
			}
		}
	}
}
