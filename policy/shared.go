// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/open-policy-agent/opa/v1/ast"

// maxHeld bounds how many values a variable of a rule holds by the text of the
// rule alone.
const maxHeld = 1 << 14

// held finds variables that hold too much of each other: with a := [1, 1],
// b := [a, a], c := [b, b] and so on OPA makes a value twice as large with each
// line, in one step that no deadline stops.
type held struct {
	by   map[ast.Var]*ast.Term
	size map[ast.Var]int
}

// overfull returns a term that holds too much, or nil.
func overfull(rule *ast.Rule) *ast.Term {
	h := &held{by: map[ast.Var]*ast.Term{}, size: map[ast.Var]int{}}
	ast.WalkExprs(rule, func(x *ast.Expr) bool {
		if x.IsCall() && len(x.Operands()) == 2 {
			switch x.Operator().String() {
			case "eq", "equal", "assign":
				h.define(x.Operand(0), x.Operand(1))
				h.define(x.Operand(1), x.Operand(0))
			}
		}
		return false
	})
	ast.WalkTerms(rule, func(t *ast.Term) bool {
		if call, ok := t.Value.(ast.Call); ok && len(call) > 2 {
			switch call[0].Value.String() {
			case ast.Member.Name, ast.MemberWithKey.Name:
				for _, member := range call[1 : len(call)-1] {
					h.define(member, call[len(call)-1])
				}
			}
		}
		return false
	})
	var found *ast.Term
	ast.WalkTerms(rule, func(t *ast.Term) bool {
		if found == nil && h.of(t) > maxHeld {
			found = t
		}
		return found != nil
	})
	return found
}

// define notes what the variables of a term are made of; the first time counts.
func (h *held) define(target, value *ast.Term) {
	if _, call := value.Value.(ast.Call); call {
		return // what a function makes is counted when it is called
	}
	_, one := target.Value.(ast.Var)
	if _, whole := value.Value.(ast.Var); whole && !one {
		return // they hold parts of it
	}
	ast.WalkVars(target, func(v ast.Var) bool {
		if h.by[v] == nil {
			h.by[v] = value
		}
		return false
	})
}

// of is how many values a term holds.
func (h *held) of(t *ast.Term) int {
	n := 1
	ast.WalkVars(t, func(v ast.Var) bool {
		n = min(n+h.in(v), maxHeld+1)
		return false
	})
	return n
}

// in is how many values a variable holds.
func (h *held) in(v ast.Var) int {
	if n, known := h.size[v]; known {
		return n
	}
	h.size[v] = 1 // for what refers to itself, which is no definition
	if by := h.by[v]; by != nil {
		h.size[v] = h.of(by)
	}
	return h.size[v]
}
