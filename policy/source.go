// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

const (
	builtinKey = "builtin"
	// internal starts the file names of modules that no source contains.
	internal   = "mainstay:"
	entryFile  = internal + "entry"
	exceptions = "policies.exceptions"
	// testTimeout bounds one test of a policy.
	testTimeout = 5 * time.Second
)

// The two rule names of the contract.
const (
	kindException = "exception"
	kindDeny      = "deny"
)

// source is a compiled Source. It is immutable but for its caches.
type source struct {
	Source
	loaded Loaded
	// needs and input are what the rules read.
	needs []schema.GroupKind
	input reads
	// subResources of pods that the deny rules may speak of; none without such
	// a rule.
	subResources []string

	// switchedOn are the policies of the library in this source.
	switchedOn []string

	compiler *ast.Compiler
	store    storage.Store
	// exceptions and denials are nil where the source has no such rule.
	exceptions, denials *rego.PreparedEvalQuery
	// entries are the same two as OPA's index knows them.
	entries struct{ exception, deny *entry }
	// prompt tells that its rules return soon after their deadline.
	prompt bool
	// packages with an exception rule, each for itself: what is asked when one
	// of them fails.
	packages []*packageQuery

	// What went wrong, and what is not asked because of it.
	troubles                      troubles
	denyBreaker, exceptionBreaker breaker

	mu       sync.Mutex
	patterns map[string]fieldset.Pattern
}

type packageQuery struct {
	name    string
	prepare func() (rego.PreparedEvalQuery, error)
	breaker breaker
}

func (s *source) builtin() bool { return s.Key == builtinKey }

// program is a source whose rules compile, with what else is needed to test
// and to ask them.
type program struct {
	box *sandbox
	// modules are the source's own as they were written, tests included;
	// library are those that are compiled into every source.
	modules, library map[string]*ast.Module
	source           *source
}

// compile turns a Source into what Decide asks. Its error is a *LoadError or
// the context's.
func (e *Engine) compile(ctx context.Context, s Source) (_ *source, err error) {
	defer func() {
		if r := recover(); r != nil {
			// One team's Rego must not take down the judge of all others.
			err = &LoadError{Items: []Problem{{Message: fmt.Sprintf("compiling panicked: %v", r)}}}
		}
	}()
	p, err := e.program(s)
	if err != nil {
		return nil, err
	}
	if p.source.loaded.Tests, err = runTests(ctx, p.box, p.modules, p.library); err != nil {
		return nil, err
	}
	if err := p.prepare(ctx); err != nil {
		return nil, err
	}
	return p.source, nil
}

// program compiles the rules of a Source, and runs nothing. Its error is a
// *LoadError.
func (e *Engine) program(s Source) (*program, error) {
	box, err := newSandbox()
	if err != nil {
		return nil, err
	}
	texts, err := e.regoOf(s)
	if err != nil {
		return nil, err
	}
	modules, err := parse(texts)
	if err != nil {
		return nil, err
	}
	lint := linter{box: box, builtin: s.Key == builtinKey}
	if items := lint.parsed(modules); len(items) > 0 {
		return nil, &LoadError{Items: items}
	}
	library, err := libraryModules()
	if err != nil {
		return nil, err
	}
	production := map[string]*ast.Module{entryFile: ast.MustParseModule("package mainstay.entry")}
	for file, m := range modules {
		if !testFile(file) {
			production[file] = m
		}
	}
	for file, m := range library {
		if !strings.HasSuffix(file, "/testing.rego") {
			production[file] = m
		}
	}
	compiler := box.compiler().WithStageAfterID(ast.StageRemoveImports, ast.CompilerStageDefinition{
		Name: "MainstayEntry", MetricName: "mainstay_entry", Stage: hoist,
	})
	if compiler.Compile(production); compiler.Failed() {
		return nil, compileError(compiler.Errors)
	}
	store, err := s.withParameters(e.cluster.within(s.Namespace))
	if err != nil {
		return nil, err
	}
	out := &source{Source: s, compiler: compiler, store: store, patterns: map[string]fieldset.Pattern{}}
	if items := lint.compiled(compiler.Modules); len(items) > 0 {
		return nil, &LoadError{Items: items}
	}
	out.needs, out.input = lint.needs, lint.input
	// Of the caller's maps nothing is kept.
	out.switchedOn = slices.Clone(s.Library)
	out.Modules, out.Exceptions, out.Library, out.Parameters = nil, nil, nil, nil
	out.loaded = Loaded{Rules: rules(modules), Digest: digest(texts)}
	return &program{box: box, modules: modules, library: library, source: out}, nil
}

// prepare makes the queries that Decide asks.
func (p *program) prepare(ctx context.Context) error {
	if err := p.source.prepareQueries(ctx); err != nil {
		return problems(err)
	}
	p.source.prompt = p.source.promptRules()
	if p.source.denials != nil {
		p.source.subResources = subResourcesOf(p.modules)
	}
	return nil
}

// parse reads modules, Rego v1 only, with their annotations.
func parse(texts map[string]string) (map[string]*ast.Module, error) {
	modules := make(map[string]*ast.Module, len(texts))
	var items []Problem
	for _, file := range slices.Sorted(maps.Keys(texts)) {
		if file == parametersFile || blank(texts[file]) {
			continue
		}
		m, err := ast.ParseModuleWithOpts(file, texts[file], ast.ParserOptions{
			RegoVersion: ast.RegoV1, ProcessAnnotation: true,
		})
		var list ast.Errors
		switch {
		case errors.As(err, &list):
			items = append(items, astProblems(list)...)
		case err != nil:
			items = append(items, Problem{File: file, Message: err.Error()})
		default:
			modules[file] = m
		}
	}
	if len(items) > 0 {
		return nil, &LoadError{Items: items}
	}
	return modules, nil
}

// blank tells whether a file holds nothing but comments.
func blank(text string) bool {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

func testFile(file string) bool { return strings.HasSuffix(file, "_test.rego") }

// hoist copies every exception and deny into one package, as a set of
// [package, file, row, value]. So one query asks all rules of a source, OPA's
// index skips the rules that can't match, and each answer says which rule it
// comes from. It runs when references are resolved and before rules are looked
// up by name.
func hoist(c *ast.Compiler) *ast.Error {
	entry := c.Modules[entryFile]
	for _, file := range slices.Sorted(maps.Keys(c.Modules)) {
		if strings.HasPrefix(file, internal) {
			continue
		}
		m := c.Modules[file]
		name := packageName(m.Package)
		for _, r := range m.Rules {
			kind := r.Head.Name.String()
			if !entryRule(r) || r.Head.Key == nil {
				continue
			}
			row := r.Location.Row
			r = r.Copy()
			r.Module = entry
			// The compiler writes into terms, and small signed numbers are one term
			// for the whole process, which decisions read meanwhile.
			r.Head.Key = ast.ArrayTerm(ast.StringTerm(name+"."+kind), ast.StringTerm(file),
				ast.UIntNumberTerm(uint64(row)), r.Head.Key).SetLocation(r.Head.Key.Location)
			entry.Rules = append(entry.Rules, r)
		}
	}
	return nil
}

// entryRule tells whether a rule is one of the contract's two sets.
func entryRule(r *ast.Rule) bool {
	if ref := r.Head.Ref(); len(ref) != 1 || r.Head.RuleKind() != ast.MultiValue {
		return false
	}
	name := r.Head.Name.String()
	return name == kindException || name == kindDeny
}

func packageName(p *ast.Package) string {
	return strings.TrimPrefix(p.Path.String(), "data.")
}

// rules lists the entry rules with their titles, by file and line.
func rules(modules map[string]*ast.Module) []RuleInfo {
	var out []RuleInfo
	for _, file := range slices.Sorted(maps.Keys(modules)) {
		if testFile(file) {
			continue
		}
		m := modules[file]
		for _, r := range m.Rules {
			if !entryRule(r) {
				continue
			}
			info := RuleInfo{Name: packageName(m.Package) + "." + r.Head.Name.String(), Kind: r.Head.Name.String(), Until: writtenEnd(r)}
			for _, a := range r.Annotations {
				info.Title = cmp.Or(info.Title, a.Title)
			}
			out = append(out, info)
		}
	}
	return out
}

// writtenEnd is the end that is written out in an entry rule.
func writtenEnd(r *ast.Rule) *time.Time {
	if r.Head.Key == nil {
		return nil
	}
	value, ok := r.Head.Key.Value.(ast.Object)
	if !ok {
		return nil
	}
	until, ok := get(value, "until").(ast.String)
	if !ok {
		return nil
	}
	t, err := time.Parse(time.RFC3339, string(until))
	if err != nil {
		return nil
	}
	return &t
}

func digest(texts map[string]string) string {
	h := sha256.New()
	for _, file := range slices.Sorted(maps.Keys(texts)) {
		fmt.Fprintf(h, "%d %s %d %s", len(file), file, len(texts[file]), texts[file])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// prepareQueries prepares one query for each kind of rule that there is.
func (s *source) prepareQueries(ctx context.Context) error {
	has := map[string]bool{}
	for _, r := range s.compiler.Modules[entryFile].Rules {
		has[r.Head.Name.String()] = true
	}
	for kind, query := range map[string]**rego.PreparedEvalQuery{kindException: &s.exceptions, kindDeny: &s.denials} {
		if !has[kind] {
			continue
		}
		ref := ast.MustParseRef("data.mainstay.entry." + kind)
		prepared, err := s.prepare(ctx, ref, false)
		if err != nil {
			return err
		}
		*query = &prepared
		if kind == kindDeny {
			s.entries.deny = newEntry(s.compiler, ref)
		} else {
			s.entries.exception = newEntry(s.compiler, ref)
		}
	}
	packages := map[string]ast.Ref{}
	for file, m := range s.compiler.Modules {
		if strings.HasPrefix(file, internal) {
			continue
		}
		for _, r := range m.Rules {
			if entryRule(r) && r.Head.Name.String() == kindException {
				packages[packageName(m.Package)] = m.Package.Path.Append(ast.StringTerm(kindException))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		s.packages = append(s.packages, &packageQuery{name: name, prepare: sync.OnceValues(func() (rego.PreparedEvalQuery, error) {
			// Prepared when first needed; the context of the request that needs
			// it first must not decide about all others.
			return s.prepare(context.WithoutCancel(ctx), packages[name], true)
		})})
	}
	return nil
}

func (s *source) prepare(ctx context.Context, ref ast.Ref, strict bool) (rego.PreparedEvalQuery, error) {
	return rego.New(
		rego.ParsedQuery(ast.NewBody(ast.NewExpr(ast.NewTerm(ref)))),
		rego.Compiler(s.compiler),
		rego.Store(s.store),
		rego.StrictBuiltinErrors(strict),
		coversFunction(),
		boundedFunctions,
		rego.GenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) { return t, nil }),
	).PrepareForEval(ctx)
}

// runTests runs the test_ rules of *_test.rego files and counts them.
func runTests(ctx context.Context, box *sandbox, modules, library map[string]*ast.Module) (int, error) {
	if !slices.ContainsFunc(slices.Collect(maps.Keys(modules)), testFile) {
		return 0, nil
	}
	all := maps.Clone(library)
	maps.Copy(all, modules)
	results, err := runOnce(ctx, box, all, "")
	if err != nil {
		return 0, err
	}
	var items []Problem
	for _, r := range results {
		if r.Skip || !r.Fail && r.Error == nil {
			continue
		}
		// Once more with a trace, which tells the expression that was not true
		// and is too large to be kept for all tests.
		if again, err := runOnce(ctx, box, all, "^"+regexp.QuoteMeta(r.Package+"."+r.Name)+"$"); err == nil && len(again) == 1 {
			r.Trace = again[0].Trace
		}
		items = append(items, testProblem(r))
	}
	slices.SortFunc(items, compareProblems)
	if len(items) > 0 {
		return 0, &LoadError{Items: items}
	}
	return len(results), nil
}

// runOnce runs all tests, or with a trace those that match a filter.
func runOnce(ctx context.Context, box *sandbox, modules map[string]*ast.Module, filter string) ([]*tester.Result, error) {
	running, err := tester.NewRunner().
		SetCompiler(box.compiler()).
		SetModules(modules).
		SetTimeout(testTimeout).
		CapturePrintOutput(false).
		RaiseBuiltinErrors(true).
		SetParallel(1).
		AddCustomBuiltins(append(boundedForTests(), coversForTests())).
		EnableTracing(filter != "").
		Filter(filter).
		RunTests(ctx, nil)
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

func testProblem(r *tester.Result) Problem {
	p := Problem{Rule: "failing-test", Message: fmt.Sprintf("test %s.%s failed", strings.TrimPrefix(r.Package, "data."), r.Name)}
	at := r.Location
	if r.Error != nil {
		p.Message += ": " + r.Error.Error()
	} else {
		for _, event := range r.Trace {
			expr, ok := event.Node.(*ast.Expr)
			if ok && event.Op == topdown.FailOp && event.Location != nil && event.Location.File == r.Location.File &&
				event.Location.Row >= r.Location.Row {
				at = expr.Location
			}
		}
		if at != r.Location {
			p.Message += ": not true: " + strings.TrimSpace(string(at.Text))
		}
	}
	p.File, p.Row, p.Col = at.File, at.Row, at.Col
	return p
}

func compareProblems(a, b Problem) int {
	return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Col, b.Col), strings.Compare(a.Message, b.Message))
}

// compileError turns OPA's errors into a *LoadError.
func compileError(err error) error {
	if list, ok := errors.AsType[ast.Errors](err); ok {
		return &LoadError{Items: astProblems(list)}
	}
	if one, ok := errors.AsType[*ast.Error](err); ok {
		return &LoadError{Items: astProblems(ast.Errors{one})}
	}
	return problems(err)
}

func astProblems(list ast.Errors) []Problem {
	var items []Problem
	for _, err := range list {
		p := Problem{Rule: strings.TrimSuffix(strings.ReplaceAll(err.Code, "_", "-"), "-error"), Message: err.Message}
		if message, hint, ok := typeProblem(err); ok {
			p.Message, p.Hint = message, hint
		}
		if _, ok := err.Details.(*ast.UnificationErrDetail); ok {
			p.Hint = "compare member by member: an object of input may have members that are not always there; or one side is a text and the other is none"
		}
		if err.Location != nil {
			p.File, p.Row, p.Col = err.Location.File, err.Location.Row, err.Location.Col
		}
		// Rules are compiled twice, once where they stand and once in the entry.
		if !slices.Contains(items, p) {
			items = append(items, p)
		}
	}
	slices.SortStableFunc(items, compareProblems)
	return items
}
