// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Answer is what one rule said of a change.
type Answer struct {
	// Rule as decisions show it, for example hpa.exception, and its Kind:
	// exception or deny.
	Rule, Kind string
	// Source is the key of the source that the rule is from.
	Source string
	// File and Line of the rule; a file's name is that in its source.
	File   string
	Line   int
	Reason string
	Until  *time.Time
	// Covers are the changed paths that an exception covers.
	Covers []string
}

// trail collects what the rules say while a recorded change is judged.
type trail struct {
	change  *Change
	paths   []string
	answers []Answer
}

func (a *trail) heard(kind string, answers []*answer) {
	if a == nil {
		return
	}
	for _, x := range answers {
		out := Answer{
			Rule: x.name, Kind: kind, Source: x.key, File: x.file, Line: x.row, Reason: x.reason, Until: x.until,
		}
		if kind == kindException {
			for i, f := range a.change.Fields {
				if !ours(f) && x.covers(f.Path, a.paths[i]) {
					out.Covers = append(out.Covers, a.paths[i])
				}
			}
		}
		a.answers = append(a.answers, out)
	}
}

// Again judges a change as it was recorded: input is what See gave, or a
// fixture of the same form. The policies that are loaded now decide, by the
// recorded time and by nothing else of today but the objects and grants that
// the Engine knows. It tells as well what each rule said. The decision's values
// are those of input. An unreadable input is an error.
func (e *Engine) Again(ctx context.Context, input []byte) (Decision, []Answer, error) {
	c, err := ParseInput(input)
	if err != nil {
		return Decision{}, nil, err
	}
	value, err := ast.ValueFromReader(bytes.NewReader(input))
	if err != nil {
		return Decision{}, nil, fmt.Errorf("parse input: %w", err)
	}
	heard := &trail{change: c, paths: pathsOf(c)}
	d := e.judged(ctx, c, func() Decision {
		if len(c.Fields) == 0 && c.Operation != Delete && !c.Use() {
			return Decision{Verdict: Permit, Class: RuleGit, Reason: "git says the same"}
		}
		j := &judgement{engine: e, change: c, now: c.Time, paths: heard.paths, input: value, trail: heard, reads: everything()}
		var scope *scopeReads
		j.sources, _, scope = e.sources.Load().inScope(c)
		d := j.judge(ctx)
		d.Policies = scope.digest
		return d
	})
	return d, heard.answers, nil
}

// judged gives a judgement what every decision has.
func (e *Engine) judged(ctx context.Context, c *Change, judge func() Decision) (d Decision) {
	start := time.Now()
	defer func() {
		if r := recover(); r != nil {
			d = refusal(fmt.Sprintf("judging panicked: %v", r))
			d.Uncovered = c.Fields
		}
		d.ID, d.Elapsed = NewDecisionID(), time.Since(start)
	}()
	if err := ctx.Err(); err != nil {
		d = refusal(fmt.Sprintf("there was no time to ask policies: %v", err))
		d.Uncovered = c.Fields
		return d
	}
	return judge()
}

func pathsOf(c *Change) []string {
	paths := make([]string, len(c.Fields))
	for i, f := range c.Fields {
		paths[i] = f.Path.String()
	}
	return paths
}

// jsonOf writes a value as JSON.
func jsonOf(v ast.Value) (json.RawMessage, error) {
	if v == nil {
		return nil, errors.New("there is no value")
	}
	plain, err := ast.JSON(v)
	if err != nil {
		return nil, fmt.Errorf("encode for JSON: %w", err)
	}
	raw, err := json.Marshal(plain)
	if err != nil {
		return nil, fmt.Errorf("encode for JSON: %w", err)
	}
	return raw, nil
}
