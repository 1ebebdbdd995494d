// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

const (
	// maxNames is how many objects an exception names one by one.
	maxNames = 10
	// personsFor is how long a suggestion for a person lasts.
	personsFor = 30 * 24 * time.Hour
)

// refusals are decisions that suggestions are made of.
type refusals struct {
	// wanted are the decisions that were named, until they are found.
	wanted  map[string]bool
	named   bool
	now     time.Time
	groups  map[string]*refused
	leftOut map[string]int
}

// refused is what one account was refused of one kind in one namespace.
type refused struct {
	account, manager    string
	operation           string
	group, version      string
	kind, resource      string
	namespace           string
	names, paths        []string
	changes             map[string]audit.LineField
	count               int
	decisions, library  []string
	first, last, endsAt time.Time
}

func newRefusals(ids []string, now time.Time) *refusals {
	g := &refusals{wanted: map[string]bool{}, named: len(ids) > 0, now: now, groups: map[string]*refused{}, leftOut: map[string]int{}}
	for _, id := range ids {
		g.wanted[id] = true
	}
	return g
}

// missing tells which of the named decisions there are not.
func (g *refusals) missing() error {
	if len(g.wanted) == 0 {
		return nil
	}
	return fmt.Errorf("there is no refusal %s (any more): mainstay log --verdict refuse lists them", strings.Join(slices.Sorted(mapKeys(g.wanted)), ", "))
}

func (g *refusals) add(r record.Record) error {
	if g.named && !g.wanted[r.Decision] {
		return nil
	}
	delete(g.wanted, r.Decision)
	if why := unsuggested(&r); why != "" {
		g.leftOut[why]++
		return nil
	}
	one := refused{
		operation: r.Operation, group: r.Object.Group, version: r.Object.Version, kind: r.Object.Kind,
		resource: r.Object.Resource, namespace: r.Object.Namespace,
	}
	if r.User != nil {
		one.account = r.User.Username
	}
	key := strings.Join([]string{one.account, one.operation, one.group, one.kind, one.namespace}, "\x00")
	known := g.groups[key]
	if known == nil {
		one.changes, one.first = map[string]audit.LineField{}, r.Time
		if one.account != "" && !strings.HasPrefix(one.account, "system:") {
			one.endsAt = g.now.Add(personsFor).UTC().Truncate(24 * time.Hour)
		}
		known = &one
		g.groups[key] = known
	}
	known.take(&r)
	return nil
}

func (x *refused) take(r *record.Record) {
	x.count++
	x.last = r.Time
	x.names = with(x.names, r.Object.Name)
	if len(x.decisions) < maxExamples {
		x.decisions = with(x.decisions, r.Decision)
	}
	for _, name := range r.Library {
		x.library = with(x.library, name)
	}
	for _, c := range r.Changes {
		if len(r.Uncovered) > 0 && !slices.Contains(r.Uncovered, c.Path) {
			continue
		}
		x.paths = with(x.paths, c.Path)
		x.changes[c.Path] = c
		if x.account == "" {
			x.manager = cmp.Or(x.manager, c.Manager)
		}
	}
}

// with adds a text to a sorted list that does not have it.
func with(list []string, text string) []string {
	at, ok := slices.BinarySearch(list, text)
	if ok {
		return list
	}
	return slices.Insert(list, at, text)
}

// list has the most frequent first.
func (g *refusals) list() []*refused {
	var out []*refused
	for _, key := range slices.Sorted(mapKeys(g.groups)) {
		out = append(out, g.groups[key])
	}
	slices.SortStableFunc(out, func(a, b *refused) int { return -cmp.Compare(a.count, b.count) })
	return out
}

// who names the account for people: the last part of a service account's.
func (x *refused) who() string {
	switch {
	case x.account == "" && x.manager != "":
		return x.manager
	case x.account == "":
		return "drift"
	}
	return x.account[strings.LastIndex(x.account, ":")+1:]
}

// name of the package.
func (x *refused) name() string {
	parts := []string{x.who(), x.kind}
	if x.namespace != "" {
		parts = append(parts, x.namespace)
	}
	if x.operation != string(policy.Update) {
		parts = append(parts, x.operation)
	}
	return suggested(strings.Join(parts, "_"))
}

// quoted writes a text as Rego and JSON do.
func quoted(text string) string {
	raw, err := json.Marshal(text)
	if err != nil {
		return `""` // a string always encodes
	}
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(raw))
}

func commas(texts []string) string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = quoted(t)
	}
	return strings.Join(out, ", ")
}

// rego is the exception: of this kind and namespace, with these names, paths and
// account, and no more.
func (x *refused) rego(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\n\n", name)
	namespace, account, service := (&policy.User{Username: x.account}).ServiceAccount()
	if service {
		b.WriteString("import data.mainstay.lib\n\n")
	}
	what := "change " + strings.Join(x.paths, ", ")
	if len(x.paths) == 0 {
		what = strings.ToLower(x.operation)
	}
	where := ""
	if x.namespace != "" {
		where = " in " + x.namespace
	}
	title := fmt.Sprintf("%s may %s of %s %s%s", x.who(), what, x.kind, strings.Join(x.names[:min(len(x.names), 3)], ", "), where)
	fmt.Fprintf(&b, "# METADATA\n# title: %s\n", quoted(audit.Cut(title, 100)))
	fmt.Fprintf(&b, "# description: >-\n#   Suggested from %s between %s and %s.\n#   Say in the reason why it is right, or delete it.\n", count(x.count, "refusal"),
		x.first.UTC().Format("2006-01-02 15:04"), x.last.UTC().Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(&b, "exception contains {\n\t\"reason\": %s,\n", quoted("suggested for "+x.who()+": say why it is right"))
	if len(x.paths) > 0 {
		fmt.Fprintf(&b, "\t\"paths\": [%s],\n", commas(x.paths))
	}
	if !x.endsAt.IsZero() {
		fmt.Fprintf(&b, "\t\"until\": %s,\n", quoted(x.endsAt.Format(time.RFC3339)))
	}
	b.WriteString("} if {\n")
	if x.account == "" {
		b.WriteString("\t# Nobody knows who made a drift: say which values are right.\n\tinput.origin == \"drift\"\n")
	}
	fmt.Fprintf(&b, "\tinput.operation == %s\n", quoted(x.operation))
	fmt.Fprintf(&b, "\tinput.kind.group == %s\n\tinput.kind.kind == %s\n", quoted(x.group), quoted(x.kind))
	if x.namespace != "" {
		fmt.Fprintf(&b, "\tinput.namespace == %s\n", quoted(x.namespace))
	}
	switch {
	case len(x.names) == 1:
		fmt.Fprintf(&b, "\tinput.name == %s\n", quoted(x.names[0]))
	case len(x.names) <= maxNames:
		fmt.Fprintf(&b, "\tinput.name in {%s}\n", commas(x.names))
	}
	switch {
	case service:
		fmt.Fprintf(&b, "\tlib.by_service_account(%s, %s)\n", quoted(namespace), quoted(account))
	case x.account != "":
		fmt.Fprintf(&b, "\tinput.userInfo.username == %s\n", quoted(x.account))
	}
	b.WriteString("}\n")
	return b.String()
}

// test tries what was refused, and what is to stay refused.
func (x *refused) test(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s_test\n\nimport data.mainstay.testing\nimport data.%s\n\n", name, name)
	made := "request"
	switch {
	case x.account == "":
		made = "drift"
	case x.operation == string(policy.Delete):
		made = "deletion"
	}
	fmt.Fprintf(&b, "asked := {\n\t\"operation\": %s,\n\t\"kind\": {\"group\": %s, \"version\": %s, \"kind\": %s},\n", quoted(x.operation), quoted(x.group), quoted(x.version), quoted(x.kind))
	fmt.Fprintf(&b, "\t\"resource\": {\"group\": %s, \"version\": %s, \"resource\": %s},\n", quoted(x.group), quoted(x.version), quoted(x.resource))
	fmt.Fprintf(&b, "\t\"namespace\": %s,\n\t\"name\": %s,\n\t\"time\": %s,\n", quoted(x.namespace), quoted(x.names[0]), quoted(x.last.UTC().Format(time.RFC3339)))
	b.WriteString("\t\"changes\": [\n")
	for _, path := range x.paths {
		fmt.Fprintf(&b, "\t\ttesting.change(%s, %s, %s),\n", quoted(path), brief(x.changes[path].From), brief(x.changes[path].To))
	}
	b.WriteString("\t],\n}\n\n")
	who := "{}"
	if x.account != "" {
		who = fmt.Sprintf("testing.user(%s, [\"system:authenticated\"])", quoted(x.account))
		if namespace, account, ok := (&policy.User{Username: x.account}).ServiceAccount(); ok {
			who = fmt.Sprintf("testing.service_account(%s, %s)", quoted(namespace), quoted(account))
		}
	}
	fmt.Fprintf(&b, "they := %s\n\n", who)
	said := func(test, want, input string) {
		fmt.Fprintf(&b, "test_%s if {\n\ti := %s\n\tcount(%s.exception) == %s with input as i\n}\n\n", test, input, name, want)
	}
	union := func(parts string) string { return fmt.Sprintf("testing.%s(object.union_n([%s]))", made, parts) }
	said("what_was_refused", "1", union("they, asked"))
	if x.account != "" {
		said("not_somebody_else", "0", union(`asked, testing.user("mallory", ["system:authenticated"])`))
	} else {
		said("not_a_request", "0", `testing.request(asked)`)
	}
	if len(x.names) <= maxNames {
		said("not_of_another_name", "0", union(`they, asked, {"name": "another"}`))
	}
	if x.namespace != "" {
		said("not_elsewhere", "0", union(`they, asked, {"namespace": "elsewhere"}`))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// brief is a value where it is a small one, or what stands for it: exceptions
// that are suggested do not look at values.
func brief(value json.RawMessage) string {
	const most = 100
	if len(value) == 0 || len(value) > most || value[0] == '{' || value[0] == '[' {
		return "null"
	}
	return string(value)
}
