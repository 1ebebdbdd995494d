// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
)

// Measured is what evaluating something costs for one input.
type Measured struct {
	// Name of a package, or of a rule in File and Row; empty for all rules
	// together.
	Name        string
	File        string
	Row         int
	Elapsed     time.Duration
	Bytes       int64
	Allocations int64
}

// Measure evaluates all rules together, each package and each rule, for a while
// each, and tells the cost for one input. It is alone in the process or wrong
// about allocations. The error is that of an evaluation, or the context's.
func (p *Program) Measure(ctx context.Context, inputs [][]byte, each time.Duration) ([]Measured, error) {
	values := make([]ast.Value, len(inputs))
	for i, input := range inputs {
		v, err := ast.ValueFromReader(bytes.NewReader(input))
		if err != nil {
			return nil, fmt.Errorf("parse input: %w", err)
		}
		values[i] = v
	}
	var out []Measured
	add := func(m Measured, queries ...*rego.PreparedEvalQuery) error {
		if err := m.measure(ctx, queries, values, each); err != nil {
			return err
		}
		out = append(out, m)
		return nil
	}
	var whole []*rego.PreparedEvalQuery
	for _, q := range []*rego.PreparedEvalQuery{p.source.denials, p.source.exceptions} {
		if q != nil {
			whole = append(whole, q)
		}
	}
	if err := add(Measured{}, whole...); err != nil {
		return nil, err
	}
	packages := map[string][]*rego.PreparedEvalQuery{}
	var rules []Measured
	var alone [][]*rego.PreparedEvalQuery
	for _, x := range p.Entries() {
		single, err := p.single(ctx, x)
		if err != nil {
			return nil, err
		}
		packages[x.Package] = append(packages[x.Package], single)
		rules = append(rules, Measured{Name: x.Name, File: x.File, Row: x.Row})
		alone = append(alone, []*rego.PreparedEvalQuery{single})
	}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		if err := add(Measured{Name: name}, packages[name]...); err != nil {
			return nil, err
		}
	}
	for i, m := range rules {
		if err := add(m, alone[i]...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// single prepares one rule by itself: its package without the other entry rules.
func (p *Program) single(ctx context.Context, x Entry) (*rego.PreparedEvalQuery, error) {
	modules := map[string]*ast.Module{}
	for file, m := range p.modules {
		if testFile(file) {
			continue
		}
		m = m.Copy()
		m.Rules = slices.DeleteFunc(m.Rules, func(r *ast.Rule) bool {
			return entryRule(r) && (file != x.File || r.Location.Row != x.Row)
		})
		modules[file] = m
	}
	maps.Copy(modules, p.library)
	// Not strict: what only the other rules use is left over.
	compiler := ast.NewCompiler().WithCapabilities(p.box.capabilities).WithDefaultRegoVersion(ast.RegoV1)
	if compiler.Compile(modules); compiler.Failed() {
		return nil, compileError(compiler.Errors)
	}
	ref := p.modules[x.File].Package.Path.Append(ast.StringTerm(x.Kind))
	alone := &source{compiler: compiler, store: p.source.store}
	query, err := alone.prepare(ctx, ref, false)
	if err != nil {
		return nil, problems(err)
	}
	return &query, nil
}

func (m *Measured) measure(ctx context.Context, queries []*rego.PreparedEvalQuery, values []ast.Value, each time.Duration) error {
	round := func() error {
		for _, v := range values {
			for _, q := range queries {
				if _, err := q.Eval(ctx, rego.EvalParsedInput(v), rego.EvalTransaction(readTransaction{}), rego.EvalMetrics(metrics.NoOp())); err != nil {
					return fmt.Errorf("evaluate %s: %w", m.Name, err)
				}
			}
		}
		return nil
	}
	if len(values) == 0 || len(queries) == 0 {
		return nil
	}
	if err := round(); err != nil { // fills caches
		return err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, rounds := time.Now(), 0
	for rounds == 0 || time.Since(start) < each {
		if err := round(); err != nil {
			return err
		}
		rounds++
	}
	elapsed := time.Since(start)
	runtime.ReadMemStats(&after)
	n := int64(rounds * len(values))
	m.Elapsed = elapsed / time.Duration(n)
	m.Bytes = int64(after.TotalAlloc-before.TotalAlloc) / n
	m.Allocations = int64(after.Mallocs-before.Mallocs) / n
	return nil
}

// Samples are input documents that are made up: the change that the helpers for
// tests make, as a request of a person and as drift.
func (p *Program) Samples(ctx context.Context) ([][]byte, error) {
	compiler := p.box.compiler()
	if compiler.Compile(p.library); compiler.Failed() {
		return nil, compileError(compiler.Errors)
	}
	var out [][]byte
	for _, call := range []string{"request", "drift", "deletion"} {
		query, err := rego.New(rego.Query("x := data.mainstay.testing."+call+"({})"), rego.Compiler(compiler), coversFunction(), boundedFunctions).PrepareForEval(ctx)
		if err != nil {
			return nil, err
		}
		results, err := query.Eval(ctx)
		if err != nil || len(results) == 0 {
			return nil, fmt.Errorf("make a sample: %w", err)
		}
		input, err := json.Marshal(results[0].Bindings["x"])
		if err != nil {
			return nil, err
		}
		out = append(out, input)
	}
	return out, nil
}
