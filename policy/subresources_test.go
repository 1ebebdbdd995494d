// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSubResourcesThatDenyRulesMention(t *testing.T) {
	all := podSubresources
	for name, tt := range map[string]struct {
		rego string
		want []string
	}{
		"no deny rule":           {rego: `exception contains {"reason": "r"} if input.subResource == "exec"`},
		"one that mentions none": {rego: `deny contains {"reason": "r"} if input.operation == "DELETE"`},
		"one by name":            {`deny contains {"reason": "r"} if input.subResource == "exec"`, []string{"exec"}},
		"the name first":         {`deny contains {"reason": "r"} if "attach" == input.subResource`, []string{"attach"}},
		"by index":               {`deny contains {"reason": "r"} if input["subResource"] == "exec"`, []string{"exec"}},
		"a set":                  {`deny contains {"reason": "r"} if input.subResource in {"exec", "attach", "scale"}`, []string{"attach", "exec"}},
		"another subresource":    {rego: `deny contains {"reason": "r"} if input.subResource == "scale"`},
		"another literal beside it": {
			`deny contains {"reason": "eviction"} if input.subResource == "exec"`, []string{"exec"},
		},
		"a set that has a name": {
			"shells := {\"exec\", \"attach\"}\n\ndeny contains {\"reason\": \"r\"} if input.subResource in shells", []string{"attach", "exec"},
		},
		"a set as a function": {
			"shells := {\"exec\", \"attach\"}\n\ndeny contains {\"reason\": \"r\"} if shells[input.subResource]", []string{"attach", "exec"},
		},
		"a variable": {
			"deny contains {\"reason\": \"r\"} if {\n\tsub := input.subResource\n\tsub == \"resize\"\n}", []string{"resize"},
		},
		"a helper rule": {
			"deny contains {\"reason\": \"r\"} if shell\n\nshell if input.subResource == \"exec\"\n\nshell if input.subResource == \"attach\"", []string{"attach", "exec"},
		},
		"inside a comprehension": {
			`deny contains {"reason": "r"} if count([1 | input.subResource == "exec"]) > 0`, []string{"exec"},
		},
		"an else": {
			"deny contains {\"reason\": why} if why\n\nwhy := \"a\" if input.subResource == \"exec\" else := \"b\" if input.subResource == \"attach\"",
			[]string{"attach", "exec"},
		},
		"not one":                     {`deny contains {"reason": "r"} if input.subResource != "exec"`, all},
		"anything but none":           {`deny contains {"reason": "r"} if input.subResource != ""`, all},
		"not equal":                   {`deny contains {"reason": "r"} if not input.subResource == "scale"`, all},
		"not in a set":                {`deny contains {"reason": "r"} if not input.subResource in {"scale", "exec"}`, all},
		"not by way of a rule":        {"deny contains {\"reason\": \"r\"} if not shell\n\nshell if input.subResource == \"exec\"", all},
		"not by way of a variable":    {"deny contains {\"reason\": \"r\"} if {\n\tsub := input.subResource\n\tsub != \"exec\"\n}", all},
		"computed":                    {`deny contains {"reason": "r"} if startswith(input.subResource, "e")`, all},
		"whatever the parameters say": {`deny contains {"reason": "r"} if input.subResource in data.parameters.subresources`, all},
		"a member that is computed":   {`deny contains {"reason": "r"} if input[lower("SUBRESOURCE")] == "x"`, all},
		"input as a whole":            {"deny contains {\"reason\": \"r\"} if f(input)\n\nf(x) if x.subResource == \"exec\"", []string{"exec"}},
		"input as a whole, computed":  {`deny contains {"reason": "r"} if object.get(input, lower("SUBRESOURCE"), "") == "x"`, all},
		"the pod":                     {`deny contains {"reason": "r"} if input.pod.name == "web-0"`, all},
		"the operation":               {`deny contains {"reason": "r"} if input.operation == "CONNECT"`, []string{"attach", "exec", "portforward"}},
		"in tests only": {
			rego: `deny contains {"reason": "r"} if input.operation == "DELETE"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			changed := e.Changed()
			source := module("package p\n\n" + tt.rego)
			source.Modules["p_test.rego"] = "package p_test\n\nimport data.p\n\ntest_nothing if not p.nothing with input as {\"subResource\": \"exec\"}"
			if _, err := e.Load(t.Context(), source); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, e.SubResources()); diff != "" {
				t.Errorf("SubResources (-want +got):\n%s", diff)
			}
			select {
			case <-changed:
			default:
				t.Error("nothing says that they may have changed")
			}
			e.Unload(source.Key)
			if got := e.SubResources(); len(got) > 0 {
				t.Errorf("without the policy: %v", got)
			}
		})
	}
}

// use is alice at a pod of the Deployment web.
func use(subResource string) *Change {
	c := imageChange()
	c.Operation, c.SubResource, c.Pod, c.Fields = Connect, subResource, "web-7d9f-abcde", nil
	return c
}

func TestOnlyDenyRulesAreAskedAboutPods(t *testing.T) {
	const shells = `package p

exception contains {"reason": "never asked"} if input.subResource == "exec"

deny contains {"reason": sprintf("no %s of %s in %s", [input.subResource, input.pod.name, input.name])} if {
	input.operation == "CONNECT"
	input.subResource in {"exec", "attach"}
	input.kind.kind == "Deployment"
}`
	e := newEngine(t, module(shells))
	for name, tt := range map[string]struct {
		change *Change
		want   Decision
	}{
		"a deny rule speaks of it": {use("exec"), Decision{Verdict: Refuse, Class: RulePolicy, Rule: "p.deny", Reason: "no exec of web-7d9f-abcde in web"}},
		"none does":                {use("portforward"), Decision{Verdict: Permit, Class: RuleGit, Reason: "no deny rule speaks against it"}},
		"an eviction that is a deletion": {func() *Change {
			c := use("eviction")
			c.Operation = Delete
			return c
		}(), Decision{Verdict: Refuse, Class: RuleDefault, Reason: "git says otherwise, and no exception covers it"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := e.Decide(t.Context(), tt.change)
			if got.Verdict != tt.want.Verdict || got.Class != tt.want.Class || got.Rule != tt.want.Rule || got.Reason != tt.want.Reason {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	t.Run("a deny rule that fails refuses", func(t *testing.T) {
		e := newEngine(t, module("package p\n\ndeny contains {\"reason\": \"r\"} if {\n\tinput.subResource == \"exec\"\n\tto_number(input.name) > 0\n}"))
		if got := e.Decide(t.Context(), use("exec")); got.Verdict != Refuse || got.Class != RuleError {
			t.Errorf("got %+v", got)
		}
		if got := e.Decide(t.Context(), use("attach")); got.Verdict != Permit {
			t.Errorf("of another subresource: %+v", got)
		}
	})
	t.Run("no time refuses", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got := e.Decide(ctx, use("exec")); got.Verdict != Refuse {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("a deny rule that mentions no subresource does not speak of one", func(t *testing.T) {
		freeze := Source{Key: "changepolicy/a/b", Modules: map[string]string{"f.rego": "package f\n\ndeny contains {\"reason\": \"frozen\"} if input.origin == \"request\""}}
		e := newEngine(t, module(shells), freeze)
		if got := e.Decide(t.Context(), use("exec")); got.Rule != "p.deny" {
			t.Errorf("got %+v", got)
		}
		if got := e.Decide(t.Context(), use("portforward")); got.Verdict != Permit {
			t.Errorf("got %+v", got)
		}
	})
}
