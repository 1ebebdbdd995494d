// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// statusReview is a write of the Deployment's status.
func statusReview(old, updated map[string]any) asked {
	a := deployment("UPDATE", old, updated)
	a.entry, a.subResource = EntryStatus, "status"
	return a
}

func TestStatusIsJudgedByItsMetadata(t *testing.T) {
	deleting := set("2026-11-23T11:00:00Z", "metadata", "deletionTimestamp")
	other := set("other", "metadata", "name")
	namespace := func(edits ...func(map[string]any)) map[string]any {
		object := map[string]any{"metadata": map[string]any{"name": "shop", "labels": map[string]any{"team": "shop"}}, "spec": map[string]any{"finalizers": []any{"kubernetes"}}}
		for _, edit := range edits {
			edit(object)
		}
		return object
	}
	finalize := func(old, updated map[string]any) asked {
		a := statusReview(old, updated)
		a.subResource, a.kind = "finalize", metav1.GroupVersionKind{Version: "v1", Kind: "Namespace"}
		a.resource = metav1.GroupVersionResource{Version: "v1", Resource: "namespaces"}
		return a
	}
	tests := map[string]struct {
		mode    v1alpha1.Mode
		options func(*Options)
		asked   asked
		allowed bool
		message string
		judged  bool
	}{
		"the status alone": {
			asked: statusReview(live(t), live(t, set(float64(1), "status", "replicas"))), allowed: true,
		},
		"a spec that the API server drops": {
			asked: statusReview(live(t), live(t, image("nginx:1.28"))), allowed: true,
		},
		"an annotation": {
			asked:   statusReview(live(t), live(t, set("x", "metadata", "annotations", "a"), set(float64(1), "status", "replicas"))),
			message: "metadata.annotations.a   git: (none)   asked: x", judged: true,
		},
		"the ownership label": {
			asked:   statusReview(live(t), live(t, set(nil, "metadata", "labels", "mainstay.dev/sync"))),
			message: `metadata.labels["mainstay.dev/sync"]`, judged: true,
		},
		"a finalizer": {
			asked:   statusReview(live(t), live(t, set([]any{"a/b"}, "metadata", "finalizers"))),
			message: "metadata.finalizers", judged: true,
		},
		"an owner": {
			asked:   statusReview(live(t), live(t, set([]any{map[string]any{"uid": "nobody"}}, "metadata", "ownerReferences"))),
			message: "metadata.ownerReferences", judged: true,
		},
		"a declared label back to what git says": {
			asked: statusReview(live(t, set("other", "metadata", "labels", "app")), live(t)), allowed: true,
		},
		"managedFields are wiped": {
			asked: statusReview(live(t), live(t, set([]any{}, "metadata", "managedFields"))), message: "managedFields may not be wiped",
		},
		"a finalizer leaves an object that is being deleted": {
			asked: statusReview(live(t, deleting, set([]any{"a/b"}, "metadata", "finalizers")), live(t, deleting)), allowed: true,
		},
		"in the mode Warn": {
			mode: v1alpha1.ModeWarn, asked: statusReview(live(t), live(t, set("x", "metadata", "annotations", "a"))), allowed: true, judged: true,
		},
		"while Mainstay is off": {
			options: func(o *Options) { o.Off = offSwitch(true) },
			asked:   statusReview(live(t), live(t, set("x", "metadata", "annotations", "a"))), allowed: true,
		},
		"an object that git does not declare": {
			asked: statusReview(live(t, other), live(t, other, set("x", "metadata", "annotations", "a"))), allowed: true,
		},
		"finalize changes a label": {
			asked: finalize(namespace(), namespace(set("evil", "metadata", "labels", "team"))), message: `namespaces "shop" is held by git`, judged: true,
		},
		"finalize takes the namespace's own finalizer off": {
			asked: finalize(namespace(), namespace(set([]any{}, "spec", "finalizers"))), message: "spec.finalizers", judged: true,
		},
		"finalize takes all of its spec off": {
			asked: finalize(namespace(), namespace(set(nil, "spec"))), message: "spec", judged: true,
		},
		"finalize puts another finalizer beside it": {
			asked: finalize(namespace(), namespace(set([]any{"kubernetes", "example.org/x"}, "spec", "finalizers"))), message: "spec.finalizers", judged: true,
		},
		"finalize puts the namespace's own finalizer back": {
			asked: finalize(namespace(set([]any{}, "spec", "finalizers")), namespace()), allowed: true,
		},
		"finalize of a namespace that is being deleted": {
			asked: finalize(namespace(deleting), namespace(deleting, set([]any{}, "spec", "finalizers"))), allowed: true,
		},
		"the status does not reach it": {
			asked: status(finalize(namespace(), namespace(set([]any{}, "spec", "finalizers")))), allowed: true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			x := index(t, v1alpha1.ModeEnforce)
			if test.mode != "" {
				x = index(t, test.mode)
			}
			addEntries(t, x, &ownership.Entry{
				ID: ownership.ID{Kind: "Namespace", Name: "shop"}, Version: "v1", Resource: "namespaces",
				Applied: bareContent(`{"metadata":{"name":"shop","labels":{"team":"shop"}},"spec":{"finalizers":["kubernetes"]}}`, `{"f:metadata":{"f:labels":{"f:team":{}}}}`),
			})
			f := newFixture(t, x, func(o *Options) {
				if test.options != nil {
					test.options(o)
				}
			})
			f.judge.decide = func(c *policy.Change) policy.Decision {
				if c.SubResource != test.asked.subResource {
					t.Errorf("policies see the subresource %q", c.SubResource)
				}
				return policy.Decision{ID: "7f3k2", Verdict: policy.Refuse, Class: policy.RuleDefault}
			}
			got := f.send(t, test.asked)
			if got.Allowed != test.allowed {
				t.Fatalf("allowed = %v: %+v", got.Allowed, got.Result)
			}
			if (f.judge.asked > 0) != test.judged {
				t.Errorf("judge was asked %d times", f.judge.asked)
			}
			if !test.allowed && (got.Result.Code != 403 || !strings.Contains(got.Result.Message, test.message)) {
				t.Errorf("refused with %d %q, want %q", got.Result.Code, got.Result.Message, test.message)
			}
		})
	}
}

// addEntries declares more objects by another GitSync.
func addEntries(t testing.TB, x *ownership.Index, entries ...*ownership.Entry) {
	t.Helper()
	more := syncHead(v1alpha1.ModeEnforce)
	more.Name = "more"
	if err := x.Replace(more, entries); err != nil {
		t.Fatal(err)
	}
}

func bareContent(baseline, fields string) *ownership.Content {
	c := content(baseline)
	c.Fields = []byte(fields)
	return c
}

// TestStatusOfTheRealJudge has the deployment controller count a revision, as
// it does after each rollout.
func TestStatusOfTheRealJudge(t *testing.T) {
	const revision = "deployment.kubernetes.io/revision"
	for name, test := range map[string]struct {
		undeclared v1alpha1.Undeclared
		user       string
		allowed    bool
	}{
		"the deployment controller":              {v1alpha1.UndeclaredRejectPeople, "system:serviceaccount:kube-system:deployment-controller", true},
		"the deployment controller under Reject": {v1alpha1.UndeclaredReject, "system:serviceaccount:kube-system:deployment-controller", true},
		"a person":                               {v1alpha1.UndeclaredRejectPeople, "alice", false},
		"another account under Reject":           {v1alpha1.UndeclaredReject, "system:serviceaccount:shop:ci", false},
	} {
		t.Run(name, func(t *testing.T) {
			x := ownership.NewIndex()
			head := syncHead(v1alpha1.ModeEnforce)
			head.Undeclared = test.undeclared
			if err := x.Replace(head, []*ownership.Entry{{ID: web, Version: "v1", Resource: "deployments", Applied: webContent()}}); err != nil {
				t.Fatal(err)
			}
			f := newFixture(t, x, func(o *Options) { o.Judge = engine(t, policy.Options{}) })
			a := statusReview(live(t, set("1", "metadata", "annotations", revision)), live(t, set("2", "metadata", "annotations", revision)))
			a.user = test.user
			if got := f.send(t, a); got.Allowed != test.allowed {
				t.Errorf("allowed = %v: %+v", got.Allowed, got.Result)
			}
		})
	}
}

func engine(t testing.TB, options policy.Options, modules ...string) *policy.Engine {
	t.Helper()
	e, err := policy.New(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range modules {
		if _, err := e.Load(t.Context(), policy.Source{Key: "changepolicy/mainstay-system/p", Modules: map[string]string{"p.rego": text}}); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// pod is the metadata of a pod of the Deployment web, unless edited.
func pod(edits ...func(*metav1.PartialObjectMetadata)) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: "web-7d9f-abcde", Namespace: "shop", Labels: map[string]string{"pod-template-hash": "7d9f"},
		OwnerReferences: []metav1.OwnerReference{controller("apps/v1", "ReplicaSet", "web-7d9f")},
	}}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func controller(apiVersion, kind, name string) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name, Controller: &yes}
}

func ownedBy(owners ...metav1.OwnerReference) func(*metav1.PartialObjectMetadata) {
	return func(p *metav1.PartialObjectMetadata) { p.OwnerReferences = owners }
}

// podReview is a use of a pod.
func podReview(subResource, name string) asked {
	a := asked{
		entry: EntryConnect, operation: "CONNECT", user: "alice", namespace: "shop", name: name, subResource: subResource,
		kind:     metav1.GroupVersionKind{Version: "v1", Kind: "PodExecOptions"},
		resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
		new:      map[string]any{"kind": "PodExecOptions", "apiVersion": "v1", "command": []any{"sh"}},
	}
	switch subResource {
	case "eviction":
		a.operation, a.kind = "CREATE", metav1.GroupVersionKind{Group: "policy", Version: "v1", Kind: "Eviction"}
		a.new = map[string]any{"metadata": map[string]any{"name": "another", "namespace": "shop"}}
	case "ephemeralcontainers", "resize":
		a.operation, a.kind = "UPDATE", metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}
		owner := map[string]any{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9f", "controller": true}
		metadata := map[string]any{"name": name, "namespace": "shop", "labels": map[string]any{"pod-template-hash": "7d9f"}, "ownerReferences": []any{owner}}
		a.old = map[string]any{"metadata": metadata, "spec": map[string]any{}}
		a.new = map[string]any{"metadata": metadata, "spec": map[string]any{"ephemeralContainers": []any{map[string]any{"name": "debug"}}}}
	}
	return a
}

func TestPodsOfDeclaredWorkloads(t *testing.T) {
	declared := func(group, kind, resource, name string) *ownership.Entry {
		return &ownership.Entry{
			ID: ownership.ID{Group: group, Kind: kind, Namespace: "shop", Name: name}, Version: "v1", Resource: resource,
			Applied: bareContent(`{"metadata":{"name":"`+name+`"}}`, `{"f:metadata":{"f:name":{}}}`),
		}
	}
	x := index(t, v1alpha1.ModeEnforce)
	addEntries(t, x,
		declared("apps", "StatefulSet", "statefulsets", "db"), declared("apps", "DaemonSet", "daemonsets", "agent"),
		declared("apps", "ReplicaSet", "replicasets", "set"), declared("batch", "Job", "jobs", "once"),
		declared("batch", "CronJob", "cronjobs", "nightly"), declared("", "ReplicationController", "replicationcontrollers", "old"),
		declared("example.com", "Database", "databases", "pg"), declared("", "Pod", "pods", "lone"),
	)
	for name, test := range map[string]struct {
		pod  *metav1.PartialObjectMetadata
		name string
		want string // the workload; empty: permitted without asking
	}{
		"of a Deployment":                      {pod: pod(), want: "Deployment.apps shop/web"},
		"of a Deployment, label changed":       {pod: pod(func(p *metav1.PartialObjectMetadata) { p.Labels = nil }), want: "Deployment.apps shop/web"},
		"of a declared ReplicaSet":             {pod: pod(ownedBy(controller("apps/v1", "ReplicaSet", "set"))), want: "ReplicaSet.apps shop/set"},
		"of a StatefulSet":                     {pod: pod(ownedBy(controller("apps/v1", "StatefulSet", "db"))), want: "StatefulSet.apps shop/db"},
		"of a DaemonSet":                       {pod: pod(ownedBy(controller("apps/v1", "DaemonSet", "agent"))), want: "DaemonSet.apps shop/agent"},
		"of a Job":                             {pod: pod(ownedBy(controller("batch/v1", "Job", "once"))), want: "Job.batch shop/once"},
		"of a CronJob's Job":                   {pod: pod(ownedBy(controller("batch/v1", "Job", "nightly-29384756"))), want: "CronJob.batch shop/nightly"},
		"of a ReplicationController":           {pod: pod(ownedBy(controller("v1", "ReplicationController", "old"))), want: "ReplicationController shop/old"},
		"of a custom resource":                 {pod: pod(ownedBy(controller("example.com/v1", "Database", "pg"))), want: "Database.example.com shop/pg"},
		"declared itself":                      {pod: pod(ownedBy()), name: "lone", want: "Pod shop/lone"},
		"of nothing":                           {pod: pod(ownedBy())},
		"of an owner that does not control":    {pod: pod(ownedBy(metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}))},
		"of an undeclared Deployment":          {pod: pod(ownedBy(controller("apps/v1", "ReplicaSet", "other-7d9f")))},
		"of a Job like a CronJob's":            {pod: pod(ownedBy(controller("batch/v1", "Job", "nightly-by-hand")))},
		"of a namesake of another group":       {pod: pod(ownedBy(controller("example.com/v1", "StatefulSet", "db")))},
		"of a ReplicaSet of another group":     {pod: pod(ownedBy(controller("example.com/v1", "ReplicaSet", "web-7d9f")))},
		"of a StatefulSet called like a pod's": {pod: pod(ownedBy(controller("apps/v1", "StatefulSet", "web-7d9f")))},
	} {
		t.Run(name, func(t *testing.T) {
			if test.name == "" {
				test.name = "web-7d9f-abcde"
			}
			questions := 0
			f := newFixture(t, x, func(o *Options) {
				o.Pod = func(_ context.Context, namespace, name string) (*metav1.PartialObjectMetadata, error) {
					questions++
					if namespace != "shop" || name != test.name {
						t.Errorf("asked for pod %s/%s", namespace, name)
					}
					return test.pod, nil
				}
			})
			judged := ""
			f.judge.decide = func(c *policy.Change) policy.Decision {
				judged = c.ID().String()
				if c.Pod != test.name || c.Operation != policy.Connect || c.SubResource != "exec" || !c.Use() {
					t.Errorf("judged %s of %q with %q", c.Operation, c.Pod, c.SubResource)
				}
				if c.Kind.Kind != c.Record.Kind || c.Object == nil || c.User == nil {
					t.Errorf("policies see %+v", c)
				}
				return policy.Decision{ID: "7f3k2", Verdict: policy.Permit, Class: policy.RuleGit}
			}
			got := f.send(t, podReview("exec", test.name))
			if !got.Allowed || judged != test.want {
				t.Errorf("allowed = %v, judged %q, want %q", got.Allowed, judged, test.want)
			}
			if questions != 1 {
				t.Errorf("%d questions for the pod", questions)
			}
			if len(f.recorder.decisions) > 0 {
				t.Errorf("a plain permit was recorded: %+v", f.recorder.decisions)
			}
		})
	}
}

const noShells = `package p

deny contains {"reason": sprintf("no %s in payments", [input.subResource])} if {
	input.subResource in {"exec", "attach", "portforward", "eviction", "ephemeralcontainers", "resize"}
	input.kind.kind == "Deployment"
	input.pod.name == "web-7d9f-abcde"
}`

func TestPodsAreRefusedByDenyRulesAlone(t *testing.T) {
	loop := "package p\n\ndeny contains {\"reason\": \"r\"} if {\n\tinput.subResource == \"exec\"\n\tcount([1 | some i in numbers.range(1, 5000); some j in numbers.range(1, 5000); i * j < 0]) > 0\n}"
	tests := map[string]struct {
		mode     v1alpha1.Mode
		policy   string
		find     func(context.Context, string, string) (*metav1.PartialObjectMetadata, error)
		options  func(*Options)
		asked    asked
		allowed  bool
		message  string
		recorded bool
	}{
		"exec":                                  {policy: noShells, asked: podReview("exec", "web-7d9f-abcde"), message: `pods/exec "web-7d9f-abcde" of deployments.apps "web" (namespace shop) is refused: no exec in payments`, recorded: true},
		"attach":                                {policy: noShells, asked: podReview("attach", "web-7d9f-abcde"), message: "no attach in payments", recorded: true},
		"portforward":                           {policy: noShells, asked: podReview("portforward", "web-7d9f-abcde"), message: "no portforward in payments", recorded: true},
		"eviction":                              {policy: noShells, asked: podReview("eviction", "web-7d9f-abcde"), message: "no eviction in payments", recorded: true},
		"ephemeralcontainers":                   {policy: noShells, asked: podReview("ephemeralcontainers", "web-7d9f-abcde"), message: "no ephemeralcontainers in payments", recorded: true},
		"resize":                                {policy: noShells, asked: podReview("resize", "web-7d9f-abcde"), message: "no resize in payments", recorded: true},
		"another pod":                           {policy: noShells, asked: podReview("exec", "web-7d9f-other"), allowed: true},
		"no deny rule":                          {asked: podReview("exec", "web-7d9f-abcde"), allowed: true},
		"no deny rule, by the pod's own review": {asked: podReview("resize", "web-7d9f-abcde"), allowed: true},
		"in the mode Audit":                     {mode: v1alpha1.ModeAudit, policy: noShells, asked: podReview("exec", "web-7d9f-abcde"), allowed: true, recorded: true},
		"in the mode Observe":                   {mode: v1alpha1.ModeObserve, policy: noShells, asked: podReview("exec", "web-7d9f-abcde"), allowed: true, recorded: true},
		"while Mainstay is off":                 {policy: noShells, options: func(o *Options) { o.Off = offSwitch(true) }, asked: podReview("exec", "web-7d9f-abcde"), allowed: true, recorded: true},
		"a pod that is gone": {
			policy: noShells, asked: podReview("exec", "web-7d9f-abcde"), allowed: true,
			find: func(context.Context, string, string) (*metav1.PartialObjectMetadata, error) {
				return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "web-7d9f-abcde")
			},
		},
		"a pod that can't be read": {
			policy: noShells, asked: podReview("exec", "web-7d9f-abcde"), message: "could not find out which workload the pod belongs to", recorded: true,
			find: func(context.Context, string, string) (*metav1.PartialObjectMetadata, error) {
				return nil, errors.New("no quorum")
			},
		},
		"a question that takes too long": {
			policy: noShells, asked: podReview("exec", "web-7d9f-abcde"), message: "could not find out which workload the pod belongs to", recorded: true,
			find: func(ctx context.Context, _, _ string) (*metav1.PartialObjectMetadata, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		},
		"a pod that can't be read while Mainstay is off": {
			policy: noShells, options: func(o *Options) { o.Off = offSwitch(true) }, asked: podReview("exec", "web-7d9f-abcde"), allowed: true,
			find: func(context.Context, string, string) (*metav1.PartialObjectMetadata, error) {
				return nil, errors.New("no quorum")
			},
		},
		"nobody to ask": {
			policy: noShells, asked: podReview("exec", "web-7d9f-abcde"), message: "could not find out", recorded: true,
			options: func(o *Options) { o.Pod = nil },
		},
		"a deny rule that is too slow": {policy: loop, asked: podReview("exec", "web-7d9f-abcde"), message: "could not be judged", recorded: true},
		"a dry run": {policy: noShells, message: "no eviction in payments", asked: func() asked {
			a := podReview("eviction", "web-7d9f-abcde")
			a.dryRun = true
			return a
		}()},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			mode := test.mode
			if mode == "" {
				mode = v1alpha1.ModeEnforce
			}
			f := newFixture(t, index(t, mode), func(o *Options) {
				o.Pod = func(context.Context, string, string) (*metav1.PartialObjectMetadata, error) { return pod(), nil }
				if test.find != nil {
					o.Pod = test.find
				}
				if o.Judge = engine(t, policy.Options{}); test.policy != "" {
					o.Judge = engine(t, policy.Options{}, test.policy)
				}
				if test.options != nil {
					test.options(o)
				}
			})
			got := f.send(t, test.asked)
			if got.Allowed != test.allowed {
				t.Fatalf("allowed = %v: %+v", got.Allowed, got.Result)
			}
			if (len(f.recorder.decisions) > 0) != test.recorded {
				t.Errorf("recorded %+v", f.recorder.decisions)
			}
			if !test.allowed && (got.Result.Code != 403 || !strings.Contains(got.Result.Message, test.message)) {
				t.Errorf("refused with %d %q, want %q", got.Result.Code, got.Result.Message, test.message)
			}
		})
	}
}

func TestPodsThatGitDeclares(t *testing.T) {
	x := index(t, v1alpha1.ModeEnforce)
	lone := &ownership.Entry{
		ID: ownership.ID{Kind: "Pod", Namespace: "shop", Name: "lone"}, Version: "v1", Resource: "pods",
		Applied: bareContent(`{"metadata":{"name":"lone","namespace":"shop"},"spec":{"containers":[{"name":"a","image":"nginx:1.27"}]}}`,
			`{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{}}}}}`),
	}
	addEntries(t, x, lone)
	deleted := metav1.NewTime(time.Now())
	for name, test := range map[string]struct {
		asked   asked
		pod     *metav1.PartialObjectMetadata
		policy  string
		allowed bool
		message string
	}{
		"an eviction is a deletion":             {asked: podReview("eviction", "lone"), message: `pods/eviction "lone" (namespace shop) is held by git: to delete it, remove it there`},
		"an eviction that an exception permits": {asked: podReview("eviction", "lone"), allowed: true, policy: "package p\n\nexception contains {\"reason\": \"drained\"} if {\n\tinput.operation == \"DELETE\"\n\tinput.subResource == \"eviction\"\n}"},
		"a pod that is being deleted":           {asked: podReview("eviction", "lone"), pod: pod(ownedBy(), func(p *metav1.PartialObjectMetadata) { p.DeletionTimestamp = &deleted }), allowed: true},
		"a shell is none":                       {asked: podReview("exec", "lone"), allowed: true},
		"an ephemeral container is a change":    {asked: podReview("ephemeralcontainers", "lone"), message: "spec.ephemeralContainers"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, x, func(o *Options) {
				o.Judge = engine(t, policy.Options{})
				if test.policy != "" {
					o.Judge = engine(t, policy.Options{}, test.policy)
				}
				o.Pod = func(context.Context, string, string) (*metav1.PartialObjectMetadata, error) {
					if test.pod != nil {
						return test.pod, nil
					}
					return pod(ownedBy()), nil
				}
			})
			got := f.send(t, test.asked)
			if got.Allowed != test.allowed {
				t.Fatalf("allowed = %v: %+v", got.Allowed, got.Result)
			}
			if !test.allowed && !strings.Contains(got.Result.Message, test.message) {
				t.Errorf("refused with %q, want %q", got.Result.Message, test.message)
			}
		})
	}
}

func TestObserveRecordsAndPermits(t *testing.T) {
	unlabelled := set(nil, "metadata", "labels", "mainstay.dev/sync")
	drifted := set(float64(3), "spec", "replicas")
	review := func(operation string, old, updated map[string]any) asked {
		a := deployment(operation, old, updated)
		a.entry = EntryObserved
		return a
	}
	tests := map[string]struct {
		mode     v1alpha1.Mode
		judge    func(*policy.Change) policy.Decision
		asked    asked
		recorded policy.Verdict // empty: nothing, but what git says
		fields   string
	}{
		"a declared field is changed": {
			asked:    review("UPDATE", live(t, unlabelled), live(t, unlabelled, image("nginx:1.28"))),
			recorded: policy.Refuse, fields: "spec.template.spec.containers[name=web].image",
		},
		"what differed already is not this request's": {
			asked:    review("UPDATE", live(t, unlabelled, drifted), live(t, unlabelled, drifted, image("nginx:1.28"))),
			recorded: policy.Refuse, fields: "spec.template.spec.containers[name=web].image",
		},
		"what differed already stays": {
			asked: review("UPDATE", live(t, unlabelled, drifted), live(t, unlabelled, drifted, set("x", "status", "phase"))),
		},
		"towards git": {
			asked: review("UPDATE", live(t, unlabelled, drifted), live(t, unlabelled)),
		},
		"our label comes": {
			asked: review("UPDATE", live(t, unlabelled), live(t)),
		},
		"a deletion": {
			asked: review("DELETE", live(t, unlabelled), nil), recorded: policy.Refuse,
		},
		"a judge that panics": {
			judge: func(*policy.Change) policy.Decision { panic("boom") },
			asked: review("DELETE", live(t, unlabelled), nil),
		},
		"what an exception permits is not remembered": {
			judge: func(c *policy.Change) policy.Decision {
				return policy.Decision{ID: "7f3k2", Verdict: policy.Permit, Class: policy.RulePolicy, Warnings: []string{"soon over"}, Permits: []policy.Permitted{{Field: c.Fields[0], Recorded: true}}}
			},
			asked:    review("UPDATE", live(t, unlabelled), live(t, unlabelled, image("nginx:1.28"))),
			recorded: policy.Permit, fields: "spec.template.spec.containers[name=web].image",
		},
		"an object that is held": {
			mode:  v1alpha1.ModeEnforce,
			asked: review("UPDATE", live(t), live(t, image("nginx:1.28"))),
		},
		"by the entry held, which sees a label from former times": {
			asked: deployment("UPDATE", live(t), live(t, image("nginx:1.28"))),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			mode := test.mode
			if mode == "" {
				mode = v1alpha1.ModeObserve
			}
			x := index(t, mode, func(e *ownership.Entry) { e.Attempted, e.Applied = e.Applied, nil })
			f := newFixture(t, x)
			fields := ""
			f.judge.decide = func(c *policy.Change) policy.Decision {
				for _, field := range c.Fields {
					fields += field.Path.String()
				}
				if test.judge != nil {
					return test.judge(c)
				}
				return policy.Decision{ID: "7f3k2", Verdict: policy.Refuse, Class: policy.RuleDefault}
			}
			got := f.send(t, test.asked)
			if !got.Allowed || len(got.Warnings) > 0 {
				t.Errorf("allowed = %v, warnings %q", got.Allowed, got.Warnings)
			}
			var recorded policy.Verdict
			for _, d := range f.recorder.decisions {
				if d.Class != policy.RuleGit {
					recorded = d.Verdict
				}
			}
			if recorded != test.recorded || fields != test.fields {
				t.Errorf("recorded %q for %q, want %q for %q", recorded, fields, test.recorded, test.fields)
			}
			if f.permits.kept > 0 {
				t.Error("a permit was kept")
			}
		})
	}
}

func TestALaggingIndexDoesNotHoldUpADeletion(t *testing.T) {
	deleting := set("2026-11-23T11:00:00Z", "metadata", "deletionTimestamp")
	finalizer := set([]any{"a/b"}, "metadata", "finalizers")
	status := func(a asked) asked {
		a.entry, a.subResource = EntryStatus, "status"
		return a
	}
	nameless := deployment("DELETE", live(t), nil) // as deletecollection sends it
	generated := deployment("UPDATE", live(t, set("web-", "metadata", "generateName")), live(t, set("web-", "metadata", "generateName"), image("nginx:1.28")))
	copied := set("shop.0123456789ab", "metadata", "labels", "mainstay.dev/sync")
	tests := map[string]struct {
		asked       asked
		terminating bool
		code        int32 // zero: permitted
	}{
		"an update":                         {asked: deployment("UPDATE", live(t), live(t, image("nginx:1.28"))), code: 409},
		"a label taken off":                 {asked: deployment("UPDATE", live(t), live(t, set(nil, "metadata", "labels", "mainstay.dev/sync"))), code: 409},
		"a deletion":                        {asked: deployment("DELETE", live(t), nil), code: 409},
		"a deletion without a name":         {asked: nameless, code: 409},
		"generateName beside a name":        {asked: generated, code: 409},
		"a status that changes a label":     {asked: status(deployment("UPDATE", live(t), live(t, set("x", "metadata", "labels", "x")))), code: 409},
		"a deletion that has begun":         {asked: deployment("DELETE", live(t, deleting), nil)},
		"a deletion with its namespace":     {asked: deployment("DELETE", live(t), nil), terminating: true},
		"a finalizer that is done":          {asked: deployment("UPDATE", live(t, deleting, finalizer), live(t, deleting))},
		"a finalizer that comes":            {asked: deployment("UPDATE", live(t, deleting), live(t, deleting, finalizer)), code: 409},
		"a change of what is being deleted": {asked: deployment("UPDATE", live(t, deleting, finalizer), live(t, deleting, image("nginx:1.28"))), code: 409},
		"a copied label":                    {asked: deployment("UPDATE", live(t, copied), live(t, copied, image("nginx:1.28")))},
		"a label that is new":               {asked: deployment("UPDATE", live(t, copied), live(t, image("nginx:1.28")))},
		"a scale":                           {asked: scaleReview(t, 2, 5)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := ownership.NewIndex()
			if err := x.Replace(syncHead(v1alpha1.ModeEnforce), nil); err != nil {
				t.Fatal(err)
			}
			f := newFixture(t, x, func(o *Options) { o.NamespaceTerminating = func(string) bool { return test.terminating } })
			got := f.send(t, test.asked)
			if got.Allowed != (test.code == 0) {
				t.Fatalf("allowed = %v: %+v", got.Allowed, got.Result)
			}
			if test.code != 0 && got.Result.Code != test.code {
				t.Errorf("refused with %d: %s", got.Result.Code, got.Result.Message)
			}
		})
	}
}
