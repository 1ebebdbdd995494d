// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// brief is an explanation without its values: outcome and text of each line.
func brief(x Explanation) string {
	var out []string
	for _, l := range x.Lines {
		out = append(out, l.Outcome+": "+l.Text)
	}
	return strings.Join(out, "\n")
}

func explain(t *testing.T, text string) []Explanation {
	t.Helper()
	e := newEngine(t)
	p, err := e.Compile(t.Context(), module(text))
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Explain(t.Context(), see(t, e, imageChange()).Input)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestExplainNamesTheLineThatWasNotTrue(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"a comparison of what a change has": {
			"some change in input.changes\n\tchange.to == \"nginx:2\"\n\tinput.name == \"web\"",
			"true: some change in input.changes\nfalse: change.to == \"nginx:2\"\nunreached: input.name == \"web\"",
		},
		"what is undefined": {
			"input.object.spec.nothing > 3",
			"false: input.object.spec.nothing > 3",
		},
		"a negation": {
			"input.name == \"web\"\n\tnot input.namespace == \"shop\"",
			"true: input.name == \"web\"\nfalse: not input.namespace == \"shop\"",
		},
		"every": {
			"every change in input.changes {\n\t\tchange.op == \"add\"\n\t}",
			"false: every change in input.changes { change.op == \"add\" }",
		},
		"a function, after what is true": {
			"input.operation == \"UPDATE\"\n\tcount(input.changes) == 7",
			"true: input.operation == \"UPDATE\"\nfalse: count(input.changes) == 7",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := explain(t, "package p\n\nexception contains {\"reason\": \"r\", \"paths\": [\"**\"]} if {\n\t"+tt.body+"\n}\n")
			if len(got) != 1 || got[0].Matched {
				t.Fatalf("%+v", got)
			}
			if diff := cmp.Diff(tt.want, brief(got[0])); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplainShowsValuesAndLooksIntoWhatIsAsked(t *testing.T) {
	got := explain(t, `package p

import data.mainstay.lib

exception contains {"reason": "r", "paths": ["**"]} if {
	some change in input.changes
	startswith(change.to, "nginx:")
	lib.by_group("night-shift")
}

deny contains {"reason": "r"} if input.name == "web"
`)
	lines := got[0].Lines
	if v := lines[1].Values; len(v) != 1 || v[0] != (Value{Name: "change.to", Text: `"nginx:1.28"`}) {
		t.Errorf("values %v", v)
	}
	because := lines[2].Because
	if lines[2].BecauseOf != "by_group" || because == nil || because.Text != "name in input.userInfo.groups" {
		t.Fatalf("because %+v", lines[2])
	}
	if because.Values[0] != (Value{Name: "name", Text: `"night-shift"`}) {
		t.Errorf("values of what is asked: %v", because.Values)
	}
	if !got[1].Matched {
		t.Error("the deny did not match")
	}
}
