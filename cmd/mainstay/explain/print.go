// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/reading"
	"github.com/mainstay-gitops/mainstay/policy/audit"
)

// printer prints for people.
type printer struct {
	out  io.Writer
	zone *time.Location
	now  time.Time
	all  bool
}

func (p *printer) line(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// when is a time in the terminal's zone, and how far away it is.
func (p *printer) when(t time.Time) string {
	d, word := t.Sub(p.now), "in %s"
	if d < 0 {
		d, word = -d, "%s ago"
	}
	span := fmt.Sprintf("%dd", int(d.Hours())/24)
	switch {
	case d < time.Minute:
		span = fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		span = fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		span = fmt.Sprintf("%dh", int(d.Hours()))
	}
	return t.In(p.zone).Format("2006-01-02 15:04 MST") + ", " + fmt.Sprintf(word, span)
}

func (p *printer) until(t *time.Time) string {
	if t == nil {
		return "no end"
	}
	return "until " + p.when(*t)
}

func name(o audit.LineObject) string {
	if o.Namespace == "" {
		return fmt.Sprintf("%s %s", o.Kind, o.Name)
	}
	return fmt.Sprintf("%s %s/%s", o.Kind, o.Namespace, o.Name)
}

func (p *printer) object(o *reading.Object) error {
	d := o.Declared
	switch {
	case d == nil && o.Live:
		p.line("%s is not declared in git: anyone may change it who may by RBAC.", name(o.Object))
	case d == nil:
	default:
		p.line("%s is declared in git and %s.", name(o.Object), map[string]string{
			"Enforce": "held: changes are refused or reverted", "Warn": "not held: changes are permitted with a warning (mode Warn)",
			"Audit": "not held: changes are permitted and recorded (mode Audit)", "Observe": "only observed (mode Observe)",
		}[d.Mode])
		p.line("  where     %s:%d in %s", d.File, d.Line, d.Repo)
		if d.Link != "" && strings.HasPrefix(d.Link, "https://") {
			p.line("            %s", d.Link)
		}
		p.line("  last by   %s, %s, %s (%s)", cmp.Or(d.Author, "somebody"), p.when(d.Time), cmp.Or(audit.Cut(d.Subject, 60), "without a subject"), d.Revision)
		p.line("  applied   %s, by GitSync %s", cmp.Or(d.Applied, "nothing yet"), d.Sync)
		if d.Suspended != nil {
			p.line("  suspended by %s until %s: %s", d.Suspended.By, p.when(d.Suspended.Until), audit.Cut(d.Suspended.Reason, 80))
		}
		if d.Pending {
			p.line("  a commit that says something else is being applied")
		}
		if d.Pruning {
			p.line("  git no longer declares it: it is being deleted")
		}
		if !o.Live {
			p.line("  the object is not there")
		}
		if d.Contact != "" {
			p.line("  ask       %s", d.Contact)
		}
	}
	if err := p.fields(o); err != nil {
		return err
	}
	p.exceptions(o)
	return p.decisions(o)
}

func (p *printer) fields(o *reading.Object) error {
	if o.Declared == nil {
		return nil
	}
	p.line("\nFields")
	w := tabwriter.NewWriter(p.out, 0, 8, 2, ' ', 0)
	git := 0
	for _, f := range o.Fields {
		if f.Owner == reading.OwnerGit {
			git++
			if !p.all {
				continue
			}
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", f.Path, value(f.Value), p.owner(&f))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if !p.all && git > 0 {
		p.line("  %d fields are as git sets them (--all shows them)", git)
	}
	if o.Defaulted > 0 {
		p.line("  %d fields have what the API server and others chose when git was applied", o.Defaulted)
	}
	return nil
}

// owner says by whom a field has its value.
func (p *printer) owner(f *reading.Field) string {
	git := ""
	if f.Declared || f.Git != nil {
		git = ", git: " + value(f.Git)
		if f.File != "" {
			git += fmt.Sprintf(" (%s:%d)", f.File, f.Line)
		}
	}
	by := ""
	if f.Manager != "" {
		by = ", written by " + f.Manager
	}
	switch f.Owner {
	case reading.OwnerGit:
		return fmt.Sprintf("git, %s:%d", f.File, f.Line)
	case reading.OwnerPermit:
		return fmt.Sprintf("permitted to %s by %s, %s (decision %s)%s", cmp.Or(f.Account, "somebody"), f.Rule, p.until(f.Until), f.Decision, git)
	case reading.OwnerPolicy:
		return fmt.Sprintf("let stand by %s, %s%s%s", f.Rule, p.until(f.Until), by, git)
	case reading.OwnerNobody:
	}
	return "drift: nothing permits it" + by + git
}

// value is a value on one line.
func value(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "(none)"
	}
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		return audit.Cut(text, 60)
	}
	return audit.Cut(string(raw), 60)
}

func (p *printer) exceptions(o *reading.Object) {
	if len(o.Exceptions) == 0 {
		if o.Declared != nil {
			p.line("\nNo exception of its own applies; built-in ones do.")
		}
		return
	}
	p.line("\nExceptions")
	for _, e := range o.Exceptions {
		paths := ""
		if len(e.Paths) > 0 {
			paths = " for " + strings.Join(e.Paths, ", ")
		}
		switch e.Kind {
		case "permit":
			p.line("  permit of %s to %s%s, %s (decision %s)", e.Name, cmp.Or(e.Account, "somebody"), paths, p.until(e.Until), e.Decision)
		case "grant":
			p.line("  %s%s, %s", audit.Cut(e.Reason, 160), paths, p.until(e.Until))
		default:
			p.line("  policy %s (%s): %s", e.Name, e.Source, cmp.Or(e.Reason, "without a title"))
		}
	}
}

func (p *printer) decisions(o *reading.Object) error {
	switch {
	case o.DecisionsHidden != "":
		p.line("\nDecisions are not shown: %s", o.DecisionsHidden)
		return nil
	case len(o.Decisions) == 0:
		p.line("\nNothing was decided about it lately.")
		return nil
	}
	p.line("\nLast decisions")
	w := tabwriter.NewWriter(p.out, 0, 8, 2, ' ', 0)
	for _, d := range o.Decisions {
		by := d.Origin
		if d.User != nil {
			by = d.User.Username
		}
		paths := make([]string, 0, len(d.Changes))
		for _, c := range d.Changes {
			paths = append(paths, c.Path)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\n", d.Time.In(p.zone).Format("2006-01-02 15:04:05"), d.Decision, d.Verdict, audit.Cut(by, 50),
			strings.ToLower(d.Operation), audit.Cut(strings.Join(paths, ", "), 80))
	}
	return w.Flush()
}

func (p *printer) decision(d *reading.Explained) error {
	verb := map[string]string{"permit": "permitted", "refuse": "refused", "correct": "corrected"}[d.Verdict]
	if d.Verdict == "refuse" && d.Mode != "Enforce" {
		verb = "permitted, since the mode is " + d.Mode + "; it would be refused"
	}
	by := "drift that the sync loop found"
	if d.User != nil {
		by = "a request of " + d.User.Username
	}
	p.line("Decision %s: %s", d.Decision, verb)
	p.line("  when      %s", p.when(d.Time))
	p.line("  what      %s of %s, %s", strings.ToLower(strings.TrimSpace(d.Operation+" "+d.SubResource)), name(d.Object), by)
	if d.DryRun {
		p.line("            a dry run: nothing came of it")
	}
	why := d.Reason
	if d.Rule != "" {
		why = d.Rule + ": " + why
	}
	p.line("  why       %s (%s)", cmp.Or(why, "git says the same"), d.Class)
	if d.Until != nil {
		p.line("  %s", p.until(d.Until))
	}
	for _, e := range d.Errors {
		p.line("  error     %s", e)
	}
	if d.Source.File != "" {
		p.line("  git       %s:%d of %s", d.Source.File, d.Source.Line, d.Source.Revision)
	}
	p.line("  policies  %s%s", short(d.Policies), from(d.Revision))
	if d.Replica != "" {
		p.line("  replica   %s", d.Replica)
	}
	if err := p.changes(d); err != nil {
		return err
	}
	return p.again(d)
}

func short(digest string) string { return cmp.Or(digest[:min(len(digest), 12)], "were not asked") }

func from(revision string) string {
	if revision == "" {
		return ""
	}
	return ", while " + revision + " was applied"
}

func (p *printer) changes(d *reading.Explained) error {
	if d.Withheld != "" {
		p.line("\nValues are not shown: %s", d.Withheld)
	}
	if len(d.Changes) == 0 {
		return nil
	}
	uncovered := map[string]bool{}
	for _, path := range d.Uncovered {
		uncovered[path] = true
	}
	p.line("\nChanges")
	w := tabwriter.NewWriter(p.out, 0, 8, 2, ' ', 0)
	for _, c := range d.Changes {
		word := "covered"
		switch {
		case uncovered[c.Path]:
			word = "not covered"
		case d.Verdict == "refuse":
			word = ""
		}
		fmt.Fprintf(w, "  %s\tgit: %s\tasked: %s\t%s\n", c.Path, value(c.Git), value(c.To), word)
	}
	return w.Flush()
}

func (p *printer) again(d *reading.Explained) error {
	a := d.Again
	if a == nil {
		reason := "what it rests on was not kept"
		if d.Basis != nil && d.Basis.LeftOut != "" {
			reason = d.Basis.LeftOut
		}
		p.line("\nIt can't be judged again: %s.", reason)
		return nil
	}
	switch {
	case a.Differs:
		p.line("\nJudged again it is another: %s (%s).", a.Verdict, cmp.Or(a.Rule, a.Reason))
	default:
		p.line("\nJudged again it is the same.")
	}
	if a.PoliciesChanged {
		p.line("  The policies are others than then.")
	}
	for _, e := range a.Errors {
		p.line("  error: %s", e)
	}
	if len(a.Rules) == 0 {
		p.line("  No rule has anything to say about it.")
		return nil
	}
	for _, r := range a.Rules {
		covers := ""
		if len(r.Covers) > 0 {
			covers = ", for " + strings.Join(r.Covers, ", ")
		}
		p.line("  %s (%s:%d in %s): %s%s, %s", r.Rule, r.File, r.Line, r.Source, r.Reason, covers, p.until(r.Until))
	}
	return nil
}
