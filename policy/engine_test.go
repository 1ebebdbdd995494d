// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/valyala/fastjson"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

var (
	noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	shop = types.NamespacedName{Namespace: "mainstay-system", Name: "shop"}
)

// imageChange is a request by alice that changes the image of a Deployment.
func imageChange() *Change {
	return &Change{
		Origin: OriginRequest, Operation: Update,
		User:     &User{Username: "alice", Groups: []string{"system:authenticated", "ops"}, Extra: map[string][]string{"k": {"v"}}},
		Kind:     schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"},
		Resource: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"},
		Object: fastjson.MustParse(`{"metadata":{"name":"web","managedFields":[{"manager":"m"}],"labels":{"app":"web"}},
			"spec":{"replicas":3}}`),
		OldObject: fastjson.MustParse(`{"metadata":{"name":"web","labels":{"app":"web"}},"spec":{"replicas":2}}`),
		Options:   fastjson.MustParse(`{"fieldManager":"kubectl-edit"}`),
		Fields:    []Field{field("spec.template.spec.containers[name=web].image", `"nginx:1.27"`, `"nginx:1.28"`)},
		Record: &ownership.Record{
			Entry: &ownership.Entry{
				ID:      ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
				Version: "v1", Resource: "deployments",
				Applied: &ownership.Content{
					File: "apps/web.yaml", Line: 23,
					Revision: ownership.Revision{Name: "main@sha1:a1b2", Author: "Bo", Time: noon.Add(-time.Hour)},
				},
			},
			Sync: &ownership.Sync{
				Namespace: shop.Namespace, Name: shop.Name, Labels: map[string]string{"team": "shop"},
				Mode: "Enforce", Undeclared: "RejectPeople", URL: "https://git.example.org/shop.git",
			},
		},
		NamespaceLabels: map[string]string{"env": "prod"},
		Time:            noon,
	}
}

func field(path, from, to string) Field {
	p, err := fieldset.Parse(path)
	if err != nil {
		panic(err)
	}
	f := Field{Path: p, Op: fieldset.OpReplace, Declared: true}
	if from == "" {
		f.Op = fieldset.OpAdd
	} else {
		f.From = fastjson.MustParse(from)
	}
	if to == "" {
		f.Op = fieldset.OpRemove
	} else {
		f.To = fastjson.MustParse(to)
	}
	return f
}

func undeclared(f Field) Field {
	f.Declared = false
	return f
}

func drift(c *Change, manager string) *Change {
	c.Origin, c.User, c.Options = OriginDrift, nil, nil
	for i := range c.Fields {
		c.Fields[i].Manager = manager
	}
	return c
}

func newEngine(t testing.TB, sources ...Source) *Engine {
	t.Helper()
	e, err := New(t.Context(), Options{
		Deadline: 5 * time.Second, ClusterName: "prod",
		MaskSecret: func(b []byte) string { return fmt.Sprintf("hash-%d", len(b)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		if _, err := e.Load(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// module is a source with one file.
func module(text string) Source {
	return Source{Key: "changepolicy/mainstay-system/p", Modules: map[string]string{"p/p.rego": text}}
}

func TestOrderOfTheContract(t *testing.T) {
	until := noon.Add(2 * time.Hour)
	ends := []string{"at 14:00 UTC this is reverted, which restarts the pods of deployment/web"}
	image := "spec.template.spec.containers[name=web].image"
	for name, tt := range map[string]struct {
		rego   string
		change func(*Change)
		want   Decision
	}{
		"without a policy the change is refused": {
			want: Decision{Verdict: Refuse, Class: RuleDefault},
		},
		"what git says needs no policy": {
			rego:   `deny contains {"reason": "never"}`,
			change: func(c *Change) { c.Fields = nil },
			want:   Decision{Verdict: Permit, Class: RuleGit},
		},
		"a delete has no fields and is asked about": {
			change: func(c *Change) { c.Fields, c.Operation = nil, Delete },
			want:   Decision{Verdict: Refuse, Class: RuleDefault},
		},
		"an exception permits": {
			rego: `exception contains {"reason": "r", "paths": ["**.image"], "warn": "w", "severity": "low"}`,
			want: Decision{Verdict: Permit, Class: RulePolicy, Rule: "p.exception", Reason: "r", Warnings: []string{"w"}, Severity: "low"},
		},
		"a deny beats an exception": {
			rego: `exception contains {"reason": "r", "paths": ["**"]}
			deny contains {"reason": "frozen", "next": "wait", "severity": "high", "until": "2026-11-23T14:00:00Z"} if input.namespace == "shop"`,
			want: Decision{Verdict: Refuse, Class: RulePolicy, Rule: "p.deny", Reason: "frozen", Next: "wait", Severity: "high", Until: &until},
		},
		"an ended deny is none": {
			rego: `exception contains {"reason": "r", "paths": ["**"]}
			deny contains {"reason": "frozen", "until": "2026-11-23T12:00:00Z"}`,
			want: Decision{Verdict: Permit, Class: RulePolicy, Rule: "p.exception", Reason: "r"},
		},
		"an exception without paths permits no update": {
			rego: `exception contains {"reason": "r"}`,
			want: Decision{Verdict: Refuse, Class: RuleDefault},
		},
		"an exception without paths permits a delete": {
			rego:   `exception contains {"reason": "r"} if input.operation == "DELETE"`,
			change: func(c *Change) { c.Fields, c.Operation = nil, Delete },
			want:   Decision{Verdict: Permit, Class: RulePolicy, Rule: "p.exception", Reason: "r"},
		},
		"an exception with paths permits no delete": {
			rego:   `exception contains {"reason": "r", "paths": ["**"]}`,
			change: func(c *Change) { c.Fields, c.Operation = nil, Delete },
			want:   Decision{Verdict: Refuse, Class: RuleDefault},
		},
		"an empty list of paths covers nothing": {
			rego: `exception contains {"reason": "r", "paths": []}`,
			want: Decision{Verdict: Refuse, Class: RuleDefault},
		},
		"the union of exceptions covers": {
			rego: `exception contains {"reason": "a", "paths": ["**.image"]}
			exception contains {"reason": "b", "paths": {"spec.replicas"}}`,
			change: func(c *Change) { c.Fields = append(c.Fields, field("spec.replicas", "1", "2")) },
			want:   Decision{Verdict: Permit, Class: RulePolicy, Rule: "p.exception", Reason: "a; b"},
		},
		"one field that nothing covers refuses all": {
			rego:   `exception contains {"reason": "a", "paths": ["**.image"]}`,
			change: func(c *Change) { c.Fields = append(c.Fields, field("spec.replicas", "1", "2")) },
			want:   Decision{Verdict: Refuse, Class: RuleDefault},
		},
		"no exception covers Mainstay's own label": {
			rego: `exception contains {"reason": "a", "paths": ["**", "metadata.labels[\"mainstay.dev/sync\"]"]}`,
			change: func(c *Change) {
				c.Fields = []Field{field(`metadata.labels["mainstay.dev/sync"]`, `"shop.1"`, `"shop.2"`)}
			},
			want: Decision{Verdict: Refuse, Class: RuleDefault},
		},
		"nor its annotations, where all of them go": {
			rego: `exception contains {"reason": "a", "paths": ["**"]}`,
			change: func(c *Change) {
				c.Fields = []Field{field("metadata.annotations", `{"mainstay.dev/mode":"Warn","a":"b"}`, `{}`)}
			},
			want: Decision{Verdict: Refuse, Class: RuleDefault},
		},
		"others' annotations it covers": {
			rego:   `exception contains {"reason": "a", "paths": ["**"]}`,
			change: func(c *Change) { c.Fields = []Field{field("metadata.annotations", `{"a":"b"}`, `{}`)} },
			want:   Decision{Verdict: Permit, Class: RulePolicy, Rule: "p.exception", Reason: "a"},
		},
		"until ends the permission": {
			rego: `exception contains {"reason": "r", "paths": ["**"], "until": "2026-11-23T14:00:00Z"}`,
			want: Decision{Verdict: Permit, Class: RulePolicy, Rule: "p.exception", Reason: "r", Until: &until, Warnings: ends},
		},
		"ttl counts from the request": {
			rego: `exception contains {"reason": "r", "paths": ["**"], "ttl": "2h"}`,
			want: Decision{Verdict: Permit, Class: RulePolicy, Rule: "p.exception", Reason: "r", Until: &until, Warnings: ends},
		},
		"the earlier of until and ttl": {
			rego: `exception contains {"reason": "r", "paths": ["**"], "ttl": "2h", "until": "2027-01-01T00:00:00Z"}`,
			want: Decision{Verdict: Permit, Class: RulePolicy, Rule: "p.exception", Reason: "r", Until: &until, Warnings: ends},
		},
		"an exception that ends now permits nothing": {
			rego: `exception contains {"reason": "r", "paths": ["**"], "until": "2026-11-23T12:00:00Z"}`,
			want: Decision{Verdict: Refuse, Class: RuleDefault},
		},
		"one without an end is better than one with": {
			rego: `exception contains {"reason": "a", "paths": ["**"], "until": "2026-11-23T14:00:00Z"}
			exception contains {"reason": "b", "paths": ["**"]}`,
			want: Decision{Verdict: Permit, Class: RulePolicy, Rule: "p.exception", Reason: "b"},
		},
		"the end of an exception that was not needed does not count": {
			rego: `exception contains {"reason": "a", "paths": ["**.image"], "until": "2026-11-23T14:00:00Z"}
			exception contains {"reason": "b", "paths": ["metadata.**"], "until": "2026-11-23T12:30:00Z"}`,
			want: Decision{Verdict: Permit, Class: RulePolicy, Rule: "p.exception", Reason: "a", Until: &until, Warnings: ends},
		},
		"ttl permits no drift, which has no beginning": {
			rego:   `exception contains {"reason": "r", "paths": ["**"], "ttl": "2h"}`,
			change: func(c *Change) { drift(c, "m") },
			want:   Decision{Verdict: Refuse, Class: RuleDefault},
		},
		"an exception may permit drift": {
			rego:   `exception contains {"reason": "r", "paths": ["**"]} if input.origin == "drift"`,
			change: func(c *Change) { drift(c, "m") },
			want:   Decision{Verdict: Permit, Class: RulePolicy, Rule: "p.exception", Reason: "r"},
		},
		"undefined never permits": {
			rego: `exception contains {"reason": "r", "paths": ["**"]} if input.object.spec.nothing == 1`,
			want: Decision{Verdict: Refuse, Class: RuleDefault},
		},
		"an undeclared field by a component": {
			change: func(c *Change) {
				c.User = &User{Username: "system:serviceaccount:shop:operator"}
				c.Fields = []Field{undeclared(field("metadata.labels.x", "", `"1"`))}
			},
			want: Decision{Verdict: Permit, Class: RuleBuiltin, Rule: "undeclared.exception", Reason: "git does not set these fields"},
		},
		"an undeclared field by a service account with a person's tool": {
			change: func(c *Change) {
				c.User = &User{Username: "system:serviceaccount:shop:ci"}
				f := undeclared(field("metadata.labels.x", "", `"1"`))
				f.Manager = "kubectl-label"
				c.Fields = []Field{f}
			},
			want: Decision{Verdict: Permit, Class: RuleBuiltin, Rule: "undeclared.exception", Reason: "git does not set these fields"},
		},
		"an undeclared field by a person": {
			change: func(c *Change) { c.Fields = []Field{undeclared(field("metadata.labels.x", "", `"1"`))} },
			want:   Decision{Verdict: Refuse, Class: RuleDefault},
		},
		"kubectl rollout restart": {
			change: func(c *Change) {
				c.Fields = []Field{undeclared(field(`spec.template.metadata.annotations["kubectl.kubernetes.io/restartedAt"]`, "", `"2026-11-23T12:00:10Z"`))}
			},
			want: Decision{Verdict: Permit, Class: RuleBuiltin, Rule: "restart.exception", Reason: "a restart changes nothing that git says"},
		},
		"a policy beside a built-in one counts as a policy": {
			rego: `exception contains {"reason": "r", "paths": ["` + image + `"]}`,
			change: func(c *Change) {
				c.Fields = append(c.Fields, undeclared(field(`spec.template.metadata.annotations["kubectl.kubernetes.io/restartedAt"]`, "", `"2026-11-23T12:00:10Z"`)))
			},
			want: Decision{Verdict: Permit, Class: RulePolicy, Rule: "p.exception, restart.exception", Reason: "r; a restart changes nothing that git says"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			if tt.rego != "" {
				if _, err := e.Load(t.Context(), module("package p\n\n"+tt.rego)); err != nil {
					t.Fatal(err)
				}
			}
			c := imageChange()
			if tt.change != nil {
				tt.change(c)
			}
			got := e.Decide(t.Context(), c)
			if len(got.ID) < 5 {
				t.Errorf("the decision has the id %q", got.ID)
			}
			if tt.want.Class == RuleDefault {
				tt.want.Reason = "git says otherwise, and no exception covers it"
			}
			if tt.want.Class == RuleGit {
				tt.want.Reason = "git says the same"
			}
			ignore := cmpopts.IgnoreFields(Decision{}, "ID", "Policies", "Elapsed", "Uncovered", "Permits")
			if diff := cmp.Diff(tt.want, got, ignore); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
			if got.Verdict == Refuse && len(c.Fields) > 0 && len(got.Uncovered) == 0 {
				t.Error("a refusal names no field")
			}
			if want := got.Verdict == Permit && c.Origin == OriginRequest && len(c.Fields) > 0; (len(got.Permits) == len(c.Fields)) != want && len(c.Fields) > 0 {
				t.Errorf("%d permits for %d fields", len(got.Permits), len(c.Fields))
			}
		})
	}
}

func TestPermitsSayWhatHasToBeRecorded(t *testing.T) {
	e := newEngine(t, module(`package p

exception contains {"reason": "r", "paths": ["**.image"], "ttl": "1h"}`))
	e.SetObject("autoscaling", "HorizontalPodAutoscaler", "shop", "web", hpaObject(2, 5))
	c := imageChange()
	c.User = &User{Username: "system:serviceaccount:kube-system:horizontal-pod-autoscaler"}
	c.Fields = append(c.Fields, field("spec.replicas", "2", "4"))
	d := e.Decide(t.Context(), c)
	end := noon.Add(time.Hour)
	want := []Permitted{
		{Rule: "p.exception", Until: &end, Recorded: true},
		{Rule: "hpa.exception"},
	}
	if diff := cmp.Diff(want, d.Permits, cmpopts.IgnoreFields(Permitted{}, "Field")); diff != "" {
		t.Errorf("Permits (-want +got):\n%s\n%+v", diff, d)
	}
	if d.Until == nil || !d.Until.Equal(end) {
		t.Errorf("Until = %v, want %v", d.Until, end)
	}
	e.DeleteObject("autoscaling", "HorizontalPodAutoscaler", "shop", "web")
	d = e.Decide(t.Context(), c)
	if d.Verdict != Refuse || len(d.Uncovered) != 1 || d.Uncovered[0].Path.String() != "spec.replicas" {
		t.Errorf("without the autoscaler: %+v", d)
	}
}

func hpaObject(from, to int) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"name": "web", "managedFields": []any{map[string]any{"manager": "m"}}},
		"spec": map[string]any{
			"scaleTargetRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
			"minReplicas":    int64(from), "maxReplicas": int64(to),
		},
	}
}

func TestWhatBreaksTheContractNeverPermits(t *testing.T) {
	// Values that only show when they are computed: what is written out is an
	// error when the policy loads.
	for name, tt := range map[string]struct{ value, want string }{
		"an unknown key":        {`{"reason": "r", "paths": ["**"], lower("PATH"): 1}`, `unknown key "path" (did you mean "paths"?)`},
		"no reason":             {`object.remove({"reason": "r", "paths": ["**"]}, ["reason"])`, `"reason" is missing`},
		"a reason that is none": {`{"reason": count("x"), "paths": ["**"]}`, "reason: must be a text, not number"},
		"an empty reason":       {`{"reason": lower(""), "paths": ["**"]}`, "reason: must be a text"},
		"a path that is none":   {`{"reason": "r", "paths": [lower("A..B"), "**"]}`, "paths: path"},
		"paths that are a text": {`{"reason": "r", "paths": lower("**")}`, "paths: must be an array or a set, not string"},
		"a number among paths":  {`{"reason": "r", "paths": ["**", count("x")]}`, "paths: must be texts, not number"},
		"an end that is none":   {`{"reason": "r", "paths": ["**"], "until": lower("tomorrow")}`, "until:"},
		"a ttl that is none":    {`{"reason": "r", "paths": ["**"], "ttl": lower("-1h")}`, "ttl:"},
		"a number as ttl":       {`{"reason": "r", "paths": ["**"], "ttl": count("x")}`, "ttl:"},
		"a number as warning":   {`{"reason": "r", "paths": ["**"], "warn": count("x")}`, "warn:"},
		"the key of built-ins":  {`{"reason": "r", "paths": ["**"], lower("RECORD"): false}`, `unknown key "record"`},
		"not an object":         {`lower("X")`, "the value must be an object, not string"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, module("package p\n\nexception contains value if value := "+tt.value))
			d := e.Decide(t.Context(), imageChange())
			if d.Verdict != Refuse || d.Class != RuleDefault {
				t.Errorf("Decide = %+v", d)
			}
			if len(d.Errors) != 1 || !strings.HasPrefix(d.Errors[0], "p.exception (p/p.rego:3): ") || !strings.Contains(d.Errors[0], tt.want) {
				t.Errorf("Errors = %q, want %q in them", d.Errors, tt.want)
			}
		})
		t.Run(name+", in a deny", func(t *testing.T) {
			if strings.Contains(tt.value, `"ttl"`) || strings.Contains(tt.value, `"warn"`) {
				t.Skip("deny has no such key")
			}
			e := newEngine(t, module("package p\n\ndeny contains value if value := "+tt.value+"\n\n"+
				`exception contains {"reason": "r", "paths": ["**"]}`))
			if d := e.Decide(t.Context(), imageChange()); d.Verdict != Refuse || d.Class != RuleError {
				t.Errorf("Decide = %+v", d)
			}
		})
	}
}

func TestOneBadExceptionDoesNotTouchTheOthers(t *testing.T) {
	good := "package good\n\nexception contains {\"reason\": \"good\", \"paths\": [\"**\"]}"
	for name, bad := range map[string]string{
		"a failing built-in function": `exception contains {"reason": "bad", "paths": ["metadata"]} if time.parse_rfc3339_ns(input.name) > 0`,
		"a conflict": `x := 1 if input.name == "web"

x := 2 if input.namespace == "shop"

exception contains {"reason": "bad", "paths": ["metadata"]} if x == 1`,
		"an answer that breaks the contract": `exception contains {"reason": input.dryRun, "paths": ["**"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, Source{Key: "gitsync/mainstay-system/shop", Sync: &shop, Modules: map[string]string{
				"bad/bad.rego": "package bad\n\n" + bad, "good/good.rego": good,
			}})
			d := e.Decide(t.Context(), imageChange())
			if d.Verdict != Permit || d.Rule != "good.exception" {
				t.Errorf("Decide = %+v", d)
			}
			if len(d.Errors) != 1 || !strings.HasPrefix(d.Errors[0], "bad.exception") {
				t.Errorf("Errors = %q", d.Errors)
			}
		})
	}
}

func TestAnErrorInAnyDenyRefuses(t *testing.T) {
	for name, bad := range map[string]string{
		"a failing built-in function":        `deny contains {"reason": "bad"} if time.parse_rfc3339_ns(input.name) > 0`,
		"a failing function under not":       `deny contains {"reason": "bad"} if not time.parse_rfc3339_ns(input.name) > 0`,
		"an answer that breaks the contract": `deny contains {"reason": input.dryRun}`,
		"a conflict": `x := 1 if input.name == "web"

x := 2 if input.namespace == "shop"

deny contains {"reason": "bad"} if x == 1`,
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, module("package p\n\nexception contains {\"reason\": \"good\", \"paths\": [\"**\"]}\n\n"+bad))
			d := e.Decide(t.Context(), imageChange())
			if d.Verdict != Refuse || d.Class != RuleError || len(d.Errors) == 0 || len(d.Uncovered) == 0 {
				t.Errorf("Decide = %+v", d)
			}
		})
	}
}

// Drift has happened: a rule that can't be judged must not have the loop undo
// what exceptions permit.
func TestAnErrorInADenyUndoesNoPermittedDrift(t *testing.T) {
	const good = "package p\n\nexception contains {\"reason\": \"good\", \"paths\": [\"spec.replicas\"]}"
	const failing = `deny contains {"reason": "bad"} if time.parse_rfc3339_ns(input.name) > 0`
	freeze := Source{Key: "changepolicy/mainstay-system/freeze", Modules: map[string]string{
		"freeze.rego": "package freeze\n\ndeny contains {\"reason\": \"frozen\"} if input.namespace == \"shop\"",
	}}
	replicas, image := field("spec.replicas", "1", "2"), field("spec.template.spec.containers[name=web].image", `"a"`, `"b"`)
	for name, tt := range map[string]struct {
		deny   string
		also   []Source
		fields []Field
		want   Verdict
		rule   string
		class  string
		left   int
	}{
		"what an exception permits stands":       {failing, nil, []Field{replicas}, Permit, "p.exception", RulePolicy, 0},
		"also where the rule is too slow":        {`deny contains {"reason": "slow"} if ` + slow, nil, []Field{replicas}, Permit, "p.exception", RulePolicy, 0},
		"also where its answer is none":          {`deny contains {"reason": input.dryRun}`, nil, []Field{replicas}, Permit, "p.exception", RulePolicy, 0},
		"also where it reads what is not listed": {`deny contains {"reason": "frozen"} if data.cluster.core.ConfigMap[input.namespace].freeze`, nil, []Field{replicas}, Permit, "p.exception", RulePolicy, 0},
		"what none permits is reverted":          {failing, nil, []Field{image}, Refuse, "", RuleDefault, 1},
		"of both, the one that none permits":     {failing, nil, []Field{replicas, image}, Refuse, "", RuleDefault, 1},
		"another rule that matches refuses":      {failing, []Source{freeze}, []Field{replicas}, Refuse, "freeze.deny", RulePolicy, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := New(t.Context(), Options{Deadline: 40 * time.Millisecond, AwaitObjects: true})
			if err != nil {
				t.Fatal(err)
			}
			sources := append([]Source{
				{Key: "changepolicy/mainstay-system/p", Modules: map[string]string{"p.rego": good}},
				{Key: "changepolicy/mainstay-system/bad", Modules: map[string]string{"bad.rego": "package bad\n\n" + tt.deny}},
			}, tt.also...)
			for _, s := range sources {
				if _, err := e.Load(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
			c := imageChange()
			c.Origin, c.User, c.Options, c.Fields = OriginDrift, nil, nil, tt.fields
			d := e.Decide(t.Context(), c)
			if d.Verdict != tt.want || d.Class != tt.class || d.Rule != tt.rule || len(d.Uncovered) != tt.left {
				t.Errorf("drift: %+v", d)
			}
			if len(d.Errors) != 1 || !strings.Contains(d.Errors[0], "a deny rule could not be judged") {
				t.Errorf("Errors = %q, want what could not be judged", d.Errors)
			}
			c = imageChange()
			c.Fields = tt.fields
			if d := e.Decide(t.Context(), c); d.Verdict != Refuse {
				t.Errorf("request: %+v, want a refusal", d)
			}
		})
	}
}

// slow takes seconds, in many small steps.
const slow = `count([1 | some i in numbers.range(1, 3000); some j in numbers.range(1, 3000); i + j == 0]) == 0`

func TestTooSlowNeverPermits(t *testing.T) {
	e, err := New(t.Context(), Options{Deadline: 40 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	load := func(text string) {
		t.Helper()
		s := Source{Key: "gitsync/mainstay-system/shop", Modules: map[string]string{"slow/slow.rego": "package slow\n\n" + text}}
		if _, err := e.Load(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Load(t.Context(), Source{Key: "changepolicy/mainstay-system/good", Modules: map[string]string{
		"good.rego": `package good

exception contains {"reason": "good", "paths": ["spec.replicas"]}`,
	}}); err != nil {
		t.Fatal(err)
	}
	t.Run("exception", func(t *testing.T) {
		load(`exception contains {"reason": "slow", "paths": ["**"]} if ` + slow)
		d := e.Decide(t.Context(), imageChange())
		if d.Verdict != Refuse || len(d.Errors) != 1 || !strings.Contains(d.Errors[0], "took longer than") {
			t.Errorf("Decide = %+v", d)
		}
		if d.Elapsed > 2*time.Second {
			t.Errorf("took %s", d.Elapsed)
		}
		c := imageChange()
		c.Fields = []Field{field("spec.replicas", "1", "2")}
		if d := e.Decide(t.Context(), c); d.Verdict != Permit || d.Rule != "good.exception" {
			t.Errorf("another policy is touched: %+v", d)
		}
	})
	t.Run("deny", func(t *testing.T) {
		load(`deny contains {"reason": "slow"} if ` + slow)
		c := imageChange()
		c.Fields = []Field{field("spec.replicas", "1", "2")}
		if d := e.Decide(t.Context(), c); d.Verdict != Refuse || d.Class != RuleError {
			t.Errorf("Decide = %+v", d)
		}
	})
	t.Run("what no request waits for may take longer", func(t *testing.T) {
		for origin, want := range map[Origin]time.Duration{
			OriginRequest: 40 * time.Millisecond, "": 40 * time.Millisecond,
			OriginDrift: 800 * time.Millisecond, OriginSync: 800 * time.Millisecond,
		} {
			c := imageChange()
			c.Origin = origin
			if got := e.newJudgement(c).limit(); got != want {
				t.Errorf("origin %q: %s, want %s", origin, got, want)
			}
		}
	})
	t.Run("the caller's context", func(t *testing.T) {
		load(`exception contains {"reason": "slow", "paths": ["**"]} if ` + slow)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		if d := e.Decide(ctx, imageChange()); d.Verdict != Refuse || d.Class != RuleError {
			t.Errorf("Decide = %+v", d)
		}
		cancel()
		if d := e.Decide(ctx, imageChange()); d.Verdict != Refuse || d.Class != RuleError || len(d.Uncovered) != 1 {
			t.Errorf("Decide with an ended context = %+v", d)
		}
	})
}

func TestSourcesSpeakOnlyOfTheirOwn(t *testing.T) {
	text := map[string]string{"p.rego": `package p

exception contains {"reason": "r", "paths": ["**"]}`}
	other := types.NamespacedName{Namespace: "mainstay-system", Name: "other"}
	for name, tt := range map[string]struct {
		source Source
		want   Verdict
	}{
		"its GitSync":            {Source{Sync: &shop}, Permit},
		"another GitSync":        {Source{Sync: &other}, Refuse},
		"its namespace":          {Source{Namespace: "shop"}, Permit},
		"another namespace":      {Source{Namespace: "payments"}, Refuse},
		"all":                    {Source{}, Permit},
		"its GitSync, elsewhere": {Source{Sync: &shop, Namespace: "payments"}, Refuse},
	} {
		t.Run(name, func(t *testing.T) {
			tt.source.Key, tt.source.Modules = "k", text
			e := newEngine(t, tt.source)
			if d := e.Decide(t.Context(), imageChange()); d.Verdict != tt.want {
				t.Errorf("Decide = %+v, want %s", d, tt.want)
			}
			e.Unload("k")
			if d := e.Decide(t.Context(), imageChange()); d.Verdict != Refuse {
				t.Errorf("after Unload = %+v", d)
			}
		})
	}
}

func TestLoadKeepsTheLastGoodSet(t *testing.T) {
	e := newEngine(t, module("package p\n\nexception contains {\"reason\": \"r\", \"paths\": [\"**\"]}"))
	for _, text := range []string{
		"package p\n\nexception contains {", // does not parse
		"package p\n\nexception contains {\"reason\": \"r\"} if x",
	} {
		_, err := e.Load(t.Context(), module(text))
		if _, ok := errors.AsType[*LoadError](err); !ok {
			t.Fatalf("Load = %v, want a LoadError", err)
		}
		if d := e.Decide(t.Context(), imageChange()); d.Verdict != Permit {
			t.Errorf("after a failed load: %+v", d)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"a syntax error has its place": {
			map[string]string{"a/a.rego": "package a\n\nexception contains {\"reason\": \"r\" if true"},
			[]string{"a/a.rego:3:35: unexpected if keyword", "non-terminated object"},
		},
		"Rego v0 is none": {
			map[string]string{"a.rego": "package a\n\nexception[x] { x := 1 }"},
			[]string{"a.rego:3:1: `contains` keyword is required", "a.rego:3:1: `if` keyword is required"},
		},
		"an unknown variable": {
			map[string]string{"a.rego": "package a\n\nexception contains {\"reason\": \"r\"} if x == 1"},
			[]string{"a.rego:3:39: var x is unsafe"},
		},
		"an unused import": {
			map[string]string{"a.rego": "package a\n\nimport data.mainstay.lib\n\nexception contains {\"reason\": \"r\"}"},
			[]string{"a.rego:3:1: import data.mainstay.lib unused"},
		},
		"denial": {
			map[string]string{"a.rego": "package a\n\ndenial contains {\"reason\": \"r\"}"},
			[]string{"a.rego:3:1: nothing asks a rule called denial (did you mean deny?)"},
		},
		"allow": {
			map[string]string{"a.rego": "package a\n\nallow if true\n\ndeny contains {\"reason\": \"r\"}"},
			[]string{"a.rego:3:1: nothing asks a rule called allow (did you mean exception?)"},
		},
		"violation, permit": {
			map[string]string{"a.rego": "package a\n\nviolation contains {\"reason\": \"r\"}\n\npermit if true"},
			[]string{"a.rego:3:1: nothing asks a rule called violation (did you mean deny?)", "a.rego:5:1: nothing asks a rule called permit (did you mean exception?)"},
		},
		"a misspelt exception": {
			map[string]string{"a.rego": "package a\n\nexeption contains {\"reason\": \"r\"}"},
			[]string{"a.rego:3:1: nothing asks a rule called exeption (did you mean exception?)"},
		},
		"a misspelt deny": {
			map[string]string{"a.rego": "package a\n\ndney contains {\"reason\": \"r\"}"},
			[]string{"a.rego:3:1: nothing asks a rule called dney (did you mean deny?)"},
		},
		"a package that nothing asks": {
			map[string]string{"a.rego": "package a\n\nhelper := 1"},
			[]string{"a.rego:1:1: package a has neither exception nor deny, and nothing imports it (did you mean to write"},
		},
		"a complete rule": {
			map[string]string{"a.rego": "package a\n\nexception := {\"reason\": \"r\"}"},
			[]string{`a.rego:3:1: exception is a set (write exception contains {"reason": "…"} if {…})`},
		},
		"a function": {
			map[string]string{"a.rego": "package a\n\ndeny(x) if x == 1"},
			[]string{"a.rego:3:1: deny is a set"},
		},
		"a text in the set": {
			map[string]string{"a.rego": "package a\n\ndeny contains \"no\""},
			[]string{"a.rego:3:15: deny contains objects, not string"},
		},
		"an unknown key": {
			map[string]string{"a.rego": "package a\n\nexception contains {\"reason\": \"r\", \"path\": [\"**\"]}"},
			[]string{`a.rego:3:36: exception has no key "path" (did you mean "paths"?)`},
		},
		"a key of exception in a deny": {
			map[string]string{"a.rego": "package a\n\ndeny contains {\"reason\": \"r\", \"ttl\": \"1h\"}"},
			[]string{`deny has no key "ttl" (known: reason, severity, final, until, next)`},
		},
		"no reason": {
			map[string]string{"a.rego": "package a\n\nexception contains {\"paths\": [\"**\"]}"},
			[]string{`exception needs a "reason" (people read it)`},
		},
		"a path that is none": {
			map[string]string{"a.rego": "package a\n\nexception contains {\"reason\": \"r\", \"paths\": [\"a..b\"]}"},
			[]string{`paths: path "a..b", character 3`},
		},
		"a duration that is none": {
			map[string]string{"a.rego": "package a\n\nexception contains {\"reason\": \"r\", \"ttl\": \"soon\"}"},
			[]string{`a.rego:3:43: ttl: "soon" is no duration such as 2h30m`},
		},
		"network": {
			map[string]string{"a.rego": "package a\n\ndeny contains {\"reason\": \"r\"} if http.send({}).status == 1"},
			[]string{"http.send is not allowed in policies (policies have no network"},
		},
		"the clock": {
			map[string]string{"a.rego": "package a\n\ndeny contains {\"reason\": \"r\"} if time.now_ns() > 1"},
			[]string{"time.now_ns is not allowed in policies (use time.parse_rfc3339_ns(input.time)"},
		},
		"the environment, in a helper": {
			map[string]string{"a.rego": "package a\n\nf(x) := opa.runtime().env[x]\n\ndeny contains {\"reason\": f(\"x\")}"},
			[]string{"opa.runtime is not allowed"},
		},
		"randomness": {
			map[string]string{"a.rego": "package a\n\ndeny contains {\"reason\": \"r\"} if rand.intn(\"x\", 2) == 1"},
			[]string{"rand.intn is not allowed"},
		},
		"a reserved package": {
			map[string]string{"a.rego": "package mainstay.lib\n\ndeny contains {\"reason\": \"r\"}"},
			[]string{"a.rego:1:1: package mainstay.lib is reserved"},
		},
		"all of the cluster": {
			map[string]string{"a.rego": "package a\n\ndeny contains {\"reason\": \"r\"} if count(data.cluster) == 0"},
			[]string{"data.cluster needs the group and the kind written out"},
		},
		"a kind that is computed": {
			map[string]string{"a.rego": "package a\n\ndeny contains {\"reason\": \"r\"} if data.cluster.apps[input.kind.kind].shop"},
			[]string{"data.cluster needs the group and the kind written out"},
		},
		"all data": {
			map[string]string{"a.rego": "package a\n\ndeny contains {\"reason\": \"r\"} if data[input.name]"},
			[]string{"data can't be read as a whole"},
		},
		"a failing test": {
			map[string]string{
				"a.rego":      "package a\n\ndeny contains {\"reason\": \"r\"} if input.name == \"x\"",
				"a_test.rego": "package a_test\n\nimport data.a\n\ntest_name if {\n\tcount(a.deny) == 1 with input as {\"name\": \"y\"}\n}",
			},
			[]string{"a_test.rego:6:2: test a_test.test_name failed: not true: count(a.deny) == 1"},
		},
		"a test that does not compile": {
			map[string]string{
				"a.rego":      "package a\n\ndeny contains {\"reason\": \"r\"}",
				"a_test.rego": "package a_test\n\ntest_name if x",
			},
			[]string{"a_test.rego:3:14: var x is unsafe"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			_, err := e.Load(t.Context(), Source{Key: "k", Modules: tt.files})
			var le *LoadError
			if !errors.As(err, &le) {
				t.Fatalf("Load = %v, want a LoadError", err)
			}
			var got []string
			for _, p := range le.Items {
				got = append(got, p.String())
			}
			for _, want := range tt.want {
				if !strings.Contains(strings.Join(got, "\n"), want) {
					t.Errorf("problems:\n%s\nwant:\n%s", strings.Join(got, "\n"), want)
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("%d problems, want %d:\n%s", len(got), len(tt.want), strings.Join(got, "\n"))
			}
		})
	}
}

func TestWhatIsNoError(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"helpers beside the rules, near in name to them": {
			"a.rego": "package a\n\ndeny contains {\"reason\": \"r\"} if any_of\n\nany_of if den\n\nden if input.name == \"x\"",
		},
		"a package of helpers that is imported": {
			"a/a.rego":            "package a\n\nimport data.shared.names\n\ndeny contains {\"reason\": \"r\"} if input.name in names.forbidden",
			"shared/n.rego":       "package shared.names\n\nforbidden := {\"x\"}",
			"shared/nt_test.rego": "package shared.names_test\n\nimport data.shared.names\n\ntest_x if \"x\" in names.forbidden",
		},
		"a value that is computed": {"a.rego": "package a\n\ndeny contains x if {\n\tx := {\"reason\": input.name}\n}"},
		"comments only":            {"a.rego": "# nothing\n"},
		"no file":                  {},
		"print":                    {"a.rego": "package a\n\ndeny contains {\"reason\": \"r\"} if {\n\tprint(input.name)\n\tinput.name == \"x\"\n}"},
		"a package called like a built-in policy": {"hpa.rego": "package hpa\n\ndeny contains {\"reason\": \"r\"} if input.name == \"x\""},
		"a package of two files": {
			"a/1.rego": "package a\n\ndeny contains {\"reason\": \"r\"} if h",
			"a/2.rego": "package a\n\nh if input.name == \"x\"",
		},
		"import rego.v1": {"a.rego": "package a\n\nimport rego.v1\n\ndeny contains {\"reason\": \"r\"} if input.name == \"x\""},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			if _, err := e.Load(t.Context(), Source{Key: "k", Modules: files}); err != nil {
				t.Error(err)
			}
			e.Decide(t.Context(), imageChange())
		})
	}
}

func TestLoaded(t *testing.T) {
	e := newEngine(t)
	s := Source{Key: "k", Modules: map[string]string{
		"a/a.rego": `package a

# METADATA
# title: First
exception contains {"reason": "r", "paths": ["**"]} if input.name == "x"

deny contains {"reason": "r"} if input.name == "y"
`,
		"a/a_test.rego": "package a_test\n\nimport data.a\nimport data.mainstay.testing\n\ntest_a if count(a.deny) == 1 with input as testing.request({\"name\": \"y\"})\n\ntest_b if count(a.deny) == 0 with input as testing.request({})",
	}, Exceptions: []v1alpha1.Exception{{Reason: "keda", Paths: []string{"spec.replicas"}}}}
	got, err := e.Load(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	want := Loaded{Tests: 2, Rules: []RuleInfo{
		{Name: "a.exception", Title: "First", Kind: "exception"},
		{Name: "a.deny", Kind: "deny"},
		{Name: "exceptions.exception", Title: "keda", Kind: "exception"},
	}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Loaded{}, "Digest")); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
	again, err := e.Load(t.Context(), s)
	if err != nil || again.Digest != got.Digest || got.Digest == "" {
		t.Errorf("digest %q became %q (%v)", got.Digest, again.Digest, err)
	}
	s.Modules["a/a.rego"] += "\n"
	if other, err := e.Load(t.Context(), s); err != nil || other.Digest == got.Digest {
		t.Errorf("another text has the same digest (%v)", err)
	}
}

func TestDeclarativeExceptions(t *testing.T) {
	end := metav1.NewTime(noon.Add(time.Hour))
	past := metav1.NewTime(noon.Add(-time.Hour))
	image := []string{"**.image"}
	for name, tt := range map[string]struct {
		x    v1alpha1.Exception
		want Verdict
	}{
		"only paths":            {v1alpha1.Exception{Paths: image}, Permit},
		"a kind":                {v1alpha1.Exception{Paths: image, Kinds: []string{"StatefulSet", "Deployment"}}, Permit},
		"a kind and group":      {v1alpha1.Exception{Paths: image, Kinds: []string{"Deployment.apps"}}, Permit},
		"another group":         {v1alpha1.Exception{Paths: image, Kinds: []string{"Deployment.example.com"}}, Refuse},
		"another kind":          {v1alpha1.Exception{Paths: image, Kinds: []string{"StatefulSet"}}, Refuse},
		"a name":                {v1alpha1.Exception{Paths: image, Names: []string{"db", "web"}}, Permit},
		"a name with a star":    {v1alpha1.Exception{Paths: image, Names: []string{"w*"}}, Permit},
		"part of a name":        {v1alpha1.Exception{Paths: image, Names: []string{"we"}}, Refuse},
		"a dot is a dot":        {v1alpha1.Exception{Paths: image, Names: []string{"w.b"}}, Refuse},
		"a user":                {v1alpha1.Exception{Paths: image, Users: []string{"alice"}}, Permit},
		"another user":          {v1alpha1.Exception{Paths: image, Users: []string{"al*", "bo"}}, Refuse},
		"every list must match": {v1alpha1.Exception{Paths: image, Users: []string{"alice"}, Names: []string{"db"}}, Refuse},
		"other paths":           {v1alpha1.Exception{Paths: []string{"spec.replicas"}}, Refuse},
		"not ended":             {v1alpha1.Exception{Paths: image, Until: &end}, Permit},
		"ended":                 {v1alpha1.Exception{Paths: image, Until: &past}, Refuse},
		"a path that is quoted": {v1alpha1.Exception{Paths: []string{`spec["template"]`}}, Permit},
	} {
		t.Run(name, func(t *testing.T) {
			tt.x.Reason = "because of \"this\"\nand that: <&>"
			e := newEngine(t, Source{Key: "k", Exceptions: []v1alpha1.Exception{tt.x}})
			d := e.Decide(t.Context(), imageChange())
			if d.Verdict != tt.want {
				t.Errorf("Decide = %+v", d)
			}
			if d.Verdict == Permit && (d.Reason != tt.x.Reason || d.Rule != "exceptions.exception") {
				t.Errorf("reason %q, rule %q", d.Reason, d.Rule)
			}
			c := imageChange()
			c.Operation, c.Fields = Delete, nil
			if d := e.Decide(t.Context(), c); d.Verdict != Refuse {
				t.Errorf("it permits a delete: %+v", d)
			}
		})
	}
	_, err := CompileExceptions("k", []v1alpha1.Exception{{Reason: "r", Paths: []string{"**"}}, {Paths: []string{"a..b"}}, {Reason: "r"}})
	var le *LoadError
	if !errors.As(err, &le) || len(le.Items) != 3 || le.Items[0].File != "policies.exceptions[1]" {
		t.Errorf("CompileExceptions = %v", err)
	}
}

func TestInput(t *testing.T) {
	c := imageChange()
	for name, tt := range map[string]struct {
		change func() *Change
		rego   string // holds for input
	}{
		"a request": {func() *Change { return c }, `
			input.operation == "UPDATE"
			input.subResource == ""
			input.dryRun == false
			input.userInfo == {"username": "alice", "uid": "", "groups": ["system:authenticated", "ops"], "extra": {"k": ["v"]}}
			input.kind == {"group": "apps", "version": "v1", "kind": "Deployment"}
			input.resource == {"group": "apps", "version": "v1", "resource": "deployments"}
			input.namespace == "shop"
			input.name == "web"
			input.object == {"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {"replicas": 3}}
			input.oldObject.spec.replicas == 2
			input.options == {"fieldManager": "kubectl-edit"}
			input.origin == "request"
			input.actor.person
			input.actor.confidence == "request"
			not input.actor.serviceAccount
			input.sync.namespace == "mainstay-system"
			input.sync.name == "shop"
			input.sync.labels == {"team": "shop"}
			input.sync.mode == "Enforce"
			input.source == {"repo": "https://git.example.org/shop.git", "path": "apps/web.yaml", "line": 23, "revision": "main@sha1:a1b2", "author": "Bo", "committedAt": "2026-11-23T11:00:00Z"}
			input.namespaceObject == {"labels": {"env": "prod"}, "annotations": {}}
			input.cluster == {"name": "prod", "labels": {}}
			input.time == "2026-11-23T12:00:00Z"
			some change in input.changes
			change.op == "replace"
			change.path == "spec.template.spec.containers[name=web].image"
			change.segments == ["spec", "template", "spec", "containers", "[name=web]", "image"]
			change.from == "nginx:1.27"
			change.to == "nginx:1.28"
			change.declared == true
			not change.manager`},
		"the use of a pod": {func() *Change {
			c := use("exec")
			c.Fields = imageChange().Fields // or exceptions are not asked
			return c
		}, `
			input.operation == "CONNECT"
			input.subResource == "exec"
			input.pod == {"name": "web-7d9f-abcde"}
			input.kind.kind == "Deployment"
			input.name == "web"`},
		"a service account": {func() *Change {
			c := imageChange()
			c.User = &User{Username: "system:serviceaccount:a:b"}
			return c
		}, `input.actor == {"person": false, "confidence": "request", "serviceAccount": {"namespace": "a", "name": "b"}}`},
		"a commit": {commit, `
			input.origin == "sync"
			input.actor == {"person": false, "confidence": "record", "serviceAccount": {"namespace": "mainstay-system", "name": "mainstay"}}`},
		"drift": {func() *Change { return drift(imageChange(), "operator") }, `
			not input.userInfo
			not input.options
			input.origin == "drift"
			not input.actor.person
			input.actor.confidence == "manager"
			input.changes[0].manager == "operator"`},
		"drift by a person's tool": {func() *Change { return drift(imageChange(), "kubectl-edit") }, `
			input.actor.person
			input.actor.confidence == "manager"`},
		"drift by nobody known": {func() *Change { return drift(imageChange(), "") }, `
			not input.actor.person
			input.actor.confidence == "none"`},
		"a Secret": {func() *Change {
			c := imageChange()
			c.Kind = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
			c.Object = fastjson.MustParse(`{"metadata":{"name":"web","labels":{"a":"b"},"annotations":{"x":"secret"}},"data":{"k":"c2VjcmV0"},"stringData":{"k":"secret"},"type":"Opaque"}`)
			c.Fields = []Field{
				field("data.k", `"c2VjcmV0"`, `"bmV3"`), field("metadata.annotations.x", "", `"secret"`),
				field("metadata.labels.a", `"a"`, `"b"`), field("data", "", `{"k":"secret"}`),
			}
			return c
		}, `
			input.object == {"metadata": {"name": "web", "labels": {"a": "b"}, "annotations": {"x": "hash-6"}}, "data": {"k": "hash-8"}, "stringData": {"k": "hash-6"}, "type": "Opaque"}
			input.changes[0].from == "hash-8"
			input.changes[0].to == "hash-4"
			input.changes[1].to == "hash-6"
			input.changes[2].to == "b"
			input.changes[3].to == "hash-14"`},
		"the cluster": {func() *Change { return c }, `
			data.cluster.autoscaling.HorizontalPodAutoscaler.shop.web.spec.maxReplicas == 5
			not data.cluster.autoscaling.HorizontalPodAutoscaler.shop.web.metadata.managedFields
			count(data.cluster.autoscaling.HorizontalPodAutoscaler[input.namespace]) == 1
			{ns | some ns, _ in data.cluster.autoscaling.HorizontalPodAutoscaler} == {"shop", "other"}
			data.cluster.core.Namespace[""].shop.metadata.name == "shop"
			data.cluster.core.Secret.shop.s.data.k == "hash-1"
			not data.cluster.core.ConfigMap.shop.web`},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, module("package p\n\nexception contains {\"reason\": \"r\", \"paths\": [\"**\"]} if {"+tt.rego+"\n}"))
			e.SetObject("autoscaling", "HorizontalPodAutoscaler", "shop", "web", hpaObject(1, 4))
			e.SetObject("autoscaling", "HorizontalPodAutoscaler", "other", "web", hpaObject(1, 4))
			e.Decide(t.Context(), tt.change())
			e.SetObject("autoscaling", "HorizontalPodAutoscaler", "shop", "web", hpaObject(1, 5))
			e.SetObject("", "Namespace", "", "shop", map[string]any{"metadata": map[string]any{"name": "shop"}})
			e.SetObject("", "Secret", "shop", "s", map[string]any{"data": map[string]any{"k": "x"}})
			e.SetObject("", "ConfigMap", "shop", "web", map[string]any{})
			e.DeleteObject("", "ConfigMap", "shop", "web")
			e.DeleteObject("", "ConfigMap", "nowhere", "web")
			if d := e.Decide(t.Context(), tt.change()); d.Verdict != Permit {
				t.Errorf("Decide = %+v", d)
			}
		})
	}
}

func TestNeeds(t *testing.T) {
	e := newEngine(t)
	hpas := schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}
	changed := e.NeedsChanged()
	if diff := cmp.Diff([]schema.GroupKind{hpas}, e.Needs()); diff != "" {
		t.Errorf("Needs (-want +got):\n%s", diff)
	}
	s := module(`package p

import data.cluster.core.ConfigMap as configs

deny contains {"reason": "r"} if configs.shop.freeze

deny contains {"reason": "r"} if data.cluster["apps"].Deployment.shop[input.name]`)
	if _, err := e.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("NeedsChanged is not closed")
	}
	want := []schema.GroupKind{{Kind: "ConfigMap"}, {Group: "apps", Kind: "Deployment"}, hpas}
	if diff := cmp.Diff(want, e.Needs()); diff != "" {
		t.Errorf("Needs (-want +got):\n%s", diff)
	}
	changed = e.NeedsChanged()
	if _, err := e.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
		t.Error("NeedsChanged is closed although nothing changed")
	default:
	}
	e.Unload(s.Key)
	<-changed
}

func TestJudgingWhileLoading(t *testing.T) {
	e := newEngine(t)
	with := func(n int) Source {
		return module(fmt.Sprintf("package p\n\nexception contains {\"reason\": \"%d\", \"paths\": [\"**\"]} if data.cluster.core.ConfigMap.shop", n))
	}
	if _, err := e.Load(t.Context(), with(0)); err != nil {
		t.Fatal(err)
	}
	e.SetObject("", "ConfigMap", "shop", "x", map[string]any{})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if d := e.Decide(t.Context(), imageChange()); d.Verdict != Permit || len(d.Errors) > 0 {
					t.Errorf("Decide = %+v", d)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 200 {
			e.SetObject("", "ConfigMap", "shop", fmt.Sprint(i%7), map[string]any{"i": int64(i)})
		}
	})
	for i := 1; i < 16; i++ {
		if _, err := e.Load(t.Context(), with(i)); err != nil {
			t.Error(err)
		}
		if _, err := e.Load(t.Context(), module("package p\n\nnonsense")); err == nil {
			t.Error("nonsense loads")
		}
	}
	close(stop)
	wg.Wait()
}

// TestTheIndexChangesNoVerdict compares OPA's rule index and early exit with
// plain evaluation: both had errors in past releases.
func TestTheIndexChangesNoVerdict(t *testing.T) {
	sources := []Source{
		{Key: "a", Modules: map[string]string{"a.rego": `package a

import data.mainstay.lib

exception contains {"reason": "in", "paths": ["**.image"]} if input.name in {"x", input.namespace, "web"}

exception contains {"reason": "prefix", "paths": ["spec.replicas"]} if startswith(input.userInfo.username, "al")

exception contains {"reason": "glob", "paths": ["metadata.labels.*"]} if glob.match("sh*", [], input.namespace)

exception contains {"reason": "group", "paths": ["spec.paused"]} if lib.by_group("ops")

deny contains {"reason": "frozen"} if {
	input.kind.kind == "Deployment"
	input.changes[_].to == 99
}

deny contains {"reason": "never"} if not input.userInfo.username in {"alice", "bo", "system:serviceaccount:a:b"}

deny contains {"reason": "by a helper"} if {
	input.namespace == "payments"
	input.operation == "UPDATE"
	input.userInfo.username == "bo"
	foreign
}

foreign if {
	some container in input.object.spec.template.spec.containers
	not startswith(container.image, "registry.example.org/")
}

deny contains {"reason": "no owner"} if {
	input.namespace == "shop"
	input.origin == "drift"
	not input.oldObject.metadata.labels.owner
	input.changes[_].to == 99
}

exception contains {"reason": "as if by somebody else", "paths": ["spec.y"]} if {
	input.namespace == "shop"
	changed_by_ops with input.object as {"metadata": {"labels": {"team": "ops"}}}
}

changed_by_ops if input.object.metadata.labels.team == "ops"`}},
		{Key: "b", Exceptions: []v1alpha1.Exception{{Reason: "x", Kinds: []string{"Deployment"}, Names: []string{"w*"}, Paths: []string{"spec.x"}}}},
	}
	fast, plain := newEngine(t, sources...), newEngine(t, sources...)
	plain.evalOptions, plain.asksAll = []rego.EvalOption{rego.EvalRuleIndexing(false), rego.EvalEarlyExit(false)}, true
	paths := []string{"spec.template.spec.containers[name=web].image", "spec.replicas", "metadata.labels.a", "spec.paused", "spec.x", "spec.y"}
	verdicts := map[Verdict]int{}
	for _, user := range []string{"alice", "bo", "eve", "system:serviceaccount:a:b", ""} {
		for _, namespace := range []string{"shop", "payments"} {
			for _, to := range []string{"1", "99"} {
				for i := range paths {
					change := func() *Change {
						c := imageChange()
						c.User.Username, c.Record.Namespace = user, namespace
						c.Fields = []Field{field(paths[i], "0", to), undeclared(field(paths[0], "0", "1"))}
						if user == "" {
							drift(c, "m")
						}
						return c
					}
					a, b := fast.Decide(t.Context(), change()), plain.Decide(t.Context(), change())
					verdicts[a.Verdict]++
					if a.Verdict != b.Verdict || a.Class != b.Class || a.Rule != b.Rule || a.Reason != b.Reason {
						t.Errorf("%s %s %s %s: with the index %s %s, without %s %s", user, namespace, to, paths[i], a.Verdict, a.Reason, b.Verdict, b.Reason)
					}
				}
			}
		}
	}
	if verdicts[Permit] == 0 || verdicts[Refuse] == 0 {
		t.Errorf("the corpus has only one verdict: %v", verdicts)
	}
}

// BenchmarkLoad loads 100 modules at once.
func BenchmarkLoad(b *testing.B) {
	e := newEngine(b)
	for i := 0; b.Loop(); i++ {
		modules := map[string]string{}
		for j := range 100 {
			modules[fmt.Sprintf("p%d.rego", j)] = fmt.Sprintf("package p%d\n\n"+
				"exception contains {\"reason\": \"%d\", \"paths\": [\"spec.replicas\"]} if input.name == \"web-%d\"", j, i, j)
		}
		if _, err := e.Load(b.Context(), Source{Key: "k", Modules: modules}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDecisionID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewDecisionID()
		if len(id) != 7 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789") != "" || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

// BenchmarkDecide judges with 20 policies loaded.
func BenchmarkDecide(b *testing.B) {
	modules := map[string]string{}
	for i := range 20 {
		modules[fmt.Sprintf("p%d.rego", i)] = fmt.Sprintf(`package p%d

exception contains {"reason": "r", "paths": ["spec.replicas"]} if {
	input.kind.kind == "Deployment"
	input.name == "web-%d"
}`, i, i)
	}
	e := newEngine(b, Source{Key: "k", Modules: modules})
	for name, f := range map[string]Field{
		"refused":   field("spec.template.spec.containers[name=web].image", `"a"`, `"b"`),
		"permitted": field("spec.replicas", "1", "2"),
	} {
		b.Run(name, func(b *testing.B) {
			c := imageChange()
			c.Fields = []Field{f}
			if name == "permitted" {
				c.Record.Name = "web-7"
			}
			b.ReportAllocs()
			for b.Loop() {
				if d := e.Decide(b.Context(), c); (d.Verdict == Permit) != (name == "permitted") {
					b.Fatalf("%+v", d)
				}
			}
		})
	}
}
