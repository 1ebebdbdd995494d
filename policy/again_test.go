// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"
)

func again(t *testing.T, e *Engine, input []byte) (Decision, []Answer) {
	t.Helper()
	d, answers, err := e.Again(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	return d, answers
}

func see(t *testing.T, e *Engine, c *Change) Seen {
	t.Helper()
	seen, err := e.See(e.Sight(), c)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

const bounded = `package p
exception contains {"reason": "within the bounds", "paths": ["**.image"], "until": "2026-11-23T12:30:00Z"} if {
	input.operation == "UPDATE"
	some hpa in data.cluster.autoscaling.HorizontalPodAutoscaler[input.namespace]
	hpa.metadata.name == "web"
}
deny contains {"reason": "not for bob"} if input.userInfo.username == "bob"`

func TestJudgedAgainAChangeHasTheSameDecision(t *testing.T) {
	e := newEngine(t, module(bounded))
	e.SetObject("autoscaling", "HorizontalPodAutoscaler", "shop", "web", hpaObject(1, 5))
	for name, change := range map[string]func(*Change){
		"an exception permits":  func(*Change) {},
		"no exception does":     func(c *Change) { c.Fields = append(c.Fields, field("spec.replicas", "2", "3")) },
		"a deny rule refuses":   func(c *Change) { c.User.Username = "bob" },
		"its time is over":      func(c *Change) { c.Time = noon.Add(time.Hour) },
		"drift":                 func(c *Change) { drift(c, "kubectl-edit") },
		"a delete":              func(c *Change) { c.Operation, c.Fields = Delete, nil },
		"nothing differs":       func(c *Change) { c.Fields = nil },
		"a pod's exec":          func(c *Change) { c.Fields, c.Pod, c.SubResource, c.Operation = nil, "web-0", "exec", Connect },
		"a service account":     func(c *Change) { c.User.Username = "system:serviceaccount:keda:keda" },
		"a field of a set":      func(c *Change) { c.Fields = []Field{field(`metadata.finalizers[="x"]`, "", `"x"`)} },
		"Mainstay's annotation": func(c *Change) { c.Fields = []Field{field(`metadata.annotations["mainstay.dev/mode"]`, "", `"Audit"`)} },
	} {
		t.Run(name, func(t *testing.T) {
			c := imageChange()
			change(c)
			want := e.Decide(t.Context(), c)
			got, _ := again(t, e, see(t, e, c).Input)
			brief := func(d Decision) []any {
				return []any{d.Verdict, d.Class, d.Rule, d.Reason, d.Until, d.Errors, len(d.Uncovered), len(d.Permits)}
			}
			if diff := cmp.Diff(brief(want), brief(got)); diff != "" {
				t.Errorf("first and again (-first +again):\n%s", diff)
			}
		})
	}
}

func TestAgainTellsWhatEachRuleSaid(t *testing.T) {
	e := newEngine(t, module(bounded))
	e.SetObject("autoscaling", "HorizontalPodAutoscaler", "shop", "web", hpaObject(1, 5))
	_, answers := again(t, e, see(t, e, imageChange()).Input)
	until := noon.Add(30 * time.Minute)
	want := []Answer{{
		Rule: "p.exception", Kind: "exception", Source: "changepolicy/mainstay-system/p", File: "p/p.rego", Line: 2,
		Reason: "within the bounds", Until: &until, Covers: []string{"spec.template.spec.containers[name=web].image"},
	}}
	if diff := cmp.Diff(want, answers); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

func TestSeeKeepsWhatPoliciesCanRead(t *testing.T) {
	e := newEngine(t, module(bounded))
	e.SetObject("autoscaling", "HorizontalPodAutoscaler", "shop", "web", hpaObject(1, 5))
	e.SetObject("autoscaling", "HorizontalPodAutoscaler", "other", "web", hpaObject(1, 5))
	e.SetObject("", "ConfigMap", "shop", "unread", map[string]any{})
	before := e.Sight()
	seen := see(t, e, imageChange())
	var data map[string]map[string]map[string]map[string]any
	if err := json.Unmarshal(seen.Data, &data); err != nil {
		t.Fatal(err)
	}
	if len(data) != 1 || len(data["autoscaling"]["HorizontalPodAutoscaler"]) != 1 || data["autoscaling"]["HorizontalPodAutoscaler"]["shop"]["web"] == nil {
		t.Errorf("data = %s, want the autoscalers of the object's namespace alone", seen.Data)
	}
	if len(seen.Sources) != 2 || seen.Sources[0].Key != "builtin" || seen.Sources[1].Key != "changepolicy/mainstay-system/p" {
		t.Errorf("sources = %v", seen.Sources)
	}
	t.Run("of the policies that judged, not of those that came since", func(t *testing.T) {
		if _, err := e.Load(t.Context(), module(`package p
exception contains {"reason": "r", "paths": ["**"]} if input.name == "x"`)); err != nil {
			t.Fatal(err)
		}
		then, err := e.See(before, imageChange())
		if err != nil {
			t.Fatal(err)
		}
		if then.Digest != seen.Digest || see(t, e, imageChange()).Digest == seen.Digest {
			t.Error("the digest does not tell the sets apart")
		}
	})
	t.Run("not all of a crowd", func(t *testing.T) {
		for i := range maxSeenObjects + 1 {
			e.SetObject("autoscaling", "HorizontalPodAutoscaler", "shop", "h"+strings.Repeat("x", i), hpaObject(1, 5))
		}
		if then, err := e.See(before, imageChange()); err != nil || !then.DataLeftOut || then.Data != nil {
			t.Errorf("left out = %t, %d bytes, %v", then.DataLeftOut, len(then.Data), err)
		}
	})
}

func TestSeeMasksSecrets(t *testing.T) {
	e := newEngine(t)
	c := imageChange()
	c.Kind.Group, c.Kind.Kind, c.Record.Group, c.Record.Kind = "", "Secret", "", "Secret"
	c.Object = fastjson.MustParse(`{"metadata":{"name":"web","annotations":{"a":"planted"}},"data":{"p":"planted"}}`)
	c.OldObject = fastjson.MustParse(`{"data":{"p":"planted"},"stringData":{"p":"planted"}}`)
	c.Fields = []Field{field("data.p", `"planted"`, `"planted"`)}
	if seen := see(t, e, c); strings.Contains(string(seen.Input), "planted") {
		t.Errorf("a value of a Secret is in %s", seen.Input)
	}
}

func TestParseInputSaysWhatIsWrong(t *testing.T) {
	good := string(see(t, newEngine(t), imageChange()).Input)
	for name, tt := range map[string]struct{ input, want string }{
		"no JSON":         {`{`, "parse input"},
		"no object":       {`[]`, "no object"},
		"no operation":    {strings.Replace(good, `"operation"`, `"op"`, 1), "input.operation"},
		"no time":         {strings.Replace(good, `"2026-11-23T12:00:00Z"`, `"yesterday"`, 1), "input.time"},
		"a path is wrong": {strings.Replace(good, `"path":"spec.template`, `"path":"spec..template`, 1), "input.changes[0].path"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := newEngine(t).Again(t.Context(), []byte(tt.input)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error that says %q", err, tt.want)
			}
		})
	}
}

func FuzzParseInput(f *testing.F) {
	e, err := New(f.Context(), Options{})
	if err != nil {
		f.Fatal(err)
	}
	seen, err := e.See(e.Sight(), imageChange())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(seen.Input))
	f.Add([]byte(`{"operation":"DELETE","kind":{"kind":"X"},"name":"x","time":"2026-01-01T00:00:00Z","changes":[{"path":"a[b=c]"}]}`))
	f.Fuzz(func(t *testing.T, input []byte) {
		if d, _, err := e.Again(t.Context(), input); err == nil && d.Verdict != Permit && d.Verdict != Refuse {
			t.Errorf("verdict %q", d.Verdict)
		}
		if !fastjson.Exists(input, "operation") {
			if _, err := ParseInput(input); err == nil {
				t.Error("input without an operation is one")
			}
		}
	})
}
