// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// TrialOptions say which tests to run.
type TrialOptions struct {
	// Run is a regular expression that the tests' full names, such as
	// night_test.test_others, have to match; empty: all.
	Run string
	// Coverage asks for the lines that tests reach.
	Coverage bool
}

// Trial is what became of one test.
type Trial struct {
	// Name is the test's full name.
	Name     string
	File     string
	Row, Col int
	Elapsed  time.Duration
	// Outcome is pass, fail, error or skip.
	Outcome string
	// Message of an error, or which cases failed.
	Message string
	// FailedAt is the place of the first expression that was not true, and
	// Expression its text with the values of its variables below it. They are
	// empty where a test did not fail.
	FailedFile string
	FailedRow  int
	FailedCol  int
	Expression string
	// Output of print.
	Output string
}

// Coverage of one file's lines by its tests.
type Coverage struct {
	File    string
	Percent float64
	// Covered and Missed are the lines; comments and blank lines are neither.
	Covered, Missed int
	// Ranges of lines that no test reached.
	Ranges [][2]int
}

// Test runs the tests of the source as Load does, all of them whatever fails.
// The error is a *LoadError where they do not compile, else the context's or
// that of Options.Run.
func (p *Program) Test(ctx context.Context, o TrialOptions) ([]Trial, []Coverage, error) {
	if _, err := regexp.Compile(o.Run); err != nil {
		return nil, nil, fmt.Errorf("which tests to run: %w", err)
	}
	all := maps.Clone(p.library)
	maps.Copy(all, p.modules)
	var covered *cover.Cover
	if o.Coverage {
		covered = cover.New()
	}
	results, err := p.try(ctx, all, o.Run, false, covered)
	if err != nil {
		return nil, nil, err
	}
	out := make([]Trial, 0, len(results))
	for _, r := range results {
		out = append(out, p.trial(ctx, all, r))
	}
	slices.SortStableFunc(out, func(a, b Trial) int { return strings.Compare(a.File, b.File) })
	return out, coverage(covered, p.modules), nil
}

func (p *Program) try(ctx context.Context, modules map[string]*ast.Module, filter string, trace bool, covered *cover.Cover) ([]*tester.Result, error) {
	runner := tester.NewRunner().
		SetCompiler(p.box.compiler().WithEnablePrintStatements(true)).
		SetModules(modules).
		SetTimeout(testTimeout).
		CapturePrintOutput(true).
		RaiseBuiltinErrors(true).
		SetParallel(1).
		AddCustomBuiltins(append(boundedForTests(), coversForTests())).
		EnableTracing(trace).
		Filter(filter)
	if covered != nil {
		runner.SetCoverageQueryTracer(covered).SetCoverageRuns([]cover.Kind{})
	}
	running, err := runner.RunTests(ctx, nil)
	if err != nil {
		return nil, compileError(err)
	}
	var results []*tester.Result
	for r := range running {
		results = append(results, r)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("run the tests of policies: %w", err)
	}
	return results, nil
}

func (p *Program) trial(ctx context.Context, modules map[string]*ast.Module, r *tester.Result) Trial {
	t := Trial{
		Name: strings.TrimPrefix(r.Package, "data.") + "." + r.Name, Elapsed: r.Duration, Outcome: "pass", Output: string(r.Output),
		File: r.Location.File, Row: r.Location.Row, Col: r.Location.Col,
	}
	switch {
	case r.Skip:
		t.Outcome = "skip"
	case r.Error != nil:
		t.Outcome, t.Message = "error", r.Error.Error()
	case r.Fail:
		t.Outcome, t.Message = "fail", failedCases(r.SubResults)
		// Once more with a trace, which is too large to be kept for all tests.
		again, err := p.try(ctx, modules, "^"+regexp.QuoteMeta(r.Package+"."+r.Name)+"$", true, nil)
		if err == nil && len(again) == 1 {
			t.failure(again[0].Trace)
		}
	}
	return t
}

func failedCases(cases tester.SubResultMap) string {
	var names []string
	for path, c := range cases.Iter {
		if c.Fail && len(c.SubResults) == 0 {
			names = append(names, strings.Join(path, "/"))
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return "cases: " + strings.Join(names, ", ")
}

// failure notes the expression of the test's own file that was not true; where
// there is none, that of any policy.
func (t *Trial) failure(trace []*topdown.Event) {
	var at *topdown.Event
	for _, event := range slices.Backward(trace) {
		expr, ok := event.Node.(*ast.Expr)
		if !ok || event.Op != topdown.FailOp || event.Location == nil || event.Location.File == "" {
			continue
		}
		if _, every := expr.Terms.(*ast.Every); every {
			continue
		}
		if event.Location.File == t.File {
			at = event
			break
		}
		if at == nil {
			at = event
		}
	}
	if at == nil {
		return
	}
	t.FailedFile, t.FailedRow, t.FailedCol = at.Location.File, at.Location.Row, at.Location.Col
	var text bytes.Buffer
	if err := topdown.PrettyEvent(&text, at, topdown.PrettyEventOpts{PrettyVars: true}); err != nil {
		text.Reset()
		text.Write(at.Location.Text)
	}
	t.Expression = text.String()
}

// coverage reads what a run has reached of the source's rules; those of its
// tests do not count.
func coverage(covered *cover.Cover, modules map[string]*ast.Module) []Coverage {
	if covered == nil {
		return nil
	}
	rules := map[string]*ast.Module{}
	for file, m := range modules {
		if !testFile(file) {
			rules[file] = m
		}
	}
	report := covered.Report(rules)
	var out []Coverage
	for _, file := range slices.Sorted(maps.Keys(rules)) {
		r := report.Files[file]
		if r == nil {
			continue
		}
		c := Coverage{File: file, Percent: r.Coverage, Covered: r.CoveredLines, Missed: r.NotCoveredLines}
		for _, n := range r.NotCovered {
			c.Ranges = append(c.Ranges, [2]int{n.Start.Row, n.End.Row})
		}
		out = append(out, c)
	}
	return out
}
