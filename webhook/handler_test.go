// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

const (
	syncAccount = "system:serviceaccount:mainstay-system:mainstay"
	ownSpace    = "mainstay-system"
	pathToken   = "0123456789abcdef0123456789abcdef"
)

var (
	web   = ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	shop  = types.NamespacedName{Namespace: ownSpace, Name: "shop"}
	clock = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

const (
	baseline = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"shop","labels":{"app":"web","mainstay.dev/sync":"%s"}},` +
		`"spec":{"replicas":2,"revisionHistoryLimit":10,"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.27"}]}}}}`
	fieldsV1 = `{"f:metadata":{"f:labels":{"f:app":{},"f:mainstay.dev/sync":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:name":{},"f:image":{}}}}}}}`
)

func content(baseline string) *ownership.Content {
	return &ownership.Content{
		Revision: ownership.Revision{Name: "main@sha1:a1b2c3d4", Commit: "a1b2c3d4e5", Author: "Bo", Time: clock.Add(-72 * time.Hour)},
		File:     "apps/web.yaml", Line: 23, Baseline: json.RawMessage(baseline), Fields: json.RawMessage(fieldsV1),
	}
}

func webContent() *ownership.Content {
	return content(fmt.Sprintf(baseline, ownership.LabelValue(shop, web)))
}

type entryOption func(*ownership.Entry)

func index(t testing.TB, mode v1alpha1.Mode, options ...entryOption) *ownership.Index {
	t.Helper()
	e := &ownership.Entry{ID: web, Version: "v1", Resource: "deployments", Applied: webContent()}
	for _, o := range options {
		o(e)
	}
	widget := &ownership.Entry{
		ID:      ownership.ID{Group: "example.com", Kind: "Widget", Namespace: "widgets", Name: "one"},
		Version: "v1", Resource: "widgets", Applied: content(`{"metadata":{"name":"one"}}`),
	}
	x := ownership.NewIndex()
	if err := x.Replace(syncHead(mode), []*ownership.Entry{e, widget}); err != nil {
		t.Fatal(err)
	}
	return x
}

func syncHead(mode v1alpha1.Mode) *ownership.Sync {
	return &ownership.Sync{
		Namespace: shop.Namespace, Name: shop.Name, Mode: mode, Undeclared: v1alpha1.UndeclaredRejectPeople,
		Contact: "#shop-oncall", URL: "https://git.example.org/shop.git", Generation: 1,
		Applied: ownership.Revision{Name: "main@sha1:a1b2c3d4", Commit: "a1b2c3d4e5"},
	}
}

// live is the object as it is in the cluster.
func live(t testing.TB, edits ...func(map[string]any)) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(fmt.Sprintf(baseline, ownership.LabelValue(shop, web))), &object); err != nil {
		t.Fatal(err)
	}
	metadata := object["metadata"].(map[string]any)
	metadata["uid"], metadata["resourceVersion"] = "u-1", "5"
	var fields any
	if err := json.Unmarshal([]byte(fieldsV1), &fields); err != nil {
		t.Fatal(err)
	}
	metadata["managedFields"] = []any{map[string]any{"manager": "mainstay", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields}}
	object["status"] = map[string]any{"replicas": 2}
	for _, edit := range edits {
		edit(object)
	}
	return object
}

func set(value any, path ...string) func(map[string]any) {
	return func(object map[string]any) {
		for _, key := range path[:len(path)-1] {
			next, ok := object[key].(map[string]any)
			if !ok {
				next = map[string]any{}
				object[key] = next
			}
			object = next
		}
		if value == nil {
			delete(object, path[len(path)-1])
			return
		}
		object[path[len(path)-1]] = value
	}
}

func image(name string) func(map[string]any) {
	return set([]any{map[string]any{"name": "web", "image": name}}, "spec", "template", "spec", "containers")
}

// ownFields replaces Mainstay's entry in managedFields.
func ownFields(fields string) func(map[string]any) {
	return func(object map[string]any) {
		var v any
		if err := json.Unmarshal([]byte(fields), &v); err != nil {
			panic(err)
		}
		set([]any{map[string]any{"manager": "mainstay", "operation": "Apply", "fieldsV1": v}}, "metadata", "managedFields")(object)
	}
}

// asked is one request for a review.
type asked struct {
	entry       string
	operation   string
	user        string
	kind        metav1.GroupVersionKind
	resource    metav1.GroupVersionResource
	subResource string
	namespace   string
	old, new    map[string]any
	dryRun      bool
	// name of the request; groups of the user, beside everybody's.
	name   string
	groups []string
}

func deployment(operation string, old, updated map[string]any) asked {
	return asked{
		entry: EntryHeld, operation: operation, user: "alice", namespace: "shop", old: old, new: updated,
		kind:     metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"},
		resource: metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"},
	}
}

func (a asked) body(t testing.TB) string {
	t.Helper()
	request := map[string]any{
		"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": a.kind, "resource": a.resource, "operation": a.operation,
		"namespace": a.namespace, "subResource": a.subResource, "name": a.name, "dryRun": a.dryRun,
		"userInfo": map[string]any{"username": a.user, "groups": append([]string{"developers", "system:authenticated"}, a.groups...), "extra": map[string]any{"authentication.kubernetes.io/credential-id": []string{"JTI=1"}}},
		"object":   nil, "oldObject": nil, "options": map[string]any{"fieldManager": "kubectl-edit"},
	}
	if a.new != nil {
		request["object"] = a.new
	}
	if a.old != nil {
		request["oldObject"] = a.old
	}
	raw, err := json.Marshal(map[string]any{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

type fakeJudge struct {
	prompt bool
	decide func(*policy.Change) policy.Decision
	asked  int
}

// Prompt sends every change to a judge of its own, where it may take its time.
func (j *fakeJudge) Prompt(*policy.Change) bool { return j.prompt }

func (j *fakeJudge) Decide(_ context.Context, change *policy.Change) policy.Decision {
	j.asked++
	if j.decide != nil {
		return j.decide(change)
	}
	return policy.Decision{ID: "7f3k2", Verdict: policy.Refuse, Class: policy.RuleDefault}
}

type fakeRecorder struct{ decisions []policy.Decision }

func (r *fakeRecorder) Record(change *policy.Change, decision policy.Decision) {
	if !change.DryRun {
		r.decisions = append(r.decisions, decision)
	}
}

type fakePermits struct {
	kept int
	err  error
}

func (p *fakePermits) Keep(context.Context, *policy.Change, policy.Decision) error {
	p.kept++
	return p.err
}

type offSwitch bool

func (o offSwitch) State(time.Time) (bool, string, time.Time) {
	return bool(o), "INC-4711", clock.Add(time.Hour)
}

type fixture struct {
	handler  *Handler
	judge    *fakeJudge
	recorder *fakeRecorder
	permits  *fakePermits
	errors   []error
}

func newFixture(t testing.TB, x *ownership.Index, edits ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{judge: &fakeJudge{}, recorder: &fakeRecorder{}, permits: &fakePermits{}}
	options := Options{
		Index: x, Judge: f.judge, Recorder: f.recorder, Permits: f.permits, Namespace: ownSpace, SyncAccount: syncAccount, Token: pathToken,
		Clock: func() time.Time { return clock }, Mask: func([]byte) string { return "0123456789ab" },
		CanGet: func(context.Context, *policy.User, schema.GroupVersionResource, string, string) bool { return true },
		Error:  func(_ context.Context, err error) { f.errors = append(f.errors, err) },
	}
	for _, edit := range edits {
		edit(&options)
	}
	h, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	f.handler = h
	return f
}

func (f *fixture) send(t testing.TB, a asked) *admissionv1.AdmissionResponse {
	t.Helper()
	return f.post(t, a.entry, a.body(t))
}

func (f *fixture) post(t testing.TB, entry, body string) *admissionv1.AdmissionResponse {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, Path(pathToken, entry)+"?timeout=3s", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil {
		t.Fatalf("decode %s: %v", w.Body, err)
	}
	if review.Kind != "AdmissionReview" || review.APIVersion != "admission.k8s.io/v1" || review.Response == nil {
		t.Fatalf("not a review: %s", w.Body)
	}
	if got := review.Response.UID; got != "705ab4f5-6393-11e8-b7cc-42010a800002" {
		t.Errorf("uid = %q", got)
	}
	return review.Response
}

func TestHandlerJudgesHeldObjects(t *testing.T) {
	deleting := set("2026-11-23T11:00:00Z", "metadata", "deletionTimestamp")
	other := set("other", "metadata", "name")
	tests := map[string]struct {
		mode    v1alpha1.Mode
		entry   []entryOption
		options func(*Options)
		asked   asked
		allowed bool
		code    int32
		message string // part of it
		judged  bool
	}{
		"a declared field is changed": {
			asked: deployment("UPDATE", live(t), live(t, image("nginx:1.28"))), code: 403, judged: true,
			message: "deployments.apps \"web\" (namespace shop) is held by git\n  spec.template.spec.containers[name=web].image   git: nginx:1.27   asked: nginx:1.28\n",
		},
		"a label is added": {
			asked: deployment("UPDATE", live(t), live(t, set("x", "metadata", "labels", "team"))), code: 403, judged: true,
			message: "metadata.labels.team   git: (none)   asked: x",
		},
		"nothing but status changes": {
			asked: deployment("UPDATE", live(t), live(t, set(float64(1), "status", "replicas"))), allowed: true,
		},
		"a drifted field is set to what git says": {
			asked: deployment("UPDATE", live(t, image("nginx:1.28")), live(t)), allowed: true,
		},
		"the attempted revision says so": {
			entry: []entryOption{func(e *ownership.Entry) {
				e.Attempted = content(strings.ReplaceAll(string(e.Applied.Baseline), "nginx:1.27", "nginx:1.28"))
			}},
			asked: deployment("UPDATE", live(t), live(t, image("nginx:1.28"))), allowed: true,
		},
		"an undeclared object": {
			asked: deployment("UPDATE", live(t, other), live(t, other, image("nginx:1.28"))), allowed: true,
		},
		"the object is deleted": {
			asked: deployment("DELETE", live(t), nil), code: 403, judged: true, message: "held by git: to delete it, remove it there",
		},
		"a deletion that has begun": {
			asked: deployment("DELETE", live(t, deleting), nil), allowed: true,
		},
		"a deletion in a namespace that is being deleted": {
			options: func(o *Options) { o.NamespaceTerminating = func(name string) bool { return name == "shop" } },
			asked:   deployment("DELETE", live(t), nil), allowed: true,
		},
		"an object that is pruned": {
			entry: []entryOption{func(e *ownership.Entry) { e.Pruning = true }},
			asked: deployment("DELETE", live(t), nil), allowed: true,
		},
		"a finalizer leaves an object that is being deleted": {
			asked: deployment("UPDATE", live(t, deleting, set([]any{"a/b", "c/d"}, "metadata", "finalizers")),
				live(t, deleting, set([]any{"a/b"}, "metadata", "finalizers"))), allowed: true,
		},
		"a finalizer is added to an object that is being deleted": {
			asked: deployment("UPDATE", live(t, deleting), live(t, deleting, set([]any{"a/b"}, "metadata", "finalizers"))),
			code:  403, judged: true, message: "metadata.finalizers",
		},
		"an ownerReference is added": {
			asked: deployment("UPDATE", live(t), live(t, set([]any{map[string]any{"uid": "nobody"}}, "metadata", "ownerReferences"))),
			code:  403, judged: true, message: "metadata.ownerReferences",
		},
		"the ownership label is removed": {
			asked: deployment("UPDATE", live(t), live(t, set(nil, "metadata", "labels", "mainstay.dev/sync"))),
			code:  403, judged: true, message: `metadata.labels["mainstay.dev/sync"]`,
		},
		"managedFields are emptied": {
			asked: deployment("UPDATE", live(t), live(t, set([]any{}, "metadata", "managedFields"))),
			code:  403, message: "managedFields may not be wiped",
		},
		"our entry in managedFields is narrowed": {
			asked: deployment("UPDATE", live(t), live(t, ownFields(strings.Replace(fieldsV1, `"f:replicas":{},`, "", 1)))),
			code:  403, message: "managedFields may not be wiped",
		},
		"our entry loses a list's element": {
			asked: deployment("UPDATE", live(t), live(t, ownFields(`{"f:metadata":{"f:labels":{"f:app":{},"f:mainstay.dev/sync":{}}},"f:spec":{"f:replicas":{}}}`))),
			code:  403, message: "managedFields may not be wiped",
		},
		"someone else takes the field that they set": {
			asked: deployment("UPDATE", live(t), live(t, set(float64(5), "spec", "replicas"), ownFields(strings.Replace(fieldsV1, `"f:replicas":{},`, "", 1)))),
			code:  403, judged: true, message: "spec.replicas   git: 2   asked: 5",
		},
		"our entry loses what git no longer declares": {
			entry: []entryOption{func(e *ownership.Entry) {
				e.Attempted = webContent()
				e.Attempted.Fields = json.RawMessage(strings.Replace(fieldsV1, `"f:replicas":{},`, "", 1))
			}},
			asked: deployment("UPDATE", live(t), live(t, ownFields(strings.Replace(fieldsV1, `"f:replicas":{},`, "", 1)))), allowed: true,
		},
		"another version than git declares": {
			asked: func() asked {
				a := deployment("UPDATE", live(t), live(t))
				a.kind.Version = "v1beta1"
				return a
			}(), code: 403, message: "as apps/v1beta1",
		},
		"audit permits": {
			mode:  v1alpha1.ModeAudit,
			asked: deployment("UPDATE", live(t), live(t, image("nginx:1.28"))), allowed: true, judged: true,
		},
		"mainstay-off permits": {
			options: func(o *Options) { o.Off = offSwitch(true) },
			asked:   deployment("UPDATE", live(t), live(t, image("nginx:1.28"))), allowed: true,
		},
		"a dry run of Mainstay": {
			asked: func() asked {
				a := deployment("UPDATE", live(t), live(t, image("nginx:1.28")))
				a.user, a.dryRun = syncAccount, true
				return a
			}(), allowed: true,
		},
		"a dry run of a person": {
			asked: func() asked {
				a := deployment("UPDATE", live(t), live(t, image("nginx:1.28")))
				a.dryRun = true
				return a
			}(), code: 403, judged: true, message: "is held by git",
		},
		"Mainstay's account writes what git does not say": {
			asked: func() asked {
				a := deployment("UPDATE", live(t), live(t, image("evil")))
				a.user = syncAccount
				return a
			}(), code: 403, judged: true, message: "asked: evil",
		},
		"Mainstay's account deletes what git declares": {
			asked: func() asked {
				a := deployment("DELETE", live(t), nil)
				a.user = syncAccount
				return a
			}(), code: 403, judged: true, message: "to delete it, remove it there",
		},
		"the object is created as git says": {
			asked: func() asked {
				a := deployment("CREATE", nil, live(t, set(nil, "spec", "revisionHistoryLimit")))
				a.entry = EntryCreated
				return a
			}(), allowed: true,
		},
		"the object is created from git's own manifest": {
			asked: func() asked {
				a := deployment("CREATE", nil, live(t, set(nil, "metadata", "labels", v1alpha1.SyncLabel)))
				a.entry = EntryCreated
				return a
			}(), allowed: true,
		},
		"the object is created with another's ownership label": {
			asked: func() asked {
				a := deployment("CREATE", nil, live(t, set("other.123456789abc", "metadata", "labels", v1alpha1.SyncLabel)))
				a.entry = EntryCreated
				return a
			}(), code: 403, judged: true, message: "mainstay.dev/sync",
		},
		"the object is created otherwise": {
			asked: func() asked {
				a := deployment("CREATE", nil, live(t, image("nginx:1.28")))
				a.entry = EntryCreated
				return a
			}(), code: 403, judged: true, message: "it can only be created as git says",
		},
		"the object is created without what git declares": {
			asked: func() asked {
				a := deployment("CREATE", nil, live(t, set(nil, "metadata", "labels", "app")))
				a.entry = EntryCreated
				return a
			}(), code: 403, judged: true, message: "metadata.labels.app",
		},
		"the object is scaled": {
			asked: scaleReview(t, 2, 5), code: 403, judged: true, message: "spec.replicas   git: 2   asked: 5",
		},
		"the object is scaled to none": {
			asked: scaleReview(t, 2, 0), code: 403, judged: true, message: "spec.replicas   git: 2   asked: 0",
		},
		"the object is scaled to what git says": {
			asked: scaleReview(t, 5, 2), allowed: true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			mode := test.mode
			if mode == "" {
				mode = v1alpha1.ModeEnforce
			}
			f := newFixture(t, index(t, mode, test.entry...), func(o *Options) {
				if test.options != nil {
					test.options(o)
				}
			})
			got := f.send(t, test.asked)
			if got.Allowed != test.allowed {
				t.Fatalf("allowed = %v, want %v: %+v", got.Allowed, test.allowed, got.Result)
			}
			if (f.judge.asked > 0) != test.judged {
				t.Errorf("judge was asked %d times", f.judge.asked)
			}
			if test.allowed {
				return
			}
			if got.Result.Code != test.code || !strings.Contains(got.Result.Message, test.message) {
				t.Errorf("refused with %d %q, want %d and %q", got.Result.Code, got.Result.Message, test.code, test.message)
			}
			if n := strings.Count(got.Result.Message, "\n") + 1; n > 6 {
				t.Errorf("refusal has %d lines: %s", n, got.Result.Message)
			}
			if test.asked.dryRun && len(f.recorder.decisions) > 0 {
				t.Error("a dry run was recorded")
			}
		})
	}
}

func scaleReview(t testing.TB, from, to int) asked {
	t.Helper()
	scale := func(replicas int) map[string]any {
		spec := map[string]any{"replicas": replicas}
		if replicas == 0 {
			spec = map[string]any{}
		}
		return map[string]any{"kind": "Scale", "metadata": map[string]any{"name": "web", "namespace": "shop", "uid": "u-1"}, "spec": spec}
	}
	a := deployment("UPDATE", scale(from), scale(to))
	a.entry, a.subResource = EntryScale, "scale"
	a.kind = metav1.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}
	return a
}

func TestHandlerWaitsForALaggingIndex(t *testing.T) {
	x := ownership.NewIndex()
	if err := x.Replace(syncHead(v1alpha1.ModeEnforce), nil); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, x)
	got := f.send(t, deployment("UPDATE", live(t), live(t, image("nginx:1.28"))))
	if got.Allowed || got.Result.Code != 409 || !strings.Contains(got.Result.Message, "catching up, try again") {
		t.Errorf("a fitting label on an unknown object: %+v", got)
	}

	x.Remove(shop)
	if got := f.send(t, deployment("UPDATE", live(t), live(t, image("nginx:1.28")))); !got.Allowed {
		t.Errorf("a label of a GitSync that is gone: %+v", got.Result)
	}

	x = ownership.NewIndex()
	if err := x.Replace(syncHead(v1alpha1.ModeEnforce), nil); err != nil {
		t.Fatal(err)
	}
	f = newFixture(t, x)
	copied := set("shop.0123456789ab", "metadata", "labels", "mainstay.dev/sync")
	if got := f.send(t, deployment("UPDATE", live(t, copied), live(t, copied, image("nginx:1.28")))); !got.Allowed {
		t.Errorf("a copied label binds: %+v", got.Result)
	}

	release := deployment("UPDATE", live(t), live(t, set(nil, "metadata", "labels", "mainstay.dev/sync")))
	release.user = syncAccount
	if got := f.send(t, release); !got.Allowed {
		t.Errorf("Mainstay can't let an object go: %+v", got.Result)
	}
}

func TestHandlerRecordsPermitsBeforeItAnswers(t *testing.T) {
	permit := func(change *policy.Change) policy.Decision {
		return policy.Decision{
			ID: "7f3k2", Verdict: policy.Permit, Class: policy.RulePolicy, Rule: "hpa.exception",
			Permits: []policy.Permitted{{Field: change.Fields[0], Rule: "hpa.exception", Recorded: true}},
		}
	}
	f := newFixture(t, index(t, v1alpha1.ModeEnforce))
	f.judge.decide = permit
	review := scaleReview(t, 2, 5)
	if got := f.send(t, review); !got.Allowed || f.permits.kept != 1 {
		t.Errorf("allowed = %v, kept %d permits", got.Allowed, f.permits.kept)
	}
	review.dryRun = true
	if got := f.send(t, review); !got.Allowed || f.permits.kept != 1 {
		t.Errorf("dry run: allowed = %v, kept %d permits", got.Allowed, f.permits.kept)
	}
	review.dryRun = false
	f.permits.err = errors.New("no quorum")
	got := f.send(t, review)
	if got.Allowed || got.Result.Code != 503 || !strings.Contains(got.Result.Message, "could not record the permit") {
		t.Errorf("a permit that can't be recorded: %+v", got)
	}
}

func TestHandlerWarns(t *testing.T) {
	f := newFixture(t, index(t, v1alpha1.ModeWarn))
	got := f.send(t, deployment("UPDATE", live(t), live(t, image("nginx:1.28"))))
	if !got.Allowed || len(got.Warnings) != 1 || len([]rune(got.Warnings[0])) > 120 {
		t.Fatalf("allowed = %v, warnings %q", got.Allowed, got.Warnings)
	}
	if want := `deployments.apps "web" (namespace shop) would be refused: `; !strings.HasPrefix(got.Warnings[0], want) {
		t.Errorf("warning %q, want %q…", got.Warnings[0], want)
	}
	if len(f.recorder.decisions) != 1 || f.recorder.decisions[0].Verdict != policy.Refuse {
		t.Errorf("recorded %+v", f.recorder.decisions)
	}
}

func TestHandlerNeverPermitsAPanic(t *testing.T) {
	f := newFixture(t, index(t, v1alpha1.ModeEnforce))
	f.judge.decide = func(*policy.Change) policy.Decision { panic("boom") }
	got := f.send(t, deployment("UPDATE", live(t), live(t, image("nginx:1.28"))))
	if got.Allowed || got.Result.Code != 500 || len(f.errors) != 1 {
		t.Errorf("got %+v, errors %v", got, f.errors)
	}
	f.judge.decide = func(*policy.Change) policy.Decision { return policy.Decision{} }
	if got := f.send(t, deployment("DELETE", live(t), nil)); got.Allowed {
		t.Error("an empty decision permits")
	}
}

func TestHandlerPrintsValuesOnlyToWhoMaySeeThem(t *testing.T) {
	f := newFixture(t, index(t, v1alpha1.ModeEnforce), func(o *Options) { o.CanGet = nil })
	got := f.send(t, deployment("UPDATE", live(t), live(t, image("nginx:1.28"))))
	if strings.Contains(got.Result.String(), "nginx") || !strings.Contains(got.Result.Message, "(hash 0123456789ab)") {
		t.Errorf("refusal %s", got.Result.Message)
	}
}

func TestHandlerRefusesInWords(t *testing.T) {
	f := newFixture(t, index(t, v1alpha1.ModeEnforce))
	got := f.send(t, deployment("UPDATE", live(t), live(t, image("nginx:1.28"), set(float64(5), "spec", "replicas"))))
	want := `deployments.apps "web" (namespace shop) is held by git
  spec.replicas                                   git: 2            asked: 5
  spec.template.spec.containers[name=web].image   git: nginx:1.27   asked: nginx:1.28
  change it:  https://git.example.org/shop/blob/main/apps/web.yaml#L23   (a1b2c3d, Bo, 3 days ago)
  emergency:  kubectl mainstay breakglass request 7f3k2 --for 1h --reason "…"
  ask:        #shop-oncall`
	if diff := cmp.Diff(want, got.Result.Message); diff != "" {
		t.Errorf("refusal (-want +got):\n%s", diff)
	}
	if n := len(got.Result.Details.Causes); n != 2 {
		t.Errorf("%d causes, want 2: %+v", n, got.Result.Details)
	}
	if got.Result.Reason != metav1.StatusReasonForbidden {
		t.Errorf("reason %s", got.Result.Reason)
	}
}

func TestHandlerAnswersHTTPErrors(t *testing.T) {
	valid := deployment("DELETE", live(t), nil).body(t)
	tests := map[string]struct {
		method, path, contentType, body string
		want                            int
	}{
		"an unknown entry":       {http.MethodPost, Path(pathToken, "other"), "application/json", valid, 404},
		"another path":           {http.MethodPost, "/", "application/json", valid, 404},
		"a GET":                  {http.MethodGet, Path(pathToken, EntryHeld), "application/json", "", 405},
		"another content type":   {http.MethodPost, Path(pathToken, EntryHeld), "text/plain", valid, 415},
		"no JSON":                {http.MethodPost, Path(pathToken, EntryHeld), "application/json", "{", 400},
		"no review":              {http.MethodPost, Path(pathToken, EntryHeld), "application/json", "{}", 400},
		"a review without a uid": {http.MethodPost, Path(pathToken, EntryHeld), "application/json", strings.Replace(valid, `"uid":"705ab4f5-6393-11e8-b7cc-42010a800002"`, `"uid":""`, 1), 400},
		"an unknown operation":   {http.MethodPost, Path(pathToken, EntryHeld), "application/json", strings.Replace(valid, `"DELETE"`, `"CONNECT"`, 1), 400},
		"an old version":         {http.MethodPost, Path(pathToken, EntryHeld), "application/json", strings.Replace(valid, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1), 400},
		"a body without end":     {http.MethodPost, Path(pathToken, EntryHeld), "application/json", strings.Repeat(" ", maxBody+1), 413},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, index(t, v1alpha1.ModeEnforce))
			r := httptest.NewRequest(test.method, test.path, strings.NewReader(test.body))
			r.Header.Set("Content-Type", test.contentType)
			w := httptest.NewRecorder()
			f.handler.ServeHTTP(w, r)
			if w.Code != test.want {
				t.Errorf("status %d, want %d: %s", w.Code, test.want, w.Body)
			}
			if strings.Contains(w.Body.String(), `"allowed":true`) {
				t.Errorf("permitted: %s", w.Body)
			}
		})
	}
}

// unreadBody fails the test where it is read.
type unreadBody struct{ t *testing.T }

func (b unreadBody) Read([]byte) (int, error) {
	b.t.Error("the body was read")
	return 0, io.EOF
}

func TestHandlerLooksAtNothingWithoutTheToken(t *testing.T) {
	other := strings.Repeat("0", len(pathToken))
	for name, path := range map[string]string{
		"no token":                    "/admit/held",
		"an empty token":              "/admit//held",
		"another token":               Path(other, EntryHeld),
		"the beginning of the token":  Path(pathToken[:len(pathToken)-1], EntryHeld),
		"the token and more":          Path(pathToken+"0", EntryHeld),
		"the token in capitals":       Path(strings.ToUpper(pathToken), EntryHeld),
		"the token behind the entry":  "/admit/held/" + pathToken,
		"the token behind another":    "/admit/" + other + "/" + pathToken + "/held",
		"the token without the entry": "/" + pathToken + "/admit/held",
		"another folder":              "/admin/" + pathToken + "/held",
		"another token, other entry":  Path(other, "other"),
		"the root":                    "/",
		"the token in a query":        "/admit/held?token=" + pathToken,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, index(t, v1alpha1.ModeEnforce))
			r := httptest.NewRequest(http.MethodPost, path, unreadBody{t})
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			f.handler.ServeHTTP(w, r)
			if w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "allowed") {
				t.Errorf("answered %d %s, want 404", w.Code, w.Body)
			}
			if n := testutil.ToFloat64(f.handler.metrics.unauthenticated); n != 1 {
				t.Errorf("counted %v times, want once", n)
			}
		})
	}
}

// TestHandlerCountsNoneWithTheToken keeps a mistake in an entry apart from a
// stranger.
func TestHandlerCountsNoneWithTheToken(t *testing.T) {
	f := newFixture(t, index(t, v1alpha1.ModeEnforce))
	for _, path := range []string{Path(pathToken, EntryHeld), Path(pathToken, "other"), Path(pathToken, "")} {
		f.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, nil))
	}
	if n := testutil.ToFloat64(f.handler.metrics.unauthenticated); n != 0 {
		t.Errorf("counted %v times", n)
	}
}

func TestNewWantsATokenThatNobodyGuesses(t *testing.T) {
	for name, token := range map[string]string{
		"none": "", "a short one": pathToken[1:], "a slash": "/" + pathToken, "capitals": strings.ToUpper(pathToken), "dots": "../" + pathToken,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Options{
				Index: ownership.NewIndex(), Judge: &fakeJudge{}, Recorder: &fakeRecorder{}, Permits: &fakePermits{},
				Namespace: ownSpace, SyncAccount: syncAccount, Token: token,
			})
			if err == nil || !strings.Contains(err.Error(), "Options.Token must be at least 32 small letters and digits") {
				t.Errorf("New with the token %q: %v", token, err)
			}
			if token != "" && err != nil && strings.Contains(err.Error(), token) {
				t.Errorf("the error tells the token: %v", err)
			}
		})
	}
}
