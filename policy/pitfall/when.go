// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package pitfall

import (
	"regexp"
	"slices"
	"time"
	// Time zones are the same on every machine.
	_ "time/tzdata"

	"github.com/open-policy-agent/opa/v1/ast"
)

func freezeWithoutEnd(f *finder, v *view) {
	if v.value() == nil || v.member("until") != nil || f.reaches(v, "input.time", lib+"within", lib+"weekday", "data.cluster", "data.parameters") {
		return
	}
	if slices.ContainsFunc(v.equals("input.origin"), func(t *ast.Term) bool { return text(t) == "sync" }) {
		f.add(v, nil, `add "until"; it is shown where commits wait`, "commits wait for as long as this rule exists")
	}
}

var window = regexp.MustCompile(`^\s*([01]\d|2[0-3]):[0-5]\d\s*-\s*([01]\d|2[0-3]):[0-5]\d\s*$`)

var weekdays = []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}

func badWindow(f *finder, v *view) {
	zone := func(t *ast.Term) {
		if name := text(t); name != "" {
			if _, err := time.LoadLocation(name); err != nil {
				f.add(v, t.Location, `for example "Europe/Berlin" or "UTC"`, "there is no time zone %q", name)
			}
		}
	}
	for _, c := range v.calls {
		switch {
		case c.name == lib+"within" && len(c.args) >= 2:
			if s := text(c.args[0]); s != "" && !window.MatchString(s) {
				f.add(v, c.args[0].Location, `for example "22:00-06:00"`, "%q is no window", s)
			}
			zone(c.args[1])
		case c.name == lib+"weekday" && len(c.args) >= 1:
			zone(c.args[0])
		}
	}
	for _, c := range v.calls {
		if (c.name != "equal" && c.name != "eq" && c.name != "internal.member_2") || len(c.args) != 2 {
			continue
		}
		for i, t := range c.args {
			inner, ok := t.Value.(ast.Call)
			if !ok || v.operator(inner[0]) != lib+"weekday" {
				continue
			}
			days(c.args[1-i], func(day *ast.Term) {
				if s := text(day); s != "" && !slices.Contains(weekdays, s) {
					f.add(v, day.Location, hint(nearest(s, weekdays), "Monday to Sunday, in full"), "%q is no day of the week", s)
				}
			})
		}
	}
}

// days calls do for a term, or for each member of a list.
func days(t *ast.Term, do func(*ast.Term)) {
	switch x := t.Value.(type) {
	case *ast.Array:
		x.Foreach(do)
	case ast.Set:
		x.Foreach(do)
	default:
		do(t)
	}
}

// hint asks whether a word was meant, where there is one.
func hint(word, otherwise string) string {
	if word != "" {
		return "did you mean " + word + "?"
	}
	return otherwise
}

func finalWithoutNext(f *finder, v *view) {
	t := v.member("final")
	if t != nil && t.Value.Compare(ast.Boolean(true)) == 0 && v.member("next") == nil {
		f.add(v, t.Location, `add "next"`, "nothing lifts this denial, and it does not say what to do instead")
	}
}
