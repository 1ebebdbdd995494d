// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/policy"
)

// judgedChange is one change and what became of it.
type judgedChange struct {
	Object    string     `json:"object"`
	Operation string     `json:"operation"`
	Origin    string     `json:"origin"`
	User      string     `json:"user,omitempty"`
	Verdict   string     `json:"verdict"`
	Class     string     `json:"class"`
	Rule      string     `json:"rule,omitempty"`
	Reason    string     `json:"reason"`
	Next      string     `json:"next,omitempty"`
	Until     *time.Time `json:"until,omitempty"`
	Warnings  []string   `json:"warnings,omitempty"`
	Errors    []string   `json:"errors,omitempty"`
	Paths     []pathLine `json:"paths"`
	Rules     []ruleLine `json:"rules"`
}

// pathLine is one changed path.
type pathLine struct {
	Path string `json:"path"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// CoveredBy are the rules that cover it.
	CoveredBy []string `json:"coveredBy,omitempty"`
}

// ruleLine is one rule of the policies on disk.
type ruleLine struct {
	Name    string `json:"name"`
	Title   string `json:"title,omitempty"`
	File    string `json:"file"`
	Row     int    `json:"row"`
	Matched bool   `json:"matched"`
	// Covers are the changed paths that a matching exception covers.
	Covers []string   `json:"covers,omitempty"`
	Lines  []exprLine `json:"lines"`
}

// exprLine is one expression of a rule.
type exprLine struct {
	Row  int    `json:"row"`
	Text string `json:"text"`
	// Outcome is true, false or unreached.
	Outcome string            `json:"outcome"`
	Tries   int               `json:"tries,omitempty"`
	Values  map[string]string `json:"values,omitempty"`
	// Because is the line that was not true in a rule that this one asks.
	Because   *exprLine `json:"because,omitempty"`
	BecauseOf string    `json:"becauseOf,omitempty"`

	order []string
}

func judge(ctx context.Context, engine *policy.Engine, program *policy.Program, input []byte) (*judgedChange, error) {
	change, err := policy.ParseInput(input)
	if err != nil {
		return nil, err
	}
	d, answers, err := engine.Again(ctx, input)
	if err != nil {
		return nil, err
	}
	explained, err := program.Explain(ctx, input)
	if err != nil {
		return nil, err
	}
	id := change.ID()
	out := &judgedChange{
		Object:    strings.TrimPrefix(fmt.Sprintf("%s %s/%s", id.Kind, id.Namespace, id.Name), "/"),
		Operation: string(change.Operation), Origin: string(change.Origin),
		Verdict: string(d.Verdict), Class: d.Class, Rule: d.Rule, Reason: d.Reason, Next: d.Next, Until: d.Until,
		Warnings: d.Warnings, Errors: d.Errors, Paths: []pathLine{}, Rules: []ruleLine{},
	}
	if change.User != nil {
		out.User = change.User.Username
	}
	for _, f := range change.Fields {
		p := pathLine{Path: f.Path.String(), From: jsonText(f.From), To: jsonText(f.To)}
		for _, a := range answers {
			if slices.Contains(a.Covers, p.Path) && !slices.Contains(p.CoveredBy, a.Rule) {
				p.CoveredBy = append(p.CoveredBy, a.Rule)
			}
		}
		out.Paths = append(out.Paths, p)
	}
	for _, x := range explained {
		r := ruleLine{Name: x.Name, Title: x.Title, File: x.File, Row: x.Row, Matched: x.Matched, Lines: []exprLine{}}
		for _, a := range answers {
			if a.File == x.File && a.Line == x.Row {
				r.Covers = append(r.Covers, a.Covers...)
			}
		}
		for _, l := range x.Lines {
			r.Lines = append(r.Lines, lineOf(l))
		}
		out.Rules = append(out.Rules, r)
	}
	return out, nil
}

func lineOf(l policy.Line) exprLine {
	out := exprLine{Row: l.Row, Text: l.Text, Outcome: l.Outcome, Tries: l.Tries, BecauseOf: l.BecauseOf, Values: map[string]string{}}
	for _, v := range l.Values {
		out.order = append(out.order, v.Name)
		out.Values[v.Name] = v.Text
		if v.Undefined {
			out.Values[v.Name] = "undefined"
		}
	}
	if l.Because != nil {
		inner := lineOf(*l.Because)
		out.Because = &inner
	}
	return out
}

func jsonText(v *fastjson.Value) string {
	if v == nil {
		return ""
	}
	const most = 80
	text := []rune(v.String())
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}

func (e *eval) write(w io.Writer, r *evaluated) {
	p := painter(w)
	for i, c := range r.Changes {
		if i > 0 {
			fmt.Fprintln(w)
		}
		printVerdict(w, p, &c)
		hidden := 0
		for _, rule := range c.Rules {
			if !e.all && elsewhere(rule) {
				hidden++
				continue
			}
			printRule(w, p, rule, len(c.Paths) > 0)
		}
		if hidden > 0 {
			fmt.Fprintf(w, "\n%s of other objects or operations: --all shows them\n", count(hidden, "rule"))
		}
	}
	for _, a := range r.Assumptions {
		fmt.Fprintln(e.progress, "assumed:", a)
	}
}

func printVerdict(w io.Writer, p paint, c *judgedChange) {
	verdict, by := p.green("permitted"), ""
	if c.Verdict != string(policy.Permit) {
		verdict = p.red("refused")
	}
	if c.Rule != "" {
		by = " by " + c.Rule
	}
	who := c.Origin
	if c.User != "" {
		who = "by " + c.User
	}
	fmt.Fprintf(w, "%s: %s, %s %s%s: %s\n", verdict, c.Object, c.Operation, who, by, c.Reason)
	if c.Until != nil {
		fmt.Fprintf(w, "  until %s\n", c.Until.UTC().Format(time.RFC3339))
	}
	for _, x := range c.Paths {
		covered := p.red("not covered")
		if len(x.CoveredBy) > 0 {
			covered = "covered by " + strings.Join(x.CoveredBy, ", ")
		}
		fmt.Fprintf(w, "  %s   %s → %s   %s\n", x.Path, orNothing(x.From), orNothing(x.To), covered)
	}
	for _, x := range c.Warnings {
		fmt.Fprintf(w, "  warning: %s\n", x)
	}
	for _, x := range c.Errors {
		fmt.Fprintf(w, "  error: %s\n", x)
	}
	if c.Next != "" {
		fmt.Fprintf(w, "  next: %s\n", c.Next)
	}
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// elsewhere tells whether a rule ended at a line about which object or
// operation it speaks of.
func elsewhere(r ruleLine) bool {
	for _, l := range r.Lines {
		if l.Outcome == "false" {
			for _, about := range []string{"input.kind.", "input.namespace", "input.name ", "input.operation", "input.subResource", "input.resource."} {
				if strings.HasPrefix(l.Text, about) {
					return true
				}
			}
			return false
		}
	}
	return false
}

func printRule(w io.Writer, p paint, r ruleLine, hasPaths bool) {
	matched := "did not match"
	switch {
	case r.Matched && hasPaths && len(r.Covers) == 0 && strings.HasSuffix(r.Name, ".exception"):
		matched = p.yellow("matched, and covers none of the paths")
	case r.Matched:
		matched = p.green("matched")
	}
	fmt.Fprintf(w, "\n%s %s   %s:%d %s\n", r.Name, matched, r.File, r.Row, p.faint(r.Title))
	for _, l := range r.Lines {
		printLine(w, p, l, "  ")
	}
}

func printLine(w io.Writer, p paint, l exprLine, indent string) {
	outcome := map[string]string{"true": p.green("true "), "false": p.red("FALSE"), "unreached": p.faint("-    ")}[l.Outcome]
	fmt.Fprintf(w, "%s%s %4d  %s", indent, outcome, l.Row, l.Text)
	var values []string
	for _, name := range l.order {
		if v := l.Values[name]; name != v {
			values = append(values, name+" = "+v)
		}
	}
	if len(values) > 0 {
		fmt.Fprintf(w, "   %s", p.faint("# "+strings.Join(values, ", ")))
	}
	if l.Tries > 1 {
		fmt.Fprintf(w, " (%d tried, the last is shown)", l.Tries)
	}
	fmt.Fprintln(w)
	if l.Because != nil {
		fmt.Fprintf(w, "%s             in %s:\n", indent, l.BecauseOf)
		printLine(w, p, *l.Because, indent+"             ")
	}
}
