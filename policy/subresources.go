// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// podSubresources are those that a deny rule may speak of, sorted. None of them
// changes a declared object, so that nobody is asked unless a rule mentions it.
var podSubresources = []string{"attach", "ephemeralcontainers", "eviction", "exec", "portforward", "resize"}

// connects are those that are connected to.
var connects = []string{"attach", "exec", "portforward"}

// SubResources returns which subresources of pods some loaded deny rule may
// speak of, sorted: attach, ephemeralcontainers, eviction, exec, portforward,
// resize. It is read off the policies' text, and where that does not tell, all
// of them count. Changed says when to ask again.
func (e *Engine) SubResources() []string {
	found := map[string]bool{}
	for _, s := range e.sources.Load().list {
		for _, name := range s.subResources {
			found[name] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// mentions finds the subresources of pods that the modules of a source speak
// of, by looking at them as they were written.
type mentions struct {
	// found are those that input.subResource is compared with; literals are
	// all that are written anywhere.
	found, literals map[string]bool
	// reads: input.subResource is read; computed: in a way that does not show
	// with what it is compared; negated: by what it is not.
	reads, computed, negated bool
	pod, connect             bool
	// rules are the names of those that depend on input.subResource: what is
	// not one of them may be any subresource.
	rules map[string]bool
}

func subResourcesOf(modules map[string]*ast.Module) []string {
	m := mentions{found: map[string]bool{}, literals: map[string]bool{}, rules: map[string]bool{}}
	for m.dependents(modules) {
	}
	for file, module := range modules {
		if testFile(file) {
			continue
		}
		for _, i := range module.Imports {
			if ref, ok := i.Path.Value.(ast.Ref); ok {
				m.ref(ref)
			}
		}
		for _, rule := range module.Rules {
			m.rule(rule)
		}
	}
	switch {
	case m.negated:
		return podSubresources
	case m.computed:
		maps.Copy(m.found, m.literals)
		if len(m.found) == 0 {
			return podSubresources
		}
	case m.pod && !m.reads:
		return podSubresources
	case m.connect && !m.reads:
		return connects
	}
	return slices.DeleteFunc(slices.Clone(podSubresources), func(name string) bool { return !m.found[name] })
}

// dependents collects the names of rules that depend on input.subResource, one
// step further with each call, and tells whether it found one.
func (m *mentions) dependents(modules map[string]*ast.Module) bool {
	found := false
	for file, module := range modules {
		if testFile(file) {
			continue
		}
		for _, rule := range module.Rules {
			name := strings.Trim(rule.Head.Ref()[0].Value.String(), `"`)
			if !m.rules[name] && m.depends(rule) {
				m.rules[name], found = true, true
			}
		}
	}
	return found
}

// depends tells whether something mentions input.subResource, or a rule that
// does.
func (m *mentions) depends(x any) bool {
	found := false
	ast.WalkTerms(x, func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case ast.Var:
			found = found || m.rules[string(v)]
		case ast.String:
			found = found || string(v) == "subResource" || m.rules[string(v)]
		}
		return found
	})
	return found
}

// rule looks at every expression of a rule with those that are nested in it,
// and at what is in its head.
func (m *mentions) rule(rule *ast.Rule) {
	ast.WalkTerms(rule, func(t *ast.Term) bool {
		if s, ok := t.Value.(ast.String); ok {
			m.connect = m.connect || string(s) == string(Connect)
			if slices.Contains(podSubresources, string(s)) {
				m.literals[string(s)] = true
			}
		}
		return false
	})
	// Without its expressions, which are looked at one by one.
	m.loose(rule.Head)
	ast.WalkExprs(rule, func(x *ast.Expr) bool {
		m.expression(x)
		return false
	})
	if rule.Else != nil {
		m.rule(rule.Else)
	}
}

// expression notes with what an expression compares input.subResource.
func (m *mentions) expression(x *ast.Expr) {
	operator, operands := "", []*ast.Term(nil)
	if x.IsCall() {
		operator, operands = x.Operator().String(), x.Operands()
	}
	// What it is not may be any other, also by way of a variable or a rule.
	m.negated = m.negated || (x.Negated || operator == "neq") && (m.mentionsOne(x) || m.depends(x))
	switch {
	case len(operands) != 2:
	case operator == "equal" || operator == "eq":
		for i, other := range []*ast.Term{operands[1], operands[0]} {
			if s, ok := other.Value.(ast.String); ok && subResource(operands[i]) {
				m.reads, m.found[string(s)] = true, true
				return
			}
		}
	case operator == "internal.member_2" && subResource(operands[0]):
		if names, ok := listed(operands[1]); ok {
			m.reads = true
			for _, name := range names {
				m.found[name] = true
			}
			return
		}
	}
	m.loose(x)
}

// mentionsOne tells whether a subresource of pods is written in an expression.
func (m *mentions) mentionsOne(x *ast.Expr) bool {
	found := false
	ast.WalkTerms(x, func(t *ast.Term) bool {
		s, ok := t.Value.(ast.String)
		found = found || ok && slices.Contains(podSubresources, string(s))
		return found
	})
	return found
}

// loose notes references in x, but not those in expressions that are nested in
// it.
func (m *mentions) loose(x any) {
	top := true
	var visitor *ast.GenericVisitor
	visitor = ast.NewGenericVisitor(func(node any) bool {
		nested := !top
		top = false
		switch node := node.(type) {
		case *ast.Expr:
			return nested
		case ast.Ref:
			m.ref(node)
			for _, t := range node[1:] {
				visitor.Walk(t)
			}
			return true
		case ast.Var:
			if node == "input" {
				m.whole()
			}
		}
		return false
	})
	visitor.Walk(x)
}

// ref notes a reference that nothing is known about but that it is one.
func (m *mentions) ref(ref ast.Ref) {
	if ref[0].Value.String() != "input" {
		return
	}
	if len(ref) == 1 {
		m.whole()
		return
	}
	switch key, ok := textAt(ref, 1); {
	case !ok:
		m.whole()
	case key == "subResource":
		m.reads, m.computed = true, true
	case key == "pod":
		m.pod = true
	}
}

// whole: any member of input may be read.
func (m *mentions) whole() { m.reads, m.computed = true, true }

// subResource tells whether a term is input.subResource and nothing else.
func subResource(t *ast.Term) bool {
	ref, ok := t.Value.(ast.Ref)
	if !ok || len(ref) != 2 || ref[0].Value.String() != "input" {
		return false
	}
	key, ok := textAt(ref, 1)
	return ok && key == "subResource"
}

// listed returns the members of a collection of texts that is written out.
func listed(t *ast.Term) ([]string, bool) {
	var names []string
	all := true
	add := func(t *ast.Term) {
		s, ok := t.Value.(ast.String)
		names, all = append(names, string(s)), all && ok
	}
	switch v := t.Value.(type) {
	case ast.Set:
		v.Foreach(add)
	case *ast.Array:
		v.Foreach(add)
	default:
		return nil, false
	}
	return names, all
}

// speaksOfUse tells whether a source's deny rules may speak of the use of a
// pod; always, for what is no such use.
func (s *source) speaksOfUse(c *Change) bool {
	return !c.Use() || slices.Contains(s.subResources, c.SubResource)
}
