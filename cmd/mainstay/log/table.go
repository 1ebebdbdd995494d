// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package log

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

// row is one line for people: a decision, or many of the same.
type row struct {
	record.Record
	count int
	last  time.Time
}

// table prints decisions for people.
type table struct {
	out  io.Writer
	zone *time.Location
	// each prints every decision at once.
	each bool
	rows []*row
	same map[string]*row
	// printed tells that there is a head.
	printed bool
}

func newTable(out io.Writer, zone *time.Location, each bool) *table {
	return &table{out: out, zone: zone, each: each, same: map[string]*row{}}
}

// sameFor is how long a row takes up more of the same.
const sameFor = 24 * time.Hour

func (t *table) add(r record.Record) {
	if t.each {
		if !t.printed {
			fmt.Fprintln(t.out, strings.Join(head, "  "))
			t.printed = true
		}
		fmt.Fprintln(t.out, strings.Join(t.cells(&row{Record: r, count: max(r.Count, 1), last: r.Time}), "  "))
		return
	}
	key := ""
	if r.Verdict == "refuse" {
		key = again(&r)
		if known := t.same[key]; known != nil && r.Time.Sub(known.Time) < sameFor {
			known.count, known.last = known.count+max(r.Count, 1), r.Time
			return
		}
	}
	one := &row{Record: r, count: max(r.Count, 1), last: r.Time}
	t.rows = append(t.rows, one)
	if key != "" {
		t.same[key] = one
	}
}

// again is what makes two refusals the same for people.
func again(r *record.Record) string {
	return strings.Join([]string{account(&r.Line), r.Operation, r.SubResource, object(&r.Line), r.Rule, r.Origin, strings.Join(paths(&r.Line), " ")}, "\x00")
}

var head = []string{"TIME", "ID", "VERDICT", "BY", "OPERATION", "OBJECT", "PATHS", "WHY"}

func (t *table) flush(progress io.Writer, quiet bool) error {
	if quiet || t.each {
		return nil
	}
	if len(t.rows) == 0 {
		fmt.Fprintln(progress, "There is no such decision.")
		return nil
	}
	w := tabwriter.NewWriter(t.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, r := range t.rows {
		fmt.Fprintln(w, strings.Join(t.cells(r), "\t"))
	}
	return w.Flush()
}

func (t *table) cells(r *row) []string {
	when := r.Time.In(t.zone).Format("2006-01-02 15:04:05 MST")
	verdict := r.Verdict
	switch {
	case r.Verdict == "refuse" && r.Origin == "drift" && r.Mode == "Enforce":
		verdict = "revert"
	case r.Verdict == "refuse" && r.Mode != "Enforce":
		verdict = "would refuse"
	}
	if r.DryRun {
		verdict += " (dry run)"
	}
	why := cmp.Or(r.Reason, r.Class)
	if r.Rule != "" {
		why = r.Rule + ": " + why
	}
	if r.Until != nil {
		why += ", until " + r.Until.In(t.zone).Format("15:04 MST")
	}
	if r.count > 1 {
		why += fmt.Sprintf(" (%d times, until %s)", r.count, r.last.In(t.zone).Format("15:04:05"))
	}
	list := paths(&r.Line)
	shown := strings.Join(list[:min(len(list), 2)], ", ")
	if len(list) > 2 {
		shown += fmt.Sprintf(" and %d more", len(list)-2)
	}
	return []string{
		when, r.Decision, verdict, cmp.Or(account(&r.Line), "-"), operation(&r.Line), object(&r.Line), cmp.Or(shown, "-"), audit.Cut(why, 120),
	}
}

func account(l *audit.Line) string {
	if l.User != nil {
		return audit.Cut(l.User.Username, 80)
	}
	for _, c := range l.Changes {
		if c.Manager != "" {
			return "manager " + audit.Cut(c.Manager, 40)
		}
	}
	return ""
}

func operation(l *audit.Line) string {
	text := strings.ToLower(l.Operation)
	if l.SubResource != "" {
		text += " " + l.SubResource
	}
	if l.Origin == "drift" {
		text += " (drift)"
	}
	return text
}

func object(l *audit.Line) string {
	name := l.Object.Name
	if l.Object.Namespace != "" {
		name = l.Object.Namespace + "/" + name
	}
	return l.Object.Kind + " " + name
}

func paths(l *audit.Line) []string {
	var out []string
	for _, c := range l.Changes {
		out = append(out, c.Path)
	}
	return out
}
