// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fastjson"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// recordings are the reviews that a real API server sent, by name.
func recordings(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/reviews/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 30 {
		t.Fatalf("%d recorded reviews", len(files))
	}
	out := map[string][]byte{}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(file), ".json")] = body
	}
	return out
}

// entryOf is the entry that a review is sent to.
func entryOf(name string) string {
	switch {
	case strings.HasPrefix(name, "scale"):
		return EntryScale
	case strings.Contains(name, "status"), strings.Contains(name, "finalize"):
		return EntryStatus
	case strings.HasPrefix(name, "pod-") && name != "pod-create":
		return EntryConnect
	case strings.Contains(name, "create"):
		return EntryCreated
	}
	return EntryHeld
}

// TestRecordedReviewsAreRead reads each recorded review as encoding/json does.
func TestRecordedReviewsAreRead(t *testing.T) {
	for name, body := range recordings(t) {
		t.Run(name, func(t *testing.T) {
			var review admissionv1.AdmissionReview
			if err := json.Unmarshal(body, &review); err != nil {
				t.Fatal(err)
			}
			var parser fastjson.Parser
			got, err := decode(&parser, entryOf(name), body)
			if err != nil {
				t.Fatal(err)
			}
			want := review.Request
			if string(got.operation) != string(want.Operation) || got.subResource != want.SubResource || got.username() != want.UserInfo.Username ||
				got.kind.Kind != want.Kind.Kind || got.kind.Version != want.Kind.Version || got.kind.Group != want.Kind.Group ||
				got.resource.Resource != want.Resource.Resource || got.dryRun != (want.DryRun != nil && *want.DryRun) {
				t.Errorf("read %+v", got)
			}
			if (got.object != nil) != (want.Object.Raw != nil) || (got.oldObject != nil) != (want.OldObject.Raw != nil) {
				t.Errorf("objects: %v, %v", got.object != nil, got.oldObject != nil)
			}
			if got.id.Name == "" || want.Name != "" && got.id.Name != want.Name {
				t.Errorf("name %q, want %q", got.id.Name, want.Name)
			}
			user := got.user()
			if !reflect.DeepEqual(user.Groups, want.UserInfo.Groups) || len(user.Extra) != len(want.UserInfo.Extra) {
				t.Errorf("user %+v", user)
			}
		})
	}
}

// TestRecordedReviewsAreJudged declares the recorded Deployment as it was first
// applied, and has the recorded requests judged.
func TestRecordedReviewsAreJudged(t *testing.T) {
	x := recordedIndex(t)
	reviews := recordings(t)
	for name, want := range map[string]string{
		"update-put":                      "spec.template.spec.containers[name=web].image",
		"update-json-patch":               "spec.replicas",
		"update-merge-patch":              "spec.template.metadata.annotations.a",
		"update-strategic-merge-patch":    "spec.template.spec.containers[name=sidecar]",
		"update-dry-run":                  "spec.replicas",
		"update-managed-fields-wiped":     "managedFields may not be wiped",
		"update-owner":                    "metadata.ownerReferences",
		"update-owner-removed":            "",
		"update-label-removed":            `metadata.labels["mainstay.dev/sync"]`,
		"update-while-deleting":           "",
		"scale":                           "spec.replicas",
		"scale-to-none":                   "asked: 0",
		"status":                          "metadata.annotations.evil",
		"status-by-deployment-controller": "",
		"create-apply":                    "",
		"delete":                          "to delete it, remove it there",
		"delete-collection":               "", // of ConfigMaps, which git does not declare
		"secret-update":                   "",
		"pod-exec":                        "could not find out",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, x, func(o *Options) { o.Judge = engine(t, policy.Options{}) })
			w := f.serve(entryOf(name), "?timeout=3s", strings.NewReader(string(reviews[name])))
			var review admissionv1.AdmissionReview
			if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || review.Response == nil {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			if review.Response.Allowed != (want == "") {
				t.Fatalf("allowed = %v: %+v", review.Response.Allowed, review.Response.Result)
			}
			if want != "" && !strings.Contains(review.Response.Result.Message, want) {
				t.Errorf("refused with %q, want %q", review.Response.Result.Message, want)
			}
		})
	}
}

// recordedIndex declares the Deployment of the recorded reviews.
func recordedIndex(t testing.TB) *ownership.Index {
	t.Helper()
	var review struct {
		Request struct{ Object map[string]any }
	}
	if err := json.Unmarshal(recordings(t)["create-apply"], &review); err != nil {
		t.Fatal(err)
	}
	object := review.Request.Object
	metadata := object["metadata"].(map[string]any)
	entry := metadata["managedFields"].([]any)[0].(map[string]any)
	fields, err := json.Marshal(entry["fieldsV1"])
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"managedFields", "uid", "generation", "creationTimestamp"} {
		delete(metadata, key)
	}
	delete(object, "status")
	baseline, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	x := ownership.NewIndex()
	if err := x.Replace(syncHead(v1alpha1.ModeEnforce), []*ownership.Entry{
		{ID: web, Version: "v1", Resource: "deployments", Applied: bareContent(string(baseline), string(fields))},
	}); err != nil {
		t.Fatal(err)
	}
	return x
}

func FuzzDecode(f *testing.F) {
	for _, body := range recordings(f) {
		f.Add(string(body))
	}
	f.Add(deployment("UPDATE", live(f), live(f, image("nginx:1.28"))).body(f))
	f.Add(scaleReview(f, 2, 5).body(f))
	f.Add(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"x"}}`)
	x := recordedIndex(f)
	f.Fuzz(func(t *testing.T, body string) {
		for _, entry := range entries() {
			var parser fastjson.Parser
			req, err := decode(&parser, entry, []byte(body))
			if err != nil {
				continue
			}
			switch {
			case req.id.Name == "" || req.id.Kind == "" || req.kind.Version == "" || req.resource.Resource == "":
				t.Errorf("accepted without identity: %+v", req)
			case entry == EntryConnect && !slices.Contains(podSubresources[req.operation], req.subResource):
				t.Errorf("accepted %s of %q", req.operation, req.subResource)
			case entry != EntryConnect && (req.operation != policy.Delete && req.object == nil || req.operation != policy.Create && req.oldObject == nil):
				t.Errorf("accepted %s without objects", req.operation)
			}
			var uid string
			if err := json.Unmarshal(req.uid, &uid); err != nil || uid == "" {
				t.Errorf("accepted uid %s: %v", req.uid, err)
			}
		}
		fixture := newFixture(t, x)
		for _, entry := range entries() {
			w := fixture.serve(entry, "?timeout=1s", strings.NewReader(body))
			if w.Code != http.StatusOK && strings.Contains(w.Body.String(), `"allowed":true`) {
				t.Errorf("status %d permits: %s", w.Code, w.Body)
			}
			if w.Code == http.StatusOK && !json.Valid(w.Body.Bytes()) {
				t.Errorf("the answer is no JSON: %s", w.Body)
			}
		}
		for _, err := range fixture.errors {
			if strings.Contains(err.Error(), "panic") {
				t.Error(err)
			}
		}
	})
}

// FuzzAdmit makes any object of what a person asks for: where it differs from
// the declared one in a field that git sets, it is refused.
func FuzzAdmit(f *testing.F) {
	x := recordedIndex(f)
	record, ok := x.Lookup(web)
	if !ok {
		f.Fatal("the Deployment is not declared")
	}
	for name, body := range recordings(f) {
		if !strings.HasPrefix(name, "update-") {
			continue
		}
		var review struct {
			Request struct{ Object, OldObject json.RawMessage }
		}
		if err := json.Unmarshal(body, &review); err != nil {
			f.Fatal(err)
		}
		f.Add(string(review.Request.OldObject), string(review.Request.Object))
	}
	judge := engine(f, policy.Options{})
	f.Fuzz(func(t *testing.T, before, after string) {
		old, ok := asObject(before)
		if !ok {
			return
		}
		updated, ok := asObject(after)
		if !ok {
			return
		}
		// It is the declared object, whatever else it says.
		for _, o := range []map[string]any{old, updated} {
			set("web", "metadata", "name")(o)
			set(nil, "metadata", "deletionTimestamp")(o)
		}
		fixture := newFixture(t, x, func(o *Options) { o.Judge = judge })
		w := fixture.serve(EntryHeld, "?timeout=30s", strings.NewReader(deployment("UPDATE", old, updated).body(t)))
		permitted := w.Code == http.StatusOK && strings.Contains(w.Body.String(), `"allowed":true`)
		if !permitted {
			return
		}
		git, _ := asObject(string(record.Applied.Baseline))
		for _, path := range [][]string{
			{"spec", "replicas"},
			{"spec", "selector"},
			{"spec", "template", "metadata", "labels"},
			{"metadata", "labels", "app"},
			{"metadata", "labels", v1alpha1.SyncLabel},
			{"spec", "template", "spec", "containers"},
			{"metadata", "ownerReferences"},
			{"metadata", "finalizers"},
		} {
			from, to, want := at(old, path), at(updated, path), at(git, path)
			if !reflect.DeepEqual(from, to) && !reflect.DeepEqual(to, want) && !mixed(from, to, want) {
				t.Errorf("%v: %v became %v, git says %v, and alice may", path, from, to, want)
			}
		}
	})
}

// mixed tells whether all that differs between two values is as git says, or
// gone where git has nothing.
func mixed(from, to, git any) bool {
	if reflect.DeepEqual(from, to) || reflect.DeepEqual(to, git) {
		return true
	}
	switch updated := to.(type) {
	case map[string]any:
		old, _ := from.(map[string]any)
		want, _ := git.(map[string]any)
		if from != nil && old == nil {
			return false
		}
		for key := range union(old, updated) {
			if !mixed(value(old, key), value(updated, key), value(want, key)) {
				return false
			}
		}
		return true
	case nil:
		// What git has may not go; what it does not have may.
		old, ok := from.(map[string]any)
		if git == nil || !ok {
			return git == nil
		}
		want, _ := git.(map[string]any)
		return len(want) == 0 && len(old) == 0
	case []any:
		// Elements that git does not have may go, and those that it has come.
		old, _ := from.([]any)
		want, _ := git.([]any)
		for _, e := range updated {
			if !contains(old, e) && !contains(want, e) && !partly(e, old, want) {
				return false
			}
		}
		for _, e := range old {
			if contains(want, e) && !contains(updated, e) {
				return false
			}
		}
		return true
	}
	return false
}

// partly tells whether an element of a list is the one of the same name with
// nothing changed but towards git.
func partly(e any, old, want []any) bool {
	named := func(list []any, name any) any {
		for _, x := range list {
			if m, ok := x.(map[string]any); ok && reflect.DeepEqual(m["name"], name) {
				return m
			}
		}
		return nil
	}
	m, ok := e.(map[string]any)
	if !ok {
		return false
	}
	from := named(old, m["name"])
	return from != nil && mixed(from, e, named(want, m["name"]))
}

func contains(list []any, e any) bool {
	return slices.ContainsFunc(list, func(x any) bool { return reflect.DeepEqual(x, e) })
}

func union(a, b map[string]any) map[string]bool {
	all := map[string]bool{}
	for key := range a {
		all[key] = true
	}
	for key := range b {
		all[key] = true
	}
	return all
}

// value is a member, nil where there is none.
func value(m map[string]any, key string) any { return m[key] }

func at(o map[string]any, path []string) any {
	var v any = o
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// asObject reads a JSON object that says where it is.
func asObject(text string) (map[string]any, bool) {
	var o map[string]any
	if json.Unmarshal([]byte(text), &o) != nil || o == nil {
		return nil, false
	}
	if m, ok := o["metadata"]; ok {
		if _, ok := m.(map[string]any); !ok {
			return nil, false
		}
	}
	return o, true
}
