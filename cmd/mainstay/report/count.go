// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

// Row is what one account was refused of one path of one kind.
type Row struct {
	// Account is empty for drift, of which only the field manager is known.
	Account string `json:"account,omitempty"`
	Manager string `json:"manager,omitempty"`
	// Kind with its group: Deployment.apps.
	Kind string `json:"kind"`
	// Path that no exception covers; empty for what has none, such as a deletion.
	Path      string `json:"path,omitempty"`
	Operation string `json:"operation"`
	// Count of the decisions, of which Would were permitted because of the mode.
	Count int `json:"count"`
	Would int `json:"would"`
	// Objects are some of them, and more of how many there are.
	Objects     []string  `json:"objects"`
	MoreObjects int       `json:"moreObjects,omitempty"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	// Decision is the last of them.
	Decision string `json:"decision"`
	// Library are policies of the library that are made for it, Deny the rules
	// that refused it, and Permit what would permit it.
	Library []string `json:"library,omitempty"`
	Deny    string   `json:"deny,omitempty"`
	Permit  string   `json:"permit"`

	objects map[string]bool
}

// Report is what mainstay report -o json writes.
type Report struct {
	Since *time.Time `json:"since,omitempty"`
	// Decisions that were refused, or would have been, the Accounts that asked,
	// and the Objects they asked about.
	Decisions int   `json:"decisions"`
	Would     int   `json:"would"`
	Accounts  int   `json:"accounts"`
	Objects   int   `json:"objects"`
	Rows      []Row `json:"rows"`
}

// maxObjects of a row are named.
const maxObjects = 3

// counter counts decisions.
type counter struct {
	report            Report
	rows              map[string]*Row
	accounts, objects map[string]bool
}

func newCounter() *counter {
	return &counter{rows: map[string]*Row{}, accounts: map[string]bool{}, objects: map[string]bool{}}
}

// add counts a refusal once for each path that was not covered.
func (c *counter) add(r record.Record) error {
	if r.Verdict != string(policy.Refuse) || r.Class == policy.RuleOff || r.Class == policy.RuleSuspended {
		return nil
	}
	n := max(r.Count, 1) // a line of the ledger may stand for many
	c.report.Decisions += n
	would := r.Mode != "Enforce"
	if would {
		c.report.Would += n
	}
	object := r.Object.Kind + " " + strings.TrimPrefix(r.Object.Namespace+"/"+r.Object.Name, "/")
	c.objects[object] = true
	account, manager := who(&r)
	c.accounts[account+"\x00"+manager] = true
	for _, path := range paths(&r) {
		kind := strings.TrimSuffix(r.Object.Kind+"."+r.Object.Group, ".")
		key := strings.Join([]string{account, manager, kind, path, r.Operation, r.SubResource, r.Class, r.Rule}, "\x00")
		row := c.rows[key]
		if row == nil {
			row = &Row{
				Account: account, Manager: manager, Kind: kind, Path: path,
				Operation: strings.ToLower(strings.TrimSpace(r.Operation + " " + r.SubResource)), First: r.Time, objects: map[string]bool{},
			}
			c.rows[key] = row
		}
		row.take(&r, object, would)
	}
	return nil
}

func (row *Row) take(r *record.Record, object string, would bool) {
	n := max(r.Count, 1)
	row.Count += n
	if would {
		row.Would += n
	}
	row.objects[object] = true
	if !r.Time.Before(row.Last) {
		row.Last, row.Decision = r.Time, r.Decision
	}
	for _, name := range r.Library {
		if !slices.Contains(row.Library, name) {
			row.Library = append(row.Library, name)
		}
	}
	if r.Class == policy.RulePolicy || r.Class == policy.RuleLibrary {
		row.Deny = r.Rule
	}
	switch {
	case row.Deny != "":
		row.Permit = "a grant, or the deny rule " + row.Deny
	case r.Class == policy.RuleError:
		row.Permit = "nothing: it could not be judged, see mainstay explain " + row.Decision
	case len(row.Library) > 0:
		row.Permit = "spec.policies.library: [" + strings.Join(row.Library, ", ") + "]"
	default:
		row.Permit = "mainstay policy suggest " + row.Decision
	}
}

// who is the account, or the field manager where only that is known.
func who(r *record.Record) (account, manager string) {
	if r.User != nil {
		return r.User.Username, ""
	}
	for _, c := range r.Changes {
		if c.Manager != "" {
			return "", c.Manager
		}
	}
	return "", ""
}

// paths are those that no exception covered; one empty path where there are none.
func paths(r *record.Record) []string {
	if len(r.Uncovered) > 0 {
		return r.Uncovered
	}
	var out []string
	for _, c := range r.Changes {
		out = append(out, c.Path)
	}
	if len(out) == 0 {
		out = []string{""}
	}
	return out
}

// result has the most frequent first.
func (c *counter) result() *Report {
	c.report.Accounts, c.report.Objects = len(c.accounts), len(c.objects)
	c.report.Rows = []Row{}
	for _, row := range c.rows {
		names := make([]string, 0, len(row.objects))
		for name := range row.objects {
			_, name, _ = strings.Cut(name, " ")
			names = append(names, name)
		}
		slices.Sort(names)
		row.Objects = names[:min(len(names), maxObjects)]
		row.MoreObjects = len(names) - len(row.Objects)
		c.report.Rows = append(c.report.Rows, *row)
	}
	slices.SortFunc(c.report.Rows, func(a, b Row) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), strings.Compare(a.Account, b.Account), strings.Compare(a.Manager, b.Manager),
			strings.Compare(a.Kind, b.Kind), strings.Compare(a.Path, b.Path), strings.Compare(a.Operation, b.Operation), strings.Compare(a.Permit, b.Permit))
	})
	return &c.report
}
