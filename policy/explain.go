// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Explanation tells how far one rule came with one input.
type Explanation struct {
	Entry
	// Matched tells that all of the rule's lines are true.
	Matched bool
	Lines   []Line
}

// Line is one expression of a rule.
type Line struct {
	Row  int
	Text string
	// Outcome is true, false or unreached. An undefined expression is false.
	Outcome string
	// Tries counts the values that a false line was tried with, where there
	// were several.
	Tries int
	// Values are what stands in the expression, by its own names.
	Values []Value
	// Because is the line that was not true in the function or rule that this
	// one asks; BecauseOf names that.
	Because   *Line
	BecauseOf string
}

// Value is the value of one name; Undefined where it has none.
type Value struct {
	Name, Text string
	Undefined  bool
}

// Explain evaluates each entry rule of the source by itself with an input
// document and tells which of its lines were true. It is for people, and much
// slower than judging. The error is that of a built-in function or the context's.
func (p *Program) Explain(ctx context.Context, input []byte) ([]Explanation, error) {
	value, err := ast.ValueFromReader(bytes.NewReader(input))
	if err != nil {
		return nil, fmt.Errorf("parse input: %w", err)
	}
	t := &tracer{input: value, frames: map[uint64]*frame{}}
	for _, kind := range []string{kindException, kindDeny} {
		ref := ast.MustParseRef("data.mainstay.entry." + kind)
		if len(p.source.compiler.GetRulesExact(ref)) == 0 {
			continue
		}
		query, err := p.source.prepare(ctx, ref, false)
		if err != nil {
			return nil, err
		}
		options := []rego.EvalOption{
			rego.EvalParsedInput(value), rego.EvalTransaction(readTransaction{}), rego.EvalQueryTracer(t),
			rego.EvalRuleIndexing(false), rego.EvalEarlyExit(false),
		}
		if _, err := query.Eval(ctx, options...); err != nil {
			return nil, fmt.Errorf("evaluate %s rules: %w", kind, err)
		}
	}
	var out []Explanation
	for _, entry := range p.Entries() {
		x := Explanation{Entry: entry}
		if f := t.of(entry.File, entry.Row, nil); f != nil {
			x.Matched = f.exited
			x.Lines = p.lines(t, f, entry.Rule, 0)
		}
		out = append(out, x)
	}
	return out, nil
}

// written finds a rule as it was written.
func (p *Program) written(file string, row int) *ast.Rule {
	m := p.modules[file]
	if m == nil {
		m = p.library[file]
	}
	if m == nil {
		return nil
	}
	for _, r := range m.Rules {
		for ; r != nil; r = r.Else {
			if r.Location.Row == row {
				return r
			}
		}
	}
	return nil
}

// lines tells what became of each expression of a rule. The compiler takes
// expressions apart and reorders them, so what it made of one is found by where
// it stood.
func (p *Program) lines(t *tracer, f *frame, rule *ast.Rule, depth int) []Line {
	var out []Line
	for _, x := range rule.Body {
		at := x.Location
		if at == nil || len(at.Text) == 0 {
			continue
		}
		from, to := at.Row, at.Row+bytes.Count(at.Text, []byte("\n"))
		l := Line{Row: at.Row, Text: strings.Join(strings.Fields(string(at.Text)), " "), Outcome: "unreached"}
		var last *step
		for _, s := range f.steps {
			if s.row < from || s.row > to {
				continue
			}
			switch {
			case s.evals == s.fails && (last == nil || last.evals != last.fails):
				last, l.Outcome, l.Tries = s, "false", s.fails
			case l.Outcome == "unreached":
				last, l.Outcome = s, "true"
			}
		}
		if last != nil {
			l.Values = t.values(x, last)
		}
		if l.Outcome == "false" && depth < 3 {
			p.because(t, f, &l, from, to, depth)
		}
		out = append(out, l)
	}
	return out
}

// because looks into the rule that a false line asks for the line that was not
// true there. A negated line is false since what it asks is true.
func (p *Program) because(t *tracer, f *frame, l *Line, from, to, depth int) {
	if strings.HasPrefix(l.Text, "not ") {
		return
	}
	for _, child := range t.order {
		if child.parent != f || child.exited || child.askedAt < from || child.askedAt > to {
			continue
		}
		rule := p.written(child.file, child.row)
		if rule == nil {
			continue
		}
		for _, inner := range p.lines(t, child, rule, depth+1) {
			if inner.Outcome == "false" {
				l.Because, l.BecauseOf = &inner, rule.Head.Name.String()
				return
			}
		}
	}
}

// tracer keeps what happened in each rule that was evaluated.
type tracer struct {
	input  ast.Value
	frames map[uint64]*frame
	order  []*frame
}

// frame is one evaluation of one rule.
type frame struct {
	file    string
	row     int
	parent  *frame
	askedAt int // the row of the parent's expression
	exited  bool
	steps   []*step
	current int
}

// step is what became of one expression as the compiler made it.
type step struct {
	row, col     int
	index        int
	evals, fails int
	locals       map[string]ast.Value
}

// Enabled implements topdown.QueryTracer.
func (t *tracer) Enabled() bool { return true }

// Config implements topdown.QueryTracer.
func (t *tracer) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

// TraceEvent implements topdown.QueryTracer.
func (t *tracer) TraceEvent(e topdown.Event) {
	switch node := e.Node.(type) {
	case *ast.Rule:
		switch e.Op {
		case topdown.EnterOp:
			parent := t.frames[e.ParentID]
			f := &frame{file: node.Location.File, row: node.Location.Row, parent: parent}
			if parent != nil {
				f.askedAt = parent.current
			}
			t.frames[e.QueryID] = f
			t.order = append(t.order, f)
		case topdown.ExitOp:
			if f := t.frames[e.QueryID]; f != nil {
				f.exited = true
			}
		default:
		}
	case ast.Body:
		// A comprehension, an every or a negation belongs to its rule.
		if e.Op == topdown.EnterOp && t.frames[e.QueryID] == nil {
			t.frames[e.QueryID] = t.frames[e.ParentID]
		}
	case *ast.Expr:
		f := t.frames[e.QueryID]
		if f == nil || e.Location == nil || e.Location.File != f.file {
			return
		}
		switch e.Op {
		case topdown.EvalOp:
			s := f.step(e.Location, node.Index)
			s.evals++
			s.note(&e)
			f.current = e.Location.Row
		case topdown.FailOp:
			s := f.step(e.Location, node.Index)
			s.fails++
			s.note(&e)
		default:
		}
	}
}

// step finds an expression by where it stood and by its place in the compiled
// body: the compiler makes several of one.
func (f *frame) step(at *ast.Location, index int) *step {
	for _, s := range f.steps {
		if s.row == at.Row && s.col == at.Col && s.index == index {
			return s
		}
	}
	s := &step{row: at.Row, col: at.Col, index: index}
	f.steps = append(f.steps, s)
	return s
}

// note keeps the values of variables by the names that they have in the policy.
func (s *step) note(e *topdown.Event) {
	if s.locals == nil {
		s.locals = map[string]ast.Value{}
	}
	for name, meta := range e.LocalMetadata {
		if v := e.Locals.Get(name); v != nil {
			s.locals[string(meta.Name)] = v
		}
	}
}

// of finds the evaluation of a rule.
func (t *tracer) of(file string, row int, parent *frame) *frame {
	for _, f := range t.order {
		if f.file == file && f.row == row && f.parent == parent {
			return f
		}
	}
	return nil
}

// values are those of the references and variables in an expression as it was
// written.
func (t *tracer) values(x *ast.Expr, s *step) []Value {
	var out []Value
	add := func(name string, v ast.Value, undefined bool) {
		value := Value{Name: name, Undefined: undefined}
		if v != nil {
			value.Text = shortened(v.String())
		}
		if !slices.ContainsFunc(out, func(o Value) bool { return o.Name == name }) {
			out = append(out, value)
		}
	}
	var visit *ast.GenericVisitor
	visit = ast.NewGenericVisitor(func(n any) bool {
		switch n := n.(type) {
		case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension, *ast.Every:
			return true // their variables are their own
		case ast.Call:
			for _, arg := range n[1:] {
				visit.Walk(arg)
			}
			return true
		case *ast.Expr:
			if n.IsCall() {
				for _, arg := range n.Operands() {
					visit.Walk(arg)
				}
				return true
			}
		case *ast.Term:
			switch v := n.Value.(type) {
			case ast.Ref:
				value, known := t.resolve(v, s)
				if known {
					add(v.String(), value, value == nil)
				}
				return known
			case ast.Var:
				if value, ok := s.locals[string(v)]; ok {
					add(string(v), value, false)
				}
			}
		}
		return false
	})
	visit.Walk(x)
	return out
}

// resolve reads a reference to input or to a local variable. A nil value that
// is known is undefined.
func (t *tracer) resolve(ref ast.Ref, s *step) (ast.Value, bool) {
	root, ok := ref[0].Value.(ast.Var)
	if !ok {
		return nil, false
	}
	var base ast.Value
	if root == "input" {
		base = t.input
	} else if base = s.locals[string(root)]; base == nil {
		return nil, false
	}
	path := make(ast.Ref, 0, len(ref)-1)
	for _, step := range ref[1:] {
		if name, ok := step.Value.(ast.Var); ok {
			value := s.locals[string(name)]
			if value == nil {
				return nil, false
			}
			step = ast.NewTerm(value)
		}
		path = append(path, step)
	}
	if len(path) == 0 {
		return base, true
	}
	value, err := base.Find(path)
	if err != nil {
		return nil, true
	}
	return value, true
}

// shortened keeps a value on a line.
func shortened(text string) string {
	const most = 120
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// Enforce puts the source in force in its Engine without running its tests, as
// Load does with those that pass.
func (p *Program) Enforce() {
	p.engine.mu.Lock()
	defer p.engine.mu.Unlock()
	p.engine.swap(append(p.engine.without(cmp.Or(p.source.Key, builtinKey)), p.source))
}
