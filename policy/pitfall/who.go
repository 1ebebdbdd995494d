// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package pitfall

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

const username = "input.userInfo.username"

// account tells whether the rule depends on who asks.
func (f *finder) account(v *view) bool {
	return f.reaches(v, "input.userInfo", "input.actor", "change.person",
		lib+"by_user", lib+"by_group", lib+"by_service_account", lib+"is_person", lib+"is_component")
}

func userByPrefix(f *finder, v *view) {
	for _, c := range v.comparisons() {
		if c.name != username {
			continue
		}
		for _, t := range c.values {
			part := text(t)
			switch {
			case c.op == "startswith" && (part == "system:node:" || strings.HasSuffix(part, ":") && strings.Count(part, ":") == 3):
				// Every account of one namespace, which nobody else can be.
			case c.op == "startswith", c.op == "endswith", c.op == "contains", c.op == "glob.match",
				c.op == "regex.match" && (!strings.HasPrefix(part, "^") || !strings.HasSuffix(part, "$")):
				f.add(v, c.at, `write == with the whole name, or lib.by_service_account("namespace", "name")`,
					"%q fits other accounts, too", part)
			}
		}
	}
}

func groupOfEverybody(f *finder, v *view) {
	everybody := func(t *ast.Term) bool {
		return slices.Contains([]string{"system:authenticated", "system:unauthenticated", "system:serviceaccounts"}, text(t))
	}
	for _, c := range v.calls {
		for _, t := range c.args {
			if everybody(t) && (c.name == lib+"by_group" || len(c.args) > 1 && strings.HasPrefix(v.of(c.args[len(c.args)-1]), "input.userInfo.groups") ||
				strings.HasPrefix(v.of(c.args[0]), "input.userInfo.groups")) {
				f.add(v, c.at, "name a group of your own", "everybody is in %s", text(t))
			}
		}
	}
}

func trustsManager(f *finder, v *view) {
	for _, c := range v.comparisons() {
		if c.name == "change.manager" || c.name == "input.options.fieldManager" {
			f.add(v, c.at, "ask for the account, or for what makes the value right", "anyone can choose the name of a field manager")
		}
	}
}

func askerDecides(f *finder, v *view) {
	if f.reaches(v, "input.oldObject.metadata") {
		return
	}
	for _, r := range v.reads {
		if !r.negated && (below(r.name, "input.object.metadata.labels") || below(r.name, "input.object.metadata.annotations")) {
			f.add(v, r.at, "read input.oldObject, which the request can't change", "who asks can set this in the same request")
			return
		}
	}
}

func denyStopsControllers(f *finder, v *view) {
	if f.account(v) || f.reaches(v, "input.origin", "input.subResource") {
		return
	}
	f.add(v, nil, "add lib.is_person, unless controllers are meant as well",
		"no condition on the account: this stops autoscalers, rollouts and the garbage collector, too")
}

func onlyAtAdmission(f *finder, v *view) {
	if v.member("ttl") != nil || slices.ContainsFunc(v.equals("input.origin"), func(t *ast.Term) bool { return text(t) == "request" }) {
		return
	}
	for _, r := range v.reads {
		if r.negated {
			continue
		}
		for _, name := range []string{
			"input.userInfo", "input.dryRun", "input.options", "input.actor.serviceAccount",
			lib + "by_user", lib + "by_group", lib + "by_service_account", lib + "is_component",
		} {
			if below(r.name, name) {
				f.add(v, r.at, "what is admitted stays by its record; to let drift stand as well, say why the value is right, not only who set it",
					"true only at admission: nobody knows this of drift")
				return
			}
		}
	}
}
