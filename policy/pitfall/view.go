// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package pitfall

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The two rule names of the contract.
const (
	exception = "exception"
	deny      = "deny"
	anyEntry  = "*"
)

// lib is the package that every policy shares.
const lib = "data.mainstay.lib."

// view is a rule as it was written, with its names resolved.
type view struct {
	file   string
	module *ast.Module
	rule   *ast.Rule
	test   bool
	// name of the rule, with its package: data.hpa.exception.
	name string
	// entry is exception or deny, or empty.
	entry string
	// names are what imports and local variables stand for.
	names map[ast.Var]string
	calls []call
	// reads are all names that the rule refers to.
	reads []read
	// defined are the names of all rules.
	defined map[string]bool
}

// call is one use of a function or an operator.
type call struct {
	name    string
	args    []*ast.Term
	at      *ast.Location
	negated bool
}

// read is one reference.
type read struct {
	name    string
	at      *ast.Location
	negated bool
	// alone: the reference is the whole expression, so it asks whether there is
	// such a thing.
	alone bool
}

func newView(file string, m *ast.Module, r *ast.Rule, defined map[string]bool) *view {
	v := &view{file: file, module: m, rule: r, names: map[ast.Var]string{}, name: ruleName(m, r), defined: defined}
	if name := r.Head.Name.String(); len(r.Head.Ref()) == 1 && r.Head.RuleKind() == ast.MultiValue && (name == exception || name == deny) {
		v.entry = name
	}
	for _, i := range m.Imports {
		if ref, ok := i.Path.Value.(ast.Ref); ok {
			v.names[i.Name()] = dotted(ref)
		}
	}
	// Variables may be used before they are bound: Rego has no order.
	for range 2 {
		v.bind()
	}
	v.collect()
	return v
}

func ruleName(m *ast.Module, r *ast.Rule) string {
	return m.Package.Path.String() + "." + strings.Trim(r.Head.Ref()[0].Value.String(), `"`)
}

// dotted writes a reference up to its first step that is not written out.
func dotted(ref ast.Ref) string {
	var b strings.Builder
	b.WriteString(strings.Trim(ref[0].Value.String(), `"`))
	for _, t := range ref[1:] {
		s, ok := t.Value.(ast.String)
		if !ok {
			break
		}
		b.WriteString("." + string(s))
	}
	return b.String()
}

// of is the full name of what a term refers to; "" where it is no reference. A
// step that is computed is written as *, and one change of input.changes as
// change.
func (v *view) of(t *ast.Term) string {
	switch x := t.Value.(type) {
	case ast.Var:
		if name, ok := v.names[x]; ok {
			return name
		}
		if v.defines(x) {
			return v.module.Package.Path.String() + "." + string(x)
		}
		return ""
	case ast.Ref:
		root, ok := x[0].Value.(ast.Var)
		if !ok {
			return ""
		}
		name, known := v.names[root]
		switch {
		case known:
		case root == "input" || root == "data":
			name = string(root)
		case v.defines(root):
			name = v.module.Package.Path.String() + "." + string(root)
		default:
			return ""
		}
		for _, t := range x[1:] {
			if s, ok := t.Value.(ast.String); ok {
				name += "." + string(s)
			} else {
				name += ".*"
			}
		}
		if rest, ok := strings.CutPrefix(name, "input.changes.*"); ok {
			return "change" + rest
		}
		return name
	}
	return ""
}

// defines tells whether the package has a rule of that name.
func (v *view) defines(name ast.Var) bool {
	return v.defined[v.module.Package.Path.String()+"."+string(name)]
}

// bind finds what local variables stand for.
func (v *view) bind() {
	set := func(t *ast.Term, name string) {
		if x, ok := t.Value.(ast.Var); ok && name != "" && !x.IsWildcard() && v.names[x] == "" {
			v.names[x] = name
		}
	}
	element := func(t, domain *ast.Term) {
		switch name := v.of(domain); {
		case name == "input.changes":
			set(t, "change")
		case name != "":
			set(t, name+".*")
		}
	}
	ast.WalkExprs(v.rule, func(x *ast.Expr) bool {
		switch terms := x.Terms.(type) {
		case *ast.SomeDecl:
			for _, s := range terms.Symbols {
				// some x in xs
				if c, ok := s.Value.(ast.Call); ok && len(c) >= 3 {
					element(c[len(c)-2], c[len(c)-1])
				}
			}
		case *ast.Every:
			element(terms.Value, terms.Domain)
		case []*ast.Term:
			if name := x.Operator().String(); (name == "assign" || name == "eq") && len(terms) == 3 {
				set(terms[1], v.of(terms[2]))
			}
		}
		return false
	})
}

// collect lists the calls and references of the rule's head and body; those of
// else are views of their own.
func (v *view) collect() {
	walk := func(x any, negated bool) {
		alone := map[*ast.Term]bool{}
		ast.NewGenericVisitor(func(n any) bool {
			switch n := n.(type) {
			case *ast.Expr:
				if t, ok := n.Terms.(*ast.Term); ok {
					alone[t] = true
				}
				v.expr(n, negated || n.Negated)
			case *ast.Term:
				v.term(n, negated, alone[n])
			}
			return false
		}).Walk(x)
	}
	walk(v.rule.Head, false)
	for _, x := range v.rule.Body {
		walk(x, x.Negated)
	}
}

func (v *view) expr(x *ast.Expr, negated bool) {
	if terms, ok := x.Terms.([]*ast.Term); ok && len(terms) > 1 {
		v.calls = append(v.calls, call{name: v.operator(terms[0]), args: terms[1:], at: x.Location, negated: negated})
	}
}

func (v *view) term(t *ast.Term, negated, alone bool) {
	switch x := t.Value.(type) {
	case ast.Call:
		v.calls = append(v.calls, call{name: v.operator(x[0]), args: x[1:], at: t.Location, negated: negated})
	case ast.Ref, ast.Var:
		if name := v.of(t); name != "" {
			v.reads = append(v.reads, read{name: name, at: t.Location, negated: negated, alone: alone})
		}
	}
}

// operator is the full name of what is called.
func (v *view) operator(t *ast.Term) string {
	if name := v.of(t); name != "" {
		return name
	}
	return t.Value.String()
}

// value is the object that an entry rule yields, where it is written out.
func (v *view) value() ast.Object {
	if v.rule.Head.Key == nil {
		return nil
	}
	switch x := v.rule.Head.Key.Value.(type) {
	case ast.Object:
		return x
	case ast.Var:
		for _, c := range v.calls {
			if (c.name == "assign" || c.name == "eq") && len(c.args) == 2 && c.args[0].Value.Compare(x) == 0 {
				if o, ok := c.args[1].Value.(ast.Object); ok {
					return o
				}
			}
		}
	}
	return nil
}

// member of the value that an entry rule yields; nil where there is none.
func (v *view) member(key string) *ast.Term {
	if o := v.value(); o != nil {
		return o.Get(ast.StringTerm(key))
	}
	return nil
}

// paths are the patterns of an exception that are written out; all tells that
// there are no others.
func (v *view) paths() (list []*ast.Term, all bool) {
	t := v.member("paths")
	if t == nil {
		return nil, false
	}
	all = true
	each := func(t *ast.Term) {
		if _, ok := t.Value.(ast.String); ok {
			list = append(list, t)
		} else {
			all = false
		}
	}
	switch x := t.Value.(type) {
	case *ast.Array:
		x.Foreach(each)
	case ast.Set:
		x.Foreach(each)
	default:
		all = false
	}
	return list, all
}

// comparison is a name beside values that are written out.
type comparison struct {
	name string
	// op is a function's name: equal, neq, startswith, internal.member_2, …
	op      string
	values  []*ast.Term
	at      *ast.Location
	negated bool
}

// comparisons of the rule with texts and numbers.
func (v *view) comparisons() []comparison {
	var out []comparison
	for _, c := range v.calls {
		if len(c.args) < 2 {
			continue
		}
		a, b := c.args[0], c.args[1]
		if c.name == "regex.match" || c.name == "glob.match" {
			a, b = c.args[len(c.args)-1], c.args[0]
		}
		if _, ok := a.Value.(ast.String); ok && v.of(b) != "" {
			a, b = b, a
		}
		name := v.of(a)
		if name == "" {
			continue
		}
		x := comparison{name: name, op: c.name, at: c.at, negated: c.negated}
		switch value := b.Value.(type) {
		case ast.String, ast.Number:
			x.values = []*ast.Term{b}
		case *ast.Array:
			value.Foreach(func(t *ast.Term) { x.values = append(x.values, t) })
		case ast.Set:
			value.Foreach(func(t *ast.Term) { x.values = append(x.values, t) })
		}
		x.values = slices.DeleteFunc(x.values, func(t *ast.Term) bool {
			switch t.Value.(type) {
			case ast.String, ast.Number:
				return false
			}
			return true
		})
		if len(x.values) > 0 {
			out = append(out, x)
		}
	}
	return out
}

// equals are the texts that a name has to be equal to one of, as far as they
// are written out.
func (v *view) equals(name string) []*ast.Term {
	var out []*ast.Term
	for _, c := range v.comparisons() {
		if c.name == name && !c.negated && (c.op == "equal" || c.op == "eq" || c.op == "internal.member_2") {
			out = append(out, c.values...)
		}
	}
	return out
}

// reaches tells whether the rule, or a rule of the same source that it uses,
// refers to one of the names or to what is below them.
func (f *finder) reaches(v *view, names ...string) bool {
	return f.search(v, map[*view]bool{}, func(r read) bool {
		return slices.ContainsFunc(names, func(name string) bool { return below(r.name, name) })
	})
}

func (f *finder) search(v *view, seen map[*view]bool, match func(read) bool) bool {
	if seen[v] {
		return false
	}
	seen[v] = true
	for _, r := range v.reads {
		if match(r) {
			return true
		}
		for _, next := range f.named(v, r.name) {
			if f.search(next, seen, match) {
				return true
			}
		}
	}
	return false
}

// named finds the rules that a name may mean: the longest part of it that is
// the name of a rule.
func (f *finder) named(_ *view, name string) []*view {
	for name != "" {
		if rules := f.rules[name]; rules != nil {
			return rules
		}
		at := strings.LastIndexByte(name, '.')
		if at < 0 {
			return nil
		}
		name = name[:at]
	}
	return nil
}

func below(name, above string) bool {
	return name == above || strings.HasPrefix(name, above+".")
}

// text of a term that is a string.
func text(t *ast.Term) string {
	if t == nil {
		return ""
	}
	s, _ := t.Value.(ast.String)
	return string(s)
}
