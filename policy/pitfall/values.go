// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package pitfall

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// words are the members of input that have few values.
var words = map[string][]string{
	"input.operation":        {"CREATE", "UPDATE", "DELETE", "CONNECT"},
	"input.origin":           {"request", "drift", "sync"},
	"input.sync.mode":        {"Observe", "Audit", "Warn", "Enforce"},
	"input.actor.confidence": {"request", "record", "manager", "none"},
	"change.op":              {"add", "remove", "replace"},
}

func neverEqual(f *finder, v *view) {
	for _, c := range v.comparisons() {
		known := words[c.name]
		if known == nil || c.op != "equal" && c.op != "eq" && c.op != "neq" && c.op != "internal.member_2" {
			continue
		}
		for _, t := range c.values {
			if s := text(t); !slices.Contains(known, s) {
				f.add(v, t.Location, hint(nearest(s, known), "known: "+strings.Join(known, ", ")), "%s is never %q", c.name, s)
			}
		}
	}
}

func unknownKind(f *finder, v *view) {
	all := f.schemas.Kinds()
	var kinds []string
	groups := map[string][]string{}
	for _, gk := range all {
		kinds = append(kinds, gk.Kind)
		groups[gk.Kind] = append(groups[gk.Kind], groupName(gk.Group))
	}
	for _, t := range v.equals("input.kind.kind") {
		if s := text(t); groups[s] == nil {
			if want := meantKind(s, kinds); want != "" {
				f.add(v, t.Location, "did you mean "+want+"?", "there is no kind %q", s)
			}
		}
	}
	for _, r := range v.reads {
		rest, ok := strings.CutPrefix(r.name, "data.cluster.")
		if !ok {
			continue
		}
		group, kind, ok := cutKind(rest, groups)
		if !ok {
			continue
		}
		switch {
		case groups[kind] == nil:
			if want := meantKind(kind, kinds); want != "" {
				f.add(v, r.at, "did you mean "+want+"?", "there is no kind %q", kind)
			}
		case !slices.Contains(groups[kind], group):
			f.add(v, r.at, fmt.Sprintf("did you mean data.cluster[%q].%s?", groups[kind][0], kind), "%s is not in the group %s", kind, group)
		}
	}
}

func groupName(group string) string {
	if group == "" {
		return "core"
	}
	return group
}

// cutKind takes group and kind off a name below data.cluster. Groups have dots:
// the kind is the first step that begins with a capital, or what follows the
// name of a group.
func cutKind(rest string, groups map[string][]string) (group, kind string, ok bool) {
	parts := strings.Split(rest, ".")
	for i, p := range parts {
		if i > 0 && p != "" && p[0] >= 'A' && p[0] <= 'Z' {
			return strings.Join(parts[:i], "."), p, true
		}
	}
	for i := 1; i < len(parts); i++ {
		group := strings.Join(parts[:i], ".")
		for _, known := range groups {
			if slices.Contains(known, group) && parts[i] != "*" {
				return group, parts[i], true
			}
		}
	}
	return "", "", false
}

// meantKind guesses the kind: another case, a plural, or a slip of the finger.
func meantKind(word string, kinds []string) string {
	for _, k := range kinds {
		if strings.EqualFold(word, k) || strings.EqualFold(word, k+"s") || strings.EqualFold(word, k+"es") || strings.EqualFold(word, strings.TrimSuffix(k, "y")+"ies") {
			return k
		}
	}
	if len(word) < 5 {
		return ""
	}
	return nearest(word, kinds)
}

// undefinedAtTimes are the parts of input that are not always there.
var undefinedAtTimes = []string{
	"input.userInfo", "input.object", "input.oldObject", "input.options", "input.actor.serviceAccount", "input.namespaceObject",
	"input.pod", "input.source", "change.from", "change.to", "change.manager",
	lib + "by_user", lib + "by_group", lib + "by_service_account", lib + "is_component",
}

// notOnUndefined finds negations that are true where nothing is known: harmless
// in a deny, which refuses then, and a hole in an exception.
func notOnUndefined(f *finder, v *view) {
	if v.entry == deny || v.entry == "" && !f.usedByException(v) {
		return
	}
	for _, r := range v.reads {
		if !r.negated || r.alone && strings.HasPrefix(r.name, "input.") && !strings.HasPrefix(r.name, "input.userInfo") {
			continue // "not input.object.metadata.labels.x" asks whether it is absent
		}
		for _, name := range undefinedAtTimes {
			if below(r.name, name) && !v.asserts(name) {
				f.add(v, r.at, guard(name), "where it is undefined, the negation is true")
			}
		}
	}
}

func guard(name string) string {
	switch {
	case strings.HasPrefix(name, lib), name == "input.userInfo", name == "input.actor.serviceAccount":
		return "nobody knows who made drift: add input.userInfo.username on a line of its own before it"
	default:
		return fmt.Sprintf("ask for %s without not first, on a line of its own", name)
	}
}

// asserts tells whether the rule is only true where a name is defined.
func (v *view) asserts(name string) bool {
	if strings.HasPrefix(name, lib) || name == "input.actor.serviceAccount" {
		name = "input.userInfo"
	}
	return slices.ContainsFunc(v.reads, func(r read) bool { return !r.negated && below(r.name, name) })
}

// usedByException tells whether an exception depends on a rule.
func (f *finder) usedByException(v *view) bool {
	return slices.ContainsFunc(f.views, func(e *view) bool {
		return e.entry == exception && !e.test && f.reaches(e, v.name)
	})
}

var quantity = regexp.MustCompile(`\.(cpu|memory|storage|ephemeral-storage)$`)

func quantityAsText(f *finder, v *view) {
	for _, c := range v.calls {
		switch c.name {
		case "gt", "gte", "lt", "lte", "to_number":
		default:
			continue
		}
		about := slices.ContainsFunc(c.args, func(t *ast.Term) bool { return quantity.MatchString(v.of(t)) })
		if c.name != "to_number" {
			// A change of such a field, compared with a text that is a quantity.
			about = about || slices.ContainsFunc(c.args, func(t *ast.Term) bool { return strings.HasPrefix(v.of(t), "change.") }) &&
				slices.ContainsFunc(c.args, func(t *ast.Term) bool { return quantityText.MatchString(text(t)) })
		}
		if about {
			f.add(v, c.at, "compare units.parse(…) for cpu, units.parse_bytes(…) for memory and storage", "quantities are texts: \"9Gi\" is more than \"10Gi\"")
		}
	}
}

var quantityText = regexp.MustCompile(`^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)$`)

func secretInClear(f *finder, v *view) {
	secret := slices.Contains(v.kinds(), "Secret")
	for _, c := range v.comparisons() {
		hidden := secret && (below(c.name, "input.object.data") || below(c.name, "input.oldObject.data") ||
			below(c.name, "input.object.stringData") || below(c.name, "input.object.metadata.annotations") ||
			c.name == "change.to" || c.name == "change.from")
		if rest, ok := strings.CutPrefix(c.name, "data.cluster.core.Secret."); ok {
			hidden = strings.Contains("."+rest+".", ".data.")
		}
		if hidden && slices.ContainsFunc(c.values, func(t *ast.Term) bool { return text(t) != "" }) {
			f.add(v, c.at, "compare two values with each other: equal values have equal hashes", "of a Secret policies see keyed hashes, which no text equals")
		}
	}
}

var host = regexp.MustCompile(`^[a-z0-9.-]+\.[a-z]{2,}(:\d+)?(/[^:@]*[^:@/])?$`)

func registryPrefix(f *finder, v *view) {
	for _, c := range v.comparisons() {
		if c.name != "change.to" && !strings.HasSuffix(c.name, ".image") {
			continue
		}
		for _, t := range c.values {
			switch s := text(t); {
			case c.op == "startswith" && host.MatchString(s):
				f.add(v, t.Location, fmt.Sprintf("end it with / or with : (%q)", s+"/"), "%q also begins %s.example.org/… and %s-evil", s, s, s)
			case c.op == "contains" && host.MatchString(strings.TrimSuffix(s, "/")):
				f.add(v, t.Location, "use startswith, and end it with /", "%q can stand anywhere in an image's name", s)
			}
		}
	}
}

func regexUnanchored(f *finder, v *view) {
	for _, c := range v.comparisons() {
		if c.op != "regex.match" || c.name == username {
			continue
		}
		for _, t := range c.values {
			if s := text(t); s != "" && !strings.ContainsAny(s, "^$") {
				f.add(v, t.Location, "begin it with ^ and end it with $", "%q matches anywhere in the text", s)
			}
		}
	}
}
