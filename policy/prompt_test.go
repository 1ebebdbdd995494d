// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
)

func TestPromptPolicies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want bool
	}{
		"comparisons and memberships":               {`some c in input.changes; c.to in {"a", "b"}; startswith(input.name, "web")`, true},
		"the library's account and times of day":    {`lib.by_service_account("a", "b"); lib.within("08:00-17:00", "UTC")`, true},
		"a regular expression that is written out":  {`regex.match("^a+$", input.name)`, true},
		"one that the request makes":                {`regex.match(input.name, "aaa")`, false},
		"globs, which try many ways":                {`glob.match("a*a*a*b", [], input.name)`, false},
		"the library's globs":                       {`lib.by_account(["a:*"])`, false},
		"a text of any width":                       {`sprintf("%100000000d", [1]) == input.name`, false},
		"a format that the request makes":           {`sprintf(input.name, [1]) == "x"`, false},
		"a plain format":                            {`sprintf("%s-%s", [input.name, input.namespace]) == "x"`, true},
		"numbers without end":                       {`count(numbers.range(1, 1000000000)) > 5`, false},
		"a function of one's own that does not end": {`long(input.name)`, false},
		"in a comprehension":                        {`count([x | x := replace(input.name, "a", "b")]) > 0`, false},
		"in a negation":                             {`not regex.match(input.name, "a")`, false},
		"in what a rule depends on":                 {`helper`, false},
		"a function that is replaced":               {`short(input.name) with short as long`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, Source{Key: "changepolicy/mainstay-system/p", Modules: map[string]string{"p/p.rego": `package p

import data.mainstay.lib

long(x) if json.marshal(x) == "x"

short(x) if x == "x"

helper if walk(input.object, [["a"], _])

_used := [lib.is_person, helper, short("a"), long("b")]

exception contains {"reason": "r", "paths": ["spec.replicas"]} if { ` + test.body + ` }
`}})
			if got := e.Prompt(imageChange()); got != test.want {
				t.Errorf("prompt: %t, want %t", got, test.want)
			}
		})
	}
}

func TestBuiltinsArePrompt(t *testing.T) {
	t.Parallel()
	if e := newEngine(t); !e.Prompt(imageChange()) {
		t.Error("the built-in policies are judged elsewhere, which costs time in every refusal")
	}
}

func TestPromptLooksAtPoliciesThatSpeakOfTheChange(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Source{Key: "changepolicy/other/p", Namespace: "other", Modules: map[string]string{
		"p/p.rego": "package p\n\ndeny contains {\"reason\": \"r\"} if glob.match(input.name, [], input.namespace)\n",
	}})
	if !e.Prompt(imageChange()) {
		t.Error("policies of another namespace count")
	}
}
