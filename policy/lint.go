// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/open-policy-agent/opa/v1/ast"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// linter holds modules to the contract, so that a rule which would never be
// asked is an error and not a policy that silently does nothing.
type linter struct {
	box     *sandbox
	builtin bool
	items   []Problem

	// What compiled rules read.
	needs []schema.GroupKind
	input reads
}

func (l *linter) add(rule string, at *ast.Location, hint, format string, args ...any) {
	p := Problem{Rule: rule, Message: fmt.Sprintf(format, args...), Hint: hint}
	if at != nil {
		p.File, p.Row, p.Col = at.File, at.Row, at.Col
	}
	if !slices.Contains(l.items, p) {
		l.items = append(l.items, p)
	}
}

func (l *linter) take() []Problem {
	items := l.items
	l.items = nil
	slices.SortStableFunc(items, compareProblems)
	return items
}

// parsed checks modules as they were written.
func (l *linter) parsed(modules map[string]*ast.Module) []Problem {
	referenced, imported := references(modules)
	entries := map[string]bool{}
	near := map[string]string{}
	first := map[string]*ast.Package{}
	for _, file := range slices.Sorted(maps.Keys(modules)) {
		m := modules[file]
		l.calls(m)
		name := packageName(m.Package)
		switch root, _, _ := strings.Cut(name, "."); {
		case name == "mainstay.lib" || name == "mainstay.testing":
			l.add("reserved-package", m.Package.Location, "it is not as Mainstay wrote it: run mainstay policy vendor; helpers of your own need another package",
				"package %s is reserved", name)
		case root == "mainstay" || root == "grants" || root == "cluster" || root == "parameters":
			l.add("reserved-package", m.Package.Location, "choose another name", "package %s is reserved", name)
		case root == "library" && !shippedFile(file):
			l.add("reserved-package", m.Package.Location, "choose another name, also for a copy of a policy of the library",
				"package %s is reserved for what spec.policies.library switches on", name)
		}
		if testFile(file) {
			continue
		}
		l.wholeData(m)
		if first[name] == nil {
			first[name] = m.Package
		}
		for _, r := range m.Rules {
			rule := r.Head.Ref()[0].Value.String()
			rule = strings.Trim(rule, `"`)
			if rule == kindException || rule == kindDeny {
				entries[name] = true
				l.entry(r, rule)
				continue
			}
			want, sure := meant(rule)
			if want == "" {
				continue
			}
			if sure || !referenced[rule] {
				l.add("misnamed-entry", r.Location, fmt.Sprintf("did you mean %s?", want), "nothing asks a rule called %s", rule)
			}
			near[name] = want
		}
	}
	for _, name := range slices.Sorted(maps.Keys(first)) {
		if !entries[name] && near[name] == "" && !imported[name] {
			l.add("unused-package", first[name].Location, "did you mean to write exception contains {…} if {…} or deny contains {…} if {…}?",
				"package %s has neither exception nor deny, and nothing imports it", name)
		}
	}
	return l.take()
}

// meant guesses which entry rule a name was meant to be. It is sure where the
// name is one that other tools use.
func meant(rule string) (want string, sure bool) {
	switch strings.ToLower(rule) {
	case "denial", "denials", "denies", "denied", "violation", "violations", "reject", "rejections":
		return kindDeny, true
	case "allow", "allowed", "permit", "permits", "permitted", "exceptions", "except", "exempt", "exemption":
		return kindException, true
	case kindDeny:
		return kindDeny, true
	case kindException:
		return kindException, true
	}
	for _, want := range []string{kindException, kindDeny} {
		if levenshtein.ComputeDistance(rule, want) <= 2 {
			return want, false
		}
	}
	return "", false
}

// references collects the names of rules that something refers to, and the
// packages that another file reads.
func references(modules map[string]*ast.Module) (names, packages map[string]bool) {
	names, packages = map[string]bool{}, map[string]bool{}
	for file, m := range modules {
		if testFile(file) {
			continue
		}
		own := packageName(m.Package)
		visit := func(ref ast.Ref) bool {
			if v, ok := ref[0].Value.(ast.Var); ok {
				names[string(v)] = true
			}
			for i, t := range ref[1:] {
				s, ok := t.Value.(ast.String)
				if !ok {
					break
				}
				names[string(s)] = true
				if ref[0].Value.String() == "data" {
					if p := strings.TrimPrefix(ref[:i+2].String(), "data."); p != own {
						packages[p] = true
					}
				}
			}
			return false
		}
		for _, i := range m.Imports {
			if ref, ok := i.Path.Value.(ast.Ref); ok {
				visit(ref)
			}
		}
		for _, r := range m.Rules {
			ast.WalkRefs(r.Body, visit)
			if r.Head.Key != nil {
				ast.WalkRefs(r.Head.Key, visit)
			}
			if r.Head.Value != nil {
				ast.WalkRefs(r.Head.Value, visit)
			}
			ast.WalkVars(r.Body, func(v ast.Var) bool { names[string(v)] = true; return false })
		}
	}
	return names, packages
}

// entry checks one exception or deny.
func (l *linter) entry(r *ast.Rule, kind string) {
	if !entryRule(r) || r.Default || len(r.Head.Args) > 0 {
		l.add("entry-form", r.Location, fmt.Sprintf(`write %s contains {"reason": "…"} if {…}`, kind), "%s is a set", kind)
		return
	}
	value, ok := r.Head.Key.Value.(ast.Object)
	if !ok {
		switch r.Head.Key.Value.(type) {
		case ast.Var, ast.Ref, ast.Call, *ast.ObjectComprehension:
		default:
			l.add("entry-form", r.Head.Key.Location, `for example {"reason": "…"}`, "%s contains objects, not %s", kind, ast.ValueName(r.Head.Key.Value))
		}
		return
	}
	known := keysOf(kind, l.builtin || shippedFile(r.Location.File))
	constant := true
	value.Foreach(func(k, v *ast.Term) {
		s, ok := k.Value.(ast.String)
		if !ok {
			constant = false
			return
		}
		key := string(s)
		if !slices.Contains(known, key) {
			l.add("unknown-key", k.Location, nearest(key, known), "%s has no key %q", kind, key)
			return
		}
		if ast.IsConstant(v.Value) {
			if _, err := readMember(key, v.Value); err != nil {
				l.add("wrong-value", v.Location, "", "%s: %s", key, err)
			}
		}
		if list, ok := v.Value.(*ast.Array); ok && key == "paths" {
			list.Foreach(l.pattern)
		}
	})
	if constant && get(value, "reason") == nil {
		l.add("missing-reason", r.Head.Key.Location, "people read it", `%s needs a "reason"`, kind)
	}
}

// pattern checks a path that is written out.
func (l *linter) pattern(t *ast.Term) {
	if s, ok := t.Value.(ast.String); ok {
		if _, err := fieldset.ParsePattern(string(s)); err != nil {
			l.add("wrong-path", t.Location, "", "paths: %s", err)
		}
	}
}

// nearest names the known key that was probably meant, or all of them.
func nearest(key string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := levenshtein.ComputeDistance(key, k); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known: " + strings.Join(known, ", ")
}

// calls checks that a module calls nothing outside the sandbox.
func (l *linter) calls(m *ast.Module) {
	check := func(operator ast.Ref, at *ast.Location) {
		name := operator.String()
		if l.box.known[name] && !l.box.allowed[name] {
			l.add("builtin-not-allowed", at, instead(name), "%s is not allowed in policies", name)
		}
	}
	for _, r := range m.Rules {
		if t := overfull(r); t != nil {
			l.add("grows-without-end", t.Location, "write what is meant as one rule, or as a function",
				"what variables hold of each other is more than %d values", maxHeld)
		}
		ast.WalkTerms(r, func(t *ast.Term) bool {
			if n, ok := t.Value.(ast.Number); ok {
				if err := numberText(string(n)); err != nil {
					l.add("number-too-large", t.Location, "", "%s", err)
				}
			}
			if call, ok := t.Value.(ast.Call); ok {
				if ref, ok := call[0].Value.(ast.Ref); ok {
					check(ref, t.Location)
				}
			}
			return false
		})
		ast.WalkExprs(r, func(x *ast.Expr) bool {
			if x.IsCall() {
				check(x.Operator(), x.Location)
			}
			return false
		})
	}
}

// wholeData finds references to data that could mean anything. It looks before
// compiling, which would complain about recursion.
func (l *linter) wholeData(m *ast.Module) {
	ast.WalkTerms(m, func(t *ast.Term) bool {
		if ref, ok := t.Value.(ast.Ref); ok && ref[0].Value.String() == "data" {
			if _, ok := textAt(ref, 1); !ok {
				l.add("whole-data", t.Location, "read data.cluster.<group>.<Kind> or a package", "data can't be read as a whole")
			}
		}
		return false
	})
}

// compiled finds what rules read: parts of input, and kinds of data.cluster,
// which must be named literally, since only what is named is watched.
func (l *linter) compiled(modules map[string]*ast.Module) []Problem {
	needs := map[schema.GroupKind]bool{}
	for _, file := range slices.Sorted(maps.Keys(modules)) {
		own := !strings.HasPrefix(file, internal)
		ast.WalkRefs(modules[file], func(ref ast.Ref) bool {
			switch ref[0].Value.String() {
			case "input":
				l.reads(ref)
			case "data":
				if own {
					l.data(ref, ref[0].Location, needs)
				}
			}
			return false
		})
	}
	l.needs = slices.Collect(maps.Keys(needs))
	return l.take()
}

// reads notes a reference to input, up to the first step that is computed.
func (l *linter) reads(ref ast.Ref) {
	var path []string
	for i := 1; i < len(ref); i++ {
		key, ok := textAt(ref, i)
		if !ok {
			break
		}
		path = append(path, key)
	}
	l.input.add(path...)
}

func (l *linter) data(ref ast.Ref, at *ast.Location, needs map[schema.GroupKind]bool) {
	if root, _ := textAt(ref, 1); root == "cluster" {
		group, okGroup := textAt(ref, 2)
		kind, okKind := textAt(ref, 3)
		if !okGroup || !okKind {
			l.add("computed-kind", at, `write data.cluster.<group>.<Kind>, for example data.cluster.core.ConfigMap or data.cluster["apps"].Deployment`,
				"data.cluster needs the group and the kind written out")
			return
		}
		if group == "core" {
			group = ""
		}
		needs[schema.GroupKind{Group: group, Kind: kind}] = true
	}
}

func textAt(ref ast.Ref, i int) (string, bool) {
	if i >= len(ref) {
		return "", false
	}
	s, ok := ref[i].Value.(ast.String)
	return string(s), ok
}
