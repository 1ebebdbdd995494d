// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Program is a source as the tools of its authors see it: compiled by the code
// that Load uses, but in force nowhere. It is safe for concurrent use.
type Program struct {
	engine *Engine
	*program
}

// Entry is one exception or deny rule of a Program.
type Entry struct {
	RuleInfo
	// Package of the rule, for example hpa.
	Package  string
	File     string
	Row, Col int
	// Rule as it was written.
	Rule *ast.Rule
}

// Compile compiles a source and runs no tests. The error is a *LoadError, or
// the context's.
func (e *Engine) Compile(ctx context.Context, s Source) (_ *Program, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &LoadError{Items: []Problem{{Message: fmt.Sprintf("compiling panicked: %v", r)}}}
		}
	}()
	p, err := e.program(s)
	if err != nil {
		return nil, err
	}
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	return &Program{engine: e, program: p}, nil
}

// Modules are the source's own as they were parsed, by file, with their tests.
// They must not be changed.
func (p *Program) Modules() map[string]*ast.Module { return maps.Clone(p.modules) }

// Needs are the kinds that the rules read through data.cluster.
func (p *Program) Needs() []schema.GroupKind { return slices.Clone(p.source.needs) }

// Entries are the exception and deny rules, by file and line.
func (p *Program) Entries() []Entry {
	var out []Entry
	for _, file := range slices.Sorted(maps.Keys(p.modules)) {
		if testFile(file) {
			continue
		}
		m := p.modules[file]
		for _, r := range m.Rules {
			if !entryRule(r) {
				continue
			}
			kind := r.Head.Name.String()
			x := Entry{
				RuleInfo: RuleInfo{Name: packageName(m.Package) + "." + kind, Kind: kind}, Package: packageName(m.Package),
				File: file, Row: r.Location.Row, Col: r.Location.Col, Rule: r,
			}
			for _, a := range r.Annotations {
				x.Title = cmp.Or(x.Title, a.Title)
			}
			out = append(out, x)
		}
	}
	return out
}

// Unindexed are the places of the entry rules that OPA's index of rules can
// never skip, so that every change in scope asks them.
func (p *Program) Unindexed() []*ast.Location {
	var out []*ast.Location
	for kind, e := range map[string]*entry{kindException: p.source.entries.exception, kindDeny: p.source.entries.deny} {
		// Without an index none is skipped.
		rules := p.source.compiler.GetRulesExact(ast.MustParseRef("data.mainstay.entry." + kind))
		if e != nil {
			result, err := e.index.Lookup(nowhere{})
			if err == nil {
				rules = slices.Clone(result.Rules)
				ast.IndexResultPool.Put(result)
			}
		}
		for _, rule := range rules {
			out = append(out, rule.Location)
		}
	}
	slices.SortFunc(out, func(a, b *ast.Location) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row))
	})
	return out
}

// nowhere is a change that no rule speaks of: whatever input holds is something
// that nothing is compared with. Only what the index can't look at is unknown.
type nowhere struct{}

// Resolve implements ast.ValueResolver.
func (nowhere) Resolve(ref ast.Ref) (ast.Value, error) {
	if len(ref) > 1 && ref[0].Equal(ast.InputRootDocument) {
		if key, ok := ref[1].Value.(ast.String); ok && early(string(key)) {
			return ast.String("\x00nothing is called this"), nil
		}
	}
	return nil, ast.UnknownValueErr{}
}

// CompileTests compiles the rules together with their tests and the helpers
// that tests have. The error is a *LoadError.
func (p *Program) CompileTests() error {
	all := maps.Clone(p.library)
	maps.Copy(all, p.modules)
	compiler := p.box.compiler()
	if compiler.Compile(all); compiler.Failed() {
		return compileError(compiler.Errors)
	}
	return nil
}
