// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// OPA looks at the deadline between two expressions, and within few of its
// functions. One call that makes much of little, such as numbers.range(1, 1e9),
// would neither end nor be stopped in time. So calls of such functions are
// compiled to calls of the same function behind a limit: what a call would make
// is estimated before, and what it made is counted after.
const (
	// maxMade bounds, in bytes, what the functions of one evaluation may make
	// together; one call may make no more, either.
	maxMade = 32 << 20
	// termSize is what one element of a collection counts.
	termSize = 64
	// maxDigits bounds the text of numbers, maxExponent what they are.
	maxDigits   = 400
	maxExponent = 400
	// maxMatching bounds the steps of matching one regular expression: the
	// size of its program times the length of the text.
	maxMatching = 20 << 20
	// maxGlob is the same for globs.
	maxGlob = 1 << 20
)

// boundedPrefix starts the names of functions behind a limit.
const boundedPrefix = "mainstay.bounded."

// estimate is the most that a call can make, in bytes; an error refuses it.
type estimate func(args []*ast.Term) (int, error)

// limits are those of the functions behind a limit.
var limits = map[string]estimate{
	"numbers.range":      ranged,
	"numbers.range_step": ranged,
	"to_number":          numbered,
	"mul":                numbered,
	"div":                numbered,
	"plus":               numbered,
	"minus":              numbered,
	"rem":                numbered,
	"round":              numbered,
	"ceil":               numbered,
	"floor":              numbered,
	"abs":                numbered,
	"format_int":         numbered,
	"sum":                numbered,
	"product":            numbered,
	"units.parse":        numbered,
	"units.parse_bytes":  numbered,
	"bits.and":           numbered,
	"bits.or":            numbered,
	"bits.xor":           numbered,
	"bits.negate":        numbered,

	"concat":                   concatenated,
	"sprintf":                  printed,
	"internal.template_string": interpolated,
	"replace":                  replacing,
	"strings.replace_n":        replacingMany,
	"regex.replace":            regexReplacing,
	"split":                    splitting,
	"strings.split_n":          splitting,
	"regex.split":              regexSplitting(0, 1),
	"regex.find_n":             regexSplitting(0, 1),
	"regex.match":              regexMatching(0, 1),
	"regex.template_match": func(args []*ast.Term) (int, error) {
		return 0, limited("the product of the lengths", length(args[0])*length(args[1]), maxGlob)
	},
	"regex.find_all_string_submatch_n": regexSplitting(0, 1),
	"glob.match": func(args []*ast.Term) (int, error) {
		return 0, limited("the product of the lengths", length(args[0])*length(args[2]), maxGlob)
	},

	"array.concat":              shallow,
	"array.flatten":             weighed(termSize),
	"and":                       shallow,
	"or":                        shallow,
	"intersection":              weighed(termSize),
	"union":                     weighed(termSize),
	"object.union":              weighed(termSize),
	"object.union_n":            weighed(termSize),
	"object.subset":             weighed(termSize),
	"object.filter":             weighed(termSize),
	"object.remove":             weighed(termSize),
	"json.filter":               weighed(termSize),
	"json.remove":               weighed(termSize),
	"json.patch":                weighed(termSize),
	"json.marshal":              weighed(1),
	"json.marshal_with_options": weighed(4),
	"json.unmarshal":            func(args []*ast.Term) (int, error) { return termSize * length(args[0]), nil },
	"sort":                      weighed(termSize),
	"graph.reachable":           weighed(termSize),
	"net.cidr_merge":            weighed(termSize),
	"net.cidr_contains_matches": func(args []*ast.Term) (int, error) {
		return termSize * max(1, length(args[0])) * max(1, length(args[1])), nil
	},
	"base64.encode":           grown(2),
	"base64.decode":           grown(1),
	"base64url.encode":        grown(2),
	"base64url.encode_no_pad": grown(2),
	"base64url.decode":        grown(1),
	"hex.encode":              grown(2),
	"hex.decode":              grown(1),
	"urlquery.encode":         grown(3),
	"urlquery.encode_object":  weighed(4),
	"urlquery.decode_object":  grown(termSize),
	"strings.reverse":         grown(1),
	"lower":                   grown(3),
	"upper":                   grown(3),
}

// meter stops an evaluation: at its deadline, and when its functions have made
// too much.
type meter struct {
	cancelled atomic.Bool
	made      atomic.Int64
}

var _ topdown.Cancel = (*meter)(nil)

// Cancel implements topdown.Cancel.
func (m *meter) Cancel() { m.cancelled.Store(true) }

// Cancelled implements topdown.Cancel.
func (m *meter) Cancelled() bool { return m.cancelled.Load() }

// makes counts what a call made; it is an error when that is too much.
func (m *meter) makes(bytes int) error {
	if m.made.Add(int64(bytes)) > maxMade {
		return limited("what its functions make, in bytes,", maxMade+1, maxMade)
	}
	return nil
}

// tooSlow is the error of an evaluation that took too long.
type tooSlow struct{ limit time.Duration }

func (e *tooSlow) Error() string { return fmt.Sprintf("took longer than %s", e.limit) }

// over tells that an evaluation was over one of its limits.
func over(err error) bool {
	return errors.As(err, new(*tooSlow)) || errors.As(err, new(*tooMuch))
}

// tooMuch is the error of a call that would make too much.
type tooMuch struct{ text string }

func (e *tooMuch) Error() string { return e.text }

func limited(what string, n, most int) error {
	if n >= 0 && n <= most {
		return nil
	}
	return &tooMuch{fmt.Sprintf("%s would be more than %d", what, most)}
}

// boundCalls has the functions behind a limit called. It is the last stage of
// compiling, so that no message and no index knows of it.
func boundCalls(c *ast.Compiler) *ast.Error {
	for _, m := range c.Modules {
		ast.WalkExprs(m, func(x *ast.Expr) bool {
			if terms, ok := x.Terms.([]*ast.Term); ok && len(terms) > 0 {
				boundTerm(terms[0])
			}
			for _, w := range x.With {
				boundTerm(w.Target)
				boundTerm(w.Value)
			}
			return false
		})
	}
	return nil
}

func boundTerm(t *ast.Term) {
	ref, ok := t.Value.(ast.Ref)
	if !ok || len(ref) == 0 || ref[0].Equal(ast.DefaultRootDocument) || ref[0].Equal(ast.InputRootDocument) {
		return
	}
	if name := ref.String(); limits[name] != nil {
		t.Value = (&ast.Builtin{Name: boundedPrefix + name}).Ref()
	}
}

// boundedBuiltins are the declarations of the functions behind a limit.
func boundedBuiltins() []*ast.Builtin {
	var out []*ast.Builtin
	for name := range limits {
		if b := ast.BuiltinMap[name]; b != nil {
			out = append(out, &ast.Builtin{Name: boundedPrefix + name, Decl: b.Decl})
		}
	}
	return out
}

// boundedFunctions tells a query of all functions behind a limit.
func boundedFunctions(r *rego.Rego) {
	for _, b := range boundedBuiltins() {
		rego.FunctionDyn(&rego.Function{Name: b.Name, Decl: b.Decl}, boundedFunction(strings.TrimPrefix(b.Name, boundedPrefix)))(r)
	}
}

// boundedFunction runs OPA's own function behind its limit. An excess ends the
// evaluation, not only the expression.
func boundedFunction(name string) rego.BuiltinDyn {
	run, check := topdown.GetBuiltin(name), limits[name]
	return func(bctx rego.BuiltinContext, args []*ast.Term) (result *ast.Term, err error) {
		most, err := check(args)
		if err == nil {
			err = limited("what it makes, in bytes,", most, maxMade)
		}
		if err != nil {
			return nil, rego.NewHaltError(err)
		}
		err = run(bctx, args, func(t *ast.Term) error { result = t; return nil })
		if halt, ok := err.(topdown.Halt); ok { //nolint:errorlint // as OPA looks at it
			return nil, rego.NewHaltError(halt.Err)
		}
		if te, ok := err.(*topdown.Error); ok { //nolint:errorlint // OPA wraps it again
			return nil, errors.New(strings.TrimPrefix(te.Message, name+": "))
		}
		if m, ok := bctx.Cancel.(*meter); ok && err == nil && result != nil {
			if err := m.makes(size(result)); err != nil {
				return nil, rego.NewHaltError(err)
			}
		}
		return result, err
	}
}

// unbounded is the text of an error without the names that nobody wrote.
func unbounded(err error) string { return strings.ReplaceAll(err.Error(), boundedPrefix, "") }

// boundedForTests are the same for the runner of tests.
func boundedForTests() []*tester.Builtin {
	list := boundedBuiltins()
	out := make([]*tester.Builtin, len(list))
	for i, b := range list {
		out[i] = &tester.Builtin{Decl: b, Func: boundedFunctions}
	}
	return out[:min(len(out), 1)] // one of them brings them all
}

// length of a text in bytes, or of a collection in elements.
func length(t *ast.Term) int {
	switch v := t.Value.(type) {
	case ast.String:
		return len(v)
	case ast.Number:
		return len(v)
	case *ast.Array:
		return v.Len()
	case ast.Object:
		return v.Len()
	case ast.Set:
		return v.Len()
	}
	return 1
}

// size of a value, not of what it holds.
func size(t *ast.Term) int {
	switch t.Value.(type) {
	case ast.String, ast.Number:
		return length(t)
	}
	return termSize * length(t)
}

// weight counts what a value holds, at most to a limit: one whose parts are
// shared may be much larger than it is in memory.
func weight(t *ast.Term, most int) int {
	n := 1
	add := func(t *ast.Term) {
		if n < most {
			n += weight(t, most-n)
		}
	}
	switch v := t.Value.(type) {
	case ast.String:
		n += len(v) / termSize
	case *ast.Array:
		for i := 0; i < v.Len() && n < most; i++ {
			add(v.Elem(i))
		}
	case ast.Set:
		_ = v.Iter(func(t *ast.Term) error { add(t); return enough(n, most) })
	case ast.Object:
		_ = v.Iter(func(k, v *ast.Term) error { add(k); add(v); return enough(n, most) })
	}
	return n
}

func enough(n, most int) error {
	if n >= most {
		return &tooMuch{}
	}
	return nil
}

// weighed is a function that makes so many times what it is given.
func weighed(times int) estimate {
	return func(args []*ast.Term) (int, error) {
		n := 0
		for _, a := range args {
			n += weight(a, maxMade/termSize+1-n)
		}
		if n*termSize > maxMade {
			return n * termSize, nil
		}
		return n * times, nil
	}
}

func shallow(args []*ast.Term) (int, error) {
	n := 0
	for _, a := range args {
		n += size(a)
	}
	return n, nil
}

func grown(times int) estimate {
	return func(args []*ast.Term) (int, error) { return times * length(args[0]), nil }
}

// number bounds a number, which may also be written in a text.
func number(t *ast.Term) error {
	var text string
	switch v := t.Value.(type) {
	case ast.Number:
		text = string(v)
	case ast.String:
		text = string(v)
	case *ast.Array:
		for i := range v.Len() {
			if err := number(v.Elem(i)); err != nil {
				return err
			}
		}
		return nil
	case ast.Set:
		return v.Iter(number)
	default:
		return nil
	}
	return numberText(text)
}

func numberText(text string) error {
	if len(text) > maxDigits {
		return limited("the digits of a number", len(text), maxDigits)
	}
	at := strings.IndexAny(text, "eE")
	if at < 0 {
		return nil
	}
	exponent := 0
	for _, c := range strings.TrimLeft(text[at+1:], "+-") {
		if c < '0' || c > '9' {
			return nil // it is no number
		}
		if exponent = exponent*10 + int(c-'0'); exponent > maxExponent {
			return limited("the exponent of a number", exponent, maxExponent)
		}
	}
	return nil
}

func numbered(args []*ast.Term) (int, error) {
	for _, a := range args {
		if err := number(a); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// ranged counts the numbers of a range.
func ranged(args []*ast.Term) (int, error) {
	if _, err := numbered(args); err != nil {
		return 0, err
	}
	var values [3]int
	values[2] = 1
	for i, a := range args[:min(len(args), 3)] {
		n, ok := a.Value.(ast.Number)
		if !ok {
			return 0, nil // OPA says what is wrong
		}
		v, ok := n.Int()
		if !ok {
			f, ok := n.Float64()
			if ok && f > -1e6 && f < 1e6 {
				return 0, nil // no integer: OPA says so
			}
			return maxMade + 1, nil
		}
		values[i] = v
	}
	from, to := float64(values[0]), float64(values[1])
	steps := max(from-to, to-from) / float64(max(values[2], 1))
	return int(min(steps+1, maxMade) * termSize), nil
}

func concatenated(args []*ast.Term) (int, error) {
	n, count := 0, 0
	add := func(t *ast.Term) error { n += length(t); count++; return nil }
	switch v := args[1].Value.(type) {
	case *ast.Array:
		_ = v.Iter(add)
	case ast.Set:
		_ = v.Iter(add)
	}
	return n + count*length(args[0]), nil
}

// printed is the most that sprintf makes: every verb may print the longest of
// the values, as wide as it says.
func printed(args []*ast.Term) (int, error) {
	format, ok := args[0].Value.(ast.String)
	if !ok {
		return 0, nil
	}
	longest := 0
	if list, ok := args[1].Value.(*ast.Array); ok {
		for i := range list.Len() {
			longest = max(longest, termSize*weight(list.Elem(i), maxMade/termSize+1), length(list.Elem(i)))
		}
	}
	n, width := len(format), 0
	verbs := strings.Count(string(format), "%")
	for _, c := range format {
		switch {
		case c >= '0' && c <= '9':
			width = min(width*10+int(c-'0'), 1<<20)
			continue
		case c == '*':
			width = 1 << 20
		}
		n, width = n+width, 0
	}
	return n + verbs*longest, nil
}

// interpolated is for $"…{x}…": each part stands in the text once, an expression
// as a set that holds its value.
func interpolated(args []*ast.Term) (int, error) {
	n := 0
	if parts, ok := args[0].Value.(*ast.Array); ok {
		for i := range parts.Len() {
			n += termSize * weight(parts.Elem(i), maxMade/termSize+1)
		}
	}
	return n, nil
}

func replacing(args []*ast.Term) (int, error) {
	s, _ := args[0].Value.(ast.String)
	old, _ := args[1].Value.(ast.String)
	return len(s) + strings.Count(string(s), string(old))*length(args[2]), nil
}

func replacingMany(args []*ast.Term) (int, error) {
	longest := 0
	if patterns, ok := args[0].Value.(ast.Object); ok {
		patterns.Foreach(func(_, v *ast.Term) { longest = max(longest, length(v)) })
	}
	return (length(args[1]) + 1) * (longest + 1), nil
}

func splitting(args []*ast.Term) (int, error) {
	s, _ := args[0].Value.(ast.String)
	separator, _ := args[1].Value.(ast.String)
	return termSize * (strings.Count(string(s), string(separator)) + 1), nil
}

func regexReplacing(args []*ast.Term) (int, error) {
	if err := matching(args[1], args[0]); err != nil {
		return 0, err
	}
	return length(args[0]) + (length(args[0])+1)*length(args[2]), nil
}

func regexSplitting(pattern, text int) estimate {
	return func(args []*ast.Term) (int, error) {
		if err := matching(args[pattern], args[text]); err != nil {
			return 0, err
		}
		p, _ := args[pattern].Value.(ast.String)
		return termSize * (length(args[text]) + 1) * (strings.Count(string(p), "(") + 1) / 4, nil
	}
}

func regexMatching(pattern, text int) estimate {
	return func(args []*ast.Term) (int, error) { return 0, matching(args[pattern], args[text]) }
}

// matching bounds the steps that a regular expression takes.
func matching(pattern, text *ast.Term) error {
	p, ok := pattern.Value.(ast.String)
	if !ok {
		return nil
	}
	return limited("the steps of matching", programs.size(string(p))*(length(text)+1), maxMatching)
}

// programs remembers how large regular expressions are.
var programs = &programSizes{known: map[string]int{}}

type programSizes struct {
	mu    sync.RWMutex
	known map[string]int
}

// size is the number of instructions of a pattern; one that is none is OPA's to
// refuse.
func (p *programSizes) size(pattern string) int {
	p.mu.RLock()
	n, ok := p.known[pattern]
	p.mu.RUnlock()
	if ok {
		return n
	}
	if parsed, err := syntax.Parse(pattern, syntax.Perl); err == nil {
		if program, err := syntax.Compile(parsed.Simplify()); err == nil {
			n = len(program.Inst)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= patternCacheSize {
		clear(p.known)
	}
	p.known[pattern] = n
	return n
}
