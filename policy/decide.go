// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Decide judges a change. It never fails: what can't be judged is refused. It
// is safe for concurrent use; the Change must not be used by anybody else
// meanwhile.
func (e *Engine) Decide(ctx context.Context, c *Change) (d Decision) {
	start := time.Now()
	defer func() {
		if r := recover(); r != nil {
			// A panic in a library must not take the process down, nor permit.
			d = refusal(fmt.Sprintf("judging panicked: %v", r))
			d.Uncovered = c.Fields
		}
		d.ID = NewDecisionID()
		d.Elapsed = time.Since(start)
	}()
	return e.decide(ctx, c)
}

func refusal(reason string) Decision {
	return Decision{Verdict: Refuse, Class: RuleError, Reason: reason, Errors: []string{reason}}
}

func (e *Engine) decide(ctx context.Context, c *Change) Decision {
	if len(c.Fields) == 0 && c.Operation != Delete && !c.Use() && !c.OfGit() {
		return Decision{Verdict: Permit, Class: RuleGit, Reason: "git says the same"}
	}
	if err := ctx.Err(); err != nil {
		d := refusal(fmt.Sprintf("there was no time to ask policies: %v", err))
		d.Uncovered = c.Fields
		return d
	}
	j := e.newJudgement(c)
	d := j.judge(ctx)
	d.Policies = j.digest
	return d
}

// judge asks the rules, denials first.
func (j *judgement) judge(ctx context.Context) Decision {
	if d, done := j.deny(ctx); done {
		if granted, ok := j.beats(d); ok {
			return granted
		}
		d.Uncovered = j.change.Fields
		return d
	}
	if j.change.Use() || j.change.OfGit() {
		return Decision{Verdict: Permit, Class: RuleGit, Reason: "no deny rule speaks against it"}
	}
	d := j.except(ctx)
	if d.Verdict == Refuse {
		d.Library = j.hint(d.Uncovered)
	}
	if err := ctx.Err(); err != nil && d.Verdict != Permit {
		d.Class, d.Reason = RuleError, fmt.Sprintf("there was no time to ask all policies: %v", err)
		d.Errors = append(d.Errors, d.Reason)
	}
	return d
}

// judgement is one Change on its way through the policies.
type judgement struct {
	engine  *Engine
	change  *Change
	now     time.Time
	paths   []string
	sources []asked
	input   ast.Value
	// reads is what all rules read together.
	reads  *reads
	digest string // of the sources
	errors []string
	// trail is set where a recorded change is judged again.
	trail *trail
}

func (e *Engine) newJudgement(c *Change) *judgement {
	j := &judgement{engine: e, change: c, now: c.Time, paths: make([]string, len(c.Fields))}
	if j.now.IsZero() {
		j.now = time.Now()
		with := *c
		with.Time = j.now
		c = &with
		j.change = c
	}
	for i, f := range c.Fields {
		j.paths[i] = f.Path.String()
	}
	now := e.sources.Load()
	var positions []int
	var scope *scopeReads
	j.sources, positions, scope = now.inScope(c)
	j.reads, j.digest = &scope.reads, scope.digest
	if e.asksAll {
		j.input = e.input(c, j.paths, j.reads)
		return j
	}
	input := e.earlyInput(c, j.reads)
	e.lateInput(input, c, j.paths, now.narrow(j.sources, positions, input))
	j.input = input
	return j
}

// speaksOf tells whether a change is in a source's scope.
func (s *source) speaksOf(c *Change) bool {
	if s.exceptions == nil && s.denials == nil {
		return false
	}
	if s.Sync != nil && *s.Sync != c.Record.Sync.Key() || slices.Contains(c.Replaced, s.Key) {
		return false
	}
	return s.Namespace == "" || s.Namespace == c.ID().Namespace
}

// deny asks the deny rules of all sources. An error in any of them refuses a
// request. Drift has happened: an error does not turn what exceptions permit
// into what has to be undone, or Mainstay would fight an autoscaler because of
// a rule that can't be judged.
func (j *judgement) deny(ctx context.Context) (Decision, bool) {
	var found []*answer
	for _, s := range j.sources {
		if s.source.denials == nil || !s.speaksOfUse(j.change) {
			continue
		}
		var terms []*ast.Term
		err := j.engine.unlisted(s.source)
		if err == nil && s.denials {
			terms, err = j.guarded(ctx, s.breaker(&s.denyBreaker), s.source.denials, j.input, j.limit(), s.culprits(kindDeny))
		}
		var answers []*answer
		if err == nil {
			answers, err = s.answers(terms, kindDeny, j.now)
		}
		if err != nil {
			j.failed(s.source, kindDeny, err)
			failure := fmt.Sprintf("a deny rule could not be judged: %s: %s", s.Key, unbounded(err))
			if j.change.Origin != OriginDrift {
				return refusal(failure), true
			}
			j.errors = append(j.errors, failure)
			continue
		}
		found = append(found, answers...)
	}
	j.trail.heard(kindDeny, found)
	found = slices.DeleteFunc(found, func(a *answer) bool { return a.expired(j.now) })
	if len(found) == 0 {
		return Decision{}, false
	}
	slices.SortStableFunc(found, func(a, b *answer) int {
		if a.final != b.final {
			if a.final {
				return -1
			}
			return 1
		}
		return a.compare(b)
	})
	d := Decision{Verdict: Refuse, Class: class(found), Rule: names(found), Reason: reasons(found), Final: found[0].final, Errors: j.errors}
	for _, a := range found {
		d.add(a)
	}
	return d, true
}

// except asks the exceptions of all sources and lets the change stand if they
// cover all of it.
func (j *judgement) except(ctx context.Context) Decision {
	var found []*answer
	for _, s := range j.sources {
		if s.source.exceptions == nil {
			continue
		}
		answers := j.exceptionsOf(ctx, s)
		j.trail.heard(kindException, answers)
		for _, a := range answers {
			// An exception that lasts for a time from its request on needs a
			// request: drift has no beginning that could be proved.
			if !a.expired(j.now) && (!a.ttl || j.change.Origin != OriginDrift) {
				found = append(found, a)
			}
		}
	}
	slices.SortStableFunc(found, (*answer).compare)
	d := j.cover(found)
	if d.Verdict != Permit {
		if a := j.granted(d.Uncovered); a != nil {
			d = j.cover(append(found, a))
		}
	}
	d.Errors = j.errors
	return d
}

// cover finds for each changed field the exception that permits it: found is
// sorted so that the first one that covers a field is the best.
func (j *judgement) cover(found []*answer) Decision {
	var used []*answer
	use := func(a *answer) {
		if !slices.Contains(used, a) {
			used = append(used, a)
		}
	}
	d := Decision{Verdict: Permit}
	for i, f := range j.change.Fields {
		at := -1
		if !ours(f) {
			at = slices.IndexFunc(found, func(a *answer) bool { return a.covers(f.Path, j.paths[i]) })
		}
		if at < 0 {
			d.Uncovered = append(d.Uncovered, f)
			continue
		}
		a := found[at]
		use(a)
		if j.change.Origin == OriginRequest {
			d.Permits = append(d.Permits, Permitted{Field: f, Rule: a.name, Until: a.until, Held: a.held, Recorded: !a.unrecorded})
		}
	}
	if len(j.change.Fields) == 0 {
		if at := slices.IndexFunc(found, func(a *answer) bool { return !a.hasPaths }); at >= 0 {
			a := found[at]
			use(a)
			if a.grant != nil && j.change.Operation == Delete {
				d.Permits = append(d.Permits, Permitted{Rule: a.name, Until: a.until, Held: a.held, Recorded: true})
			}
		}
	}
	if len(d.Uncovered) > 0 || len(used) == 0 {
		return Decision{
			Verdict: Refuse, Class: RuleDefault, Uncovered: d.Uncovered,
			Reason: "git says otherwise, and no exception covers it",
		}
	}
	d.Class, d.Rule, d.Reason = class(used), names(used), reasons(used)
	if text := endWarning(j.change, d.Permits); text != "" {
		d.Warnings = append(d.Warnings, text)
	}
	for _, a := range used {
		d.add(a)
		if a.grant != nil {
			d.Grant = a.grant
			d.Warnings = append(d.Warnings, a.grant.warning(j.change.DryRun))
		}
	}
	return d
}

// add puts what a rule says beside its reason into the decision.
func (d *Decision) add(a *answer) {
	if a.until != nil && (d.Until == nil || a.until.Before(*d.Until)) {
		d.Until = a.until
	}
	if a.warn != "" && !slices.Contains(d.Warnings, a.warn) {
		d.Warnings = append(d.Warnings, a.warn)
	}
	if d.Next == "" {
		d.Next = a.next
	}
	if d.Severity == "" {
		d.Severity = a.severity
	}
}

// exceptionsOf asks one source. Where anything fails, its packages are asked
// one by one, so that a failing one yields nothing and the others count.
func (j *judgement) exceptionsOf(ctx context.Context, s asked) []*answer {
	// The built-in exceptions only permit by what is there, never by what is not.
	if err := j.engine.unlisted(s.source); err != nil && !s.builtin() {
		j.failed(s.source, kindException, err)
		j.errors = append(j.errors, fmt.Sprintf("%s: %v", s.Key, err))
		return nil
	}
	if !s.exceptions {
		return nil
	}
	terms, err := j.guarded(ctx, s.breaker(&s.exceptionBreaker), s.source.exceptions, j.input, j.limit(), s.culprits(kindException))
	if err == nil {
		return j.valid(s.source, terms)
	}
	if len(s.packages) == 1 {
		j.failed(s.source, kindException, err)
		j.errors = append(j.errors, fmt.Sprintf("%s.exception: %s", s.packages[0].name, unbounded(err)))
		return nil
	}
	var out []*answer
	whole := j.engine.input(j.change, j.paths, j.reads)
	end := time.Now().Add(j.limit())
	for _, p := range s.packages {
		limit := min(j.limit()/4, time.Until(end))
		query, err := p.prepare()
		var terms []*ast.Term
		if err == nil {
			terms, err = j.guarded(ctx, s.breaker(&p.breaker), &query, whole, limit, func() string { return p.name + "." + kindException })
		}
		if err != nil {
			j.failed(s.source, kindException, err)
			j.errors = append(j.errors, fmt.Sprintf("%s.exception: %s", p.name, unbounded(err)))
			continue
		}
		for i, t := range terms {
			terms[i] = ast.ArrayTerm(ast.StringTerm(p.name+"."+kindException), ast.InternedTerm(""), ast.InternedTerm(0), t)
		}
		out = append(out, j.valid(s.source, terms)...)
	}
	return out
}

// valid reads the answers of exceptions; one that breaks the contract is an
// error and permits nothing.
func (j *judgement) valid(s *source, terms []*ast.Term) []*answer {
	var out []*answer
	for _, t := range terms {
		a, err := s.answer(t, kindException, j.now)
		if err != nil {
			j.failed(s, kindException, err)
			j.errors = append(j.errors, err.Error())
			continue
		}
		out = append(out, a)
	}
	return out
}

// patience is how many times as long an evaluation may take that no request
// waits for.
const patience = 20

// limit is how long one evaluation may take. On a machine without time to spare
// a request is refused and sent again; of what has happened, or what a commit
// brings, nobody asks again: an autoscaler's number would be undone for nothing.
func (j *judgement) limit() time.Duration {
	if j.change.Origin == OriginDrift || j.change.OfGit() {
		return patience * j.engine.options.Deadline
	}
	return j.engine.options.Deadline
}

// ask evaluates one prepared query to the elements of the set it names. Any
// error of a built-in function is an error.
func (j *judgement) ask(ctx context.Context, query *rego.PreparedEvalQuery, input ast.Value, limit time.Duration) ([]*ast.Term, error) {
	if limit <= 0 {
		return nil, fmt.Errorf("there was no time left to ask")
	}
	cancel := &meter{}
	timer := time.AfterFunc(limit, cancel.Cancel)
	defer timer.Stop()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	var builtinErrors []topdown.Error
	options := []rego.EvalOption{
		rego.EvalParsedInput(input),
		rego.EvalTransaction(readTransaction{}),
		rego.EvalTime(j.now),
		rego.EvalMetrics(metrics.NoOp()),
		rego.EvalExternalCancel(cancel),
		rego.EvalBuiltinErrorList(&builtinErrors),
	}
	results, err := query.Eval(ctx, append(options, j.engine.evalOptions...)...)
	switch {
	case err != nil && cancel.Cancelled():
		if ctxErr := ctx.Err(); ctxErr != nil {
			return nil, ctxErr
		}
		return nil, &tooSlow{limit}
	case err != nil:
		return nil, err
	case len(builtinErrors) > 0:
		return nil, &builtinErrors[0]
	case len(results) == 0:
		return nil, nil
	}
	term, ok := results[0].Expressions[0].Value.(*ast.Term)
	if !ok {
		return nil, fmt.Errorf("the answer is no value")
	}
	set, ok := term.Value.(ast.Set)
	if !ok {
		return nil, fmt.Errorf("the answer is no set")
	}
	return set.Slice(), nil
}

// guarded is ask, unless what it asks is in quarantine. Without a breaker
// nothing ever is: what is built in does not come from people.
func (j *judgement) guarded(ctx context.Context, b *breaker, query *rego.PreparedEvalQuery, input ast.Value, limit time.Duration, rules func() string) ([]*ast.Term, error) {
	if b == nil {
		return j.ask(ctx, query, input, limit)
	}
	if err := b.shut(time.Now()); err != nil {
		return nil, err
	}
	ended := b.watch(limit, rules)
	terms, err := j.ask(ctx, query, input, limit)
	ended()
	b.note(time.Now(), over(err), rules)
	return terms, err
}

// class is that of the rule that decided: a grant counts more than a policy,
// and what people wrote more than what ships with Mainstay.
func class(used []*answer) string {
	class := RuleBuiltin
	for _, a := range used {
		switch {
		case a.grant != nil:
			return RuleGrant
		case a.builtin:
		case !a.shipped:
			class = RulePolicy
		case class == RuleBuiltin:
			class = RuleLibrary
		}
	}
	return class
}

func names(used []*answer) string {
	return joined(used, ", ", func(a *answer) string { return a.name })
}

func reasons(used []*answer) string {
	return joined(used, "; ", func(a *answer) string { return a.reason })
}

func joined(used []*answer, separator string, text func(*answer) string) string {
	var out []string
	for _, a := range used {
		if t := text(a); !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return strings.Join(out, separator)
}
