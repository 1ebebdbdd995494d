// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// maker makes policies and changes, the same for the same seed.
type maker struct{ *rand.Rand }

func (m maker) one(texts ...string) string { return texts[m.IntN(len(texts))] }

var (
	madeUsers      = []string{"alice", "bo", "eve", "system:serviceaccount:a:b", "system:serviceaccount:kube-system:c", ""}
	madeNamespaces = []string{"shop", "payments", ""}
	madeNames      = []string{"web", "api", "worker"}
	madeKinds      = []string{"Deployment", "ConfigMap"}
	madePaths      = []string{"spec.replicas", "spec.paused", "metadata.labels.tier", "spec.template.spec.containers[name=web].image"}
)

// condition of a rule: some the index knows, some it does not, some that are
// undefined for a part of the changes.
func (m maker) condition() string {
	user, namespace, name, kind := m.one(madeUsers[:3]...), m.one(madeNamespaces...), m.one(madeNames...), m.one(madeKinds...)
	path := m.one(madePaths...)
	return m.one(
		fmt.Sprintf("input.userInfo.username == %q", user),
		fmt.Sprintf("input.userInfo.username in {%q, %q}", user, m.one(madeUsers[:3]...)),
		fmt.Sprintf("%q != input.userInfo.username", user),
		fmt.Sprintf("not input.userInfo.username == %q", user),
		fmt.Sprintf("startswith(input.userInfo.username, %q)", user[:2]),
		fmt.Sprintf("input.namespace == %q", namespace),
		fmt.Sprintf("input.namespace in [%q, %q]", namespace, m.one(madeNamespaces...)),
		fmt.Sprintf("input.name == %q", name),
		fmt.Sprintf("endswith(input.name, %q)", name[1:]),
		fmt.Sprintf("glob.match(%q, [], input.name)", name[:1]+"*"),
		fmt.Sprintf("input.kind.kind == %q", kind),
		fmt.Sprintf("input.kind == {\"group\": \"apps\", \"version\": \"v1\", \"kind\": %q}", kind),
		fmt.Sprintf("input.operation == %q", m.one("UPDATE", "DELETE")),
		fmt.Sprintf("input.origin == %q", m.one("request", "drift")),
		fmt.Sprintf("not input.origin == %q", m.one("request", "drift")),
		fmt.Sprintf("some change in input.changes\n\tchange.path == %q", path),
		fmt.Sprintf("every c in input.changes {\n\t\tc.path == %q\n\t}", path),
		fmt.Sprintf("input.changes[_].to == %d", m.IntN(4)),
		fmt.Sprintf("count(input.changes) > %d", m.IntN(3)),
		fmt.Sprintf("helper(%q)", name),
		fmt.Sprintf("flag == %q", m.one("shop", "other")),
		fmt.Sprintf("lib.by_group(%q)", m.one("ops", "nobody")),
		"lib.is_person",
		"not lib.is_person",
		"input.actor.serviceAccount.namespace == \"a\"",
		"input.object.spec.replicas > input.oldObject.spec.replicas",
		"not input.oldObject.metadata.labels.tier",
		"data.cluster.core.ConfigMap[input.namespace][input.name].data.on == \"yes\"",
	)
}

// policies is a source of a few packages.
func (m maker) policies() map[string]string {
	modules := map[string]string{}
	for i := range 1 + m.IntN(3) {
		var b strings.Builder
		fmt.Fprintf(&b, "package p%d\n\nimport data.mainstay.lib\n\n", i)
		b.WriteString("helper(name) if endswith(input.name, substring(name, 1, -1))\n\n")
		fmt.Fprintf(&b, "default flag := \"other\"\n\nflag := \"shop\" if %s\n\n", "input.namespace == \"shop\"")
		b.WriteString("used if {\n\thelper(\"web\")\n\tflag == \"shop\"\n\tlib.is_person\n}\n\n")
		for j := range 1 + m.IntN(5) {
			head := fmt.Sprintf(`exception contains {"reason": "e%d", "paths": [%q]}`, j, m.one(append(madePaths, "**", "spec.*", "metadata.labels.*")...))
			switch m.IntN(4) {
			case 0:
				head = fmt.Sprintf(`deny contains {"reason": "d%d"}`, j)
			case 1:
				head = fmt.Sprintf(`exception contains {"reason": "without paths %d"}`, j)
			}
			fmt.Fprintf(&b, "%s if {\n", head)
			for range 1 + m.IntN(3) {
				fmt.Fprintf(&b, "\t%s\n", m.condition())
			}
			b.WriteString("}\n\n")
		}
		modules[fmt.Sprintf("p%d.rego", i)] = b.String()
	}
	return modules
}

func (m maker) change() func() *Change {
	user, namespace, name, kind := m.one(madeUsers...), m.one(madeNamespaces...), m.one(madeNames...), m.one(madeKinds...)
	deletion, dryRun := m.IntN(6) == 0, m.IntN(6) == 0
	var paths []string
	for range 1 + m.IntN(3) {
		paths = append(paths, m.one(madePaths...))
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	to := m.IntN(4)
	return func() *Change {
		c := imageChange()
		c.User.Username, c.DryRun = user, dryRun
		entry := *c.Record.Entry
		entry.Kind, entry.Namespace, entry.Name = kind, namespace, name
		c.Record.Entry, c.Kind.Kind = &entry, kind
		c.Fields = nil
		for _, p := range paths {
			c.Fields = append(c.Fields, field(p, "0", fmt.Sprint(to)))
		}
		switch {
		case deletion:
			c.Operation, c.Fields, c.Object = Delete, nil, nil
		case user == "":
			drift(c, "kubectl-edit")
		}
		return c
	}
}

// TestWaysOfEvaluatingAgree makes policies and changes, and judges each change
// with the index of rules and without, reading what is needed of input or all of
// it, and asks OPA itself for what each package says, without Mainstay's one
// entry for all rules.
func TestWaysOfEvaluatingAgree(t *testing.T) {
	verdicts, answered := map[string]int{}, 0
	for seed := range uint64(16) {
		m := maker{rand.New(rand.NewPCG(seed, 7))}
		modules := m.policies()
		s := Source{Key: "k", Modules: modules}
		fast, plain := newEngine(t), newEngine(t)
		plain.evalOptions, plain.asksAll = []rego.EvalOption{rego.EvalRuleIndexing(false), rego.EvalEarlyExit(false)}, true
		on := map[string]any{"data": map[string]any{"on": "yes"}}
		for _, e := range []*Engine{fast, plain} {
			if _, err := e.Load(t.Context(), s); err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, modules["p0.rego"])
			}
			e.SetObject("", "ConfigMap", "shop", "web", on)
		}
		ask := wildcard(t, modules, on)
		for i := range 20 {
			change := m.change()
			a, b := fast.Decide(t.Context(), change()), plain.Decide(t.Context(), change())
			verdicts[string(a.Verdict)+" "+a.Class]++
			if a.Verdict != b.Verdict || a.Class != b.Class || a.Rule != b.Rule || a.Reason != b.Reason || !slices.Equal(a.Errors, b.Errors) {
				t.Errorf("seed %d, change %d: with the index %s %s %q %v, without %s %s %q %v\n%s", seed, i,
					a.Verdict, a.Rule, a.Reason, a.Errors, b.Verdict, b.Rule, b.Reason, b.Errors, modules)
			}
			c := change()
			input, err := jsonOf(fast.input(c, pathsOf(c), everything()))
			if err != nil {
				t.Fatal(err)
			}
			again, answers, err := fast.Again(t.Context(), input)
			if err != nil || again.Verdict != a.Verdict || again.Rule != a.Rule {
				t.Errorf("seed %d, change %d: judged again %s %s, %v; want %s %s", seed, i, again.Verdict, again.Rule, err, a.Verdict, a.Rule)
			}
			want := ask(input)
			if diff := cmp.Diff(want, said(answers, want)); diff != "" && len(a.Errors) == 0 {
				t.Errorf("seed %d, change %d: OPA alone and the engine differ (-OPA +engine):\n%s\n%s", seed, i, diff, modules)
			}
			answered += len(want)
		}
	}
	for _, verdict := range []string{"permit policy", "refuse policy", "refuse default"} {
		if verdicts[verdict] < 10 {
			t.Errorf("the corpus has too few of %q: %v", verdict, verdicts)
		}
	}
	if answered < 100 {
		t.Errorf("the rules said only %d things", answered)
	}
}

// wildcard asks OPA by a plain query for all packages at once, and returns
// package.kind: reason of whatever they say.
func wildcard(t *testing.T, modules map[string]string, on map[string]any) func(input []byte) []string {
	t.Helper()
	options := []func(*rego.Rego){
		rego.Query(`out := {concat("", [name, ".", kind, ": ", value.reason]) |
			some name, p in data.packages
			some kind in {"exception", "deny"}
			some value in p[kind]
		}`),
		rego.Store(inmem.NewFromObject(map[string]any{"cluster": map[string]any{"core": map[string]any{"ConfigMap": map[string]any{"shop": map[string]any{"web": on}}}}})),
	}
	helpers, err := Helpers()
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range modules {
		options = append(options, rego.Module(file, strings.Replace(text, "package p", "package packages.p", 1)))
	}
	for _, file := range []string{"mainstay/lib/lib.rego", "mainstay/lib/covers.rego"} {
		options = append(options, rego.Module(file, helpers[file]))
	}
	query, err := rego.New(options...).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(input []byte) []string {
		value, err := ast.ValueFromReader(strings.NewReader(string(input)))
		if err != nil {
			t.Fatal(err)
		}
		results, err := query.Eval(t.Context(), rego.EvalParsedInput(value))
		if err != nil {
			t.Fatal(err)
		}
		out := []string{}
		for _, r := range results {
			for _, text := range r.Bindings["out"].([]any) {
				out = append(out, text.(string))
			}
		}
		slices.Sort(out)
		return out
	}
}

// said is what the policies that were made answered; exceptions are not asked
// where something was denied, so then only denials are compared.
func said(answers []Answer, want []string) []string {
	out := []string{}
	denied := false
	for _, a := range answers {
		if strings.HasPrefix(a.Rule, "p") && a.Source == "k" {
			out = append(out, a.Rule+": "+a.Reason)
			denied = denied || a.Kind == kindDeny
		}
	}
	if denied {
		for _, text := range want {
			if strings.Contains(text, ".exception: ") {
				out = append(out, text)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
