// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

const (
	operator = "system:serviceaccount:shop:operator"

	// appBaseline has a map, a keyed list with keyed lists below, an atomic list
	// and a set.
	appBaseline = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"shop",` +
		`"labels":{"app":"web","mainstay.dev/sync":"%s"},"annotations":{"mainstay.dev/inventory":"1","note":"git"},"finalizers":["git/keep"]},` +
		`"spec":{"replicas":2,"revisionHistoryLimit":10,"paused":false,"template":{"spec":{"nodeSelector":{"zone":"a"},"containers":[` +
		`{"name":"web","image":"nginx:1.27","args":["-a","-b"],"terminationMessagePath":"/dev/termination-log",` +
		`"ports":[{"containerPort":80,"protocol":"TCP","name":"http"},{"containerPort":81,"protocol":"TCP"}]},` +
		`{"name":"log","image":"fluent:3"},{"name":"last","image":"pause:1"}]}}}}`
	appFields = `{"f:metadata":{"f:labels":{"f:app":{},"f:mainstay.dev/sync":{}},"f:annotations":{"f:mainstay.dev/inventory":{},"f:note":{}},` +
		`"f:finalizers":{".":{},"v:\"git/keep\"":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:nodeSelector":{},"f:containers":{` +
		`"k:{\"name\":\"web\"}":{".":{},"f:name":{},"f:image":{},"f:args":{},"f:ports":{` +
		`"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:name":{}},` +
		`"k:{\"containerPort\":81,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}},` +
		`"k:{\"name\":\"log\"}":{".":{},"f:name":{},"f:image":{}},"k:{\"name\":\"last\"}":{".":{},"f:name":{},"f:image":{}}}}}}}`
)

// correcting returns an index in which controllers' writes are corrected.
func correcting(t testing.TB, edits ...func(*ownership.Sync, *ownership.Entry)) *ownership.Index {
	t.Helper()
	applied := content(fmt.Sprintf(appBaseline, ownership.LabelValue(shop, web)))
	applied.Fields = json.RawMessage(appFields)
	entry := &ownership.Entry{ID: web, Version: "v1", Resource: "deployments", Applied: applied}
	sync := syncHead(v1alpha1.ModeEnforce)
	sync.Controllers = v1alpha1.ControllersCorrect
	for _, edit := range edits {
		edit(sync, entry)
	}
	x := ownership.NewIndex()
	if err := x.Replace(sync, []*ownership.Entry{entry}); err != nil {
		t.Fatal(err)
	}
	return x
}

// app is the object as it is in the cluster.
func app(t testing.TB, edits ...func(map[string]any)) map[string]any {
	t.Helper()
	object := parsed(t, fmt.Sprintf(appBaseline, ownership.LabelValue(shop, web)))
	metadata := object["metadata"].(map[string]any)
	metadata["uid"], metadata["resourceVersion"], metadata["generation"] = "u-1", "5", 7
	metadata["managedFields"] = []any{map[string]any{
		"manager": "mainstay", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": parsed(t, appFields),
	}}
	object["status"] = map[string]any{"replicas": 2}
	for _, edit := range edits {
		edit(object)
	}
	return object
}

func parsed(t testing.TB, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func containers(object map[string]any) []any {
	return object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["containers"].([]any)
}

func setContainers(edit func([]any) []any) func(map[string]any) {
	return func(object map[string]any) {
		object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["containers"] = edit(containers(object))
	}
}

func inContainer(i int, key string, value any) func(map[string]any) {
	return setContainers(func(all []any) []any {
		set(value, key)(all[i].(map[string]any))
		return all
	})
}

// accounts is a judge as the built-in policies make it: service accounts may
// set what git does not, and of the rest the paths named here.
func accounts(covered ...string) func(*policy.Change) policy.Decision {
	return func(c *policy.Change) policy.Decision {
		d := policy.Decision{ID: "7f3k2ab", Verdict: policy.Permit, Class: policy.RuleBuiltin}
		for _, f := range c.Fields {
			if !f.Declared && !c.User.Person() || slices.Contains(covered, f.Path.String()) {
				continue
			}
			d.Verdict, d.Class = policy.Refuse, policy.RuleDefault
			d.Uncovered = append(d.Uncovered, f)
		}
		return d
	}
}

func (f *fixture) correct(t testing.TB, old, updated map[string]any) *admissionv1.AdmissionResponse {
	t.Helper()
	a := deployment("UPDATE", old, updated)
	a.entry, a.user = EntryCorrect, operator
	return f.send(t, a)
}

// patched applies an answer's patch as the API server does.
func patched(t testing.TB, object map[string]any, answer *admissionv1.AdmissionResponse) map[string]any {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Patch) > 0 {
		if answer.PatchType == nil || *answer.PatchType != admissionv1.PatchTypeJSONPatch {
			t.Fatalf("patch of type %v", answer.PatchType)
		}
		patch, err := jsonpatch.DecodePatch(answer.Patch)
		if err != nil {
			t.Fatalf("decode %s: %v", answer.Patch, err)
		}
		if raw, err = patch.Apply(raw); err != nil {
			t.Fatalf("apply %s: %v", answer.Patch, err)
		}
	}
	return parsed(t, string(raw))
}

func TestAControllersWriteIsCorrected(t *testing.T) {
	tests := map[string]struct {
		edits   []func(map[string]any)
		want    []func(map[string]any) // of the object as it is
		patch   string
		warning string
		covered []string
	}{
		"a declared field has git's value again, and the rest goes through": {
			edits:   []func(map[string]any){inContainer(0, "image", "evil:1"), set("x", "metadata", "annotations", "own")},
			want:    []func(map[string]any){set("x", "metadata", "annotations", "own")},
			patch:   `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"nginx:1.27"}]`,
			warning: `deployments.apps "web" (namespace shop): spec.template.spec.containers[name=web].… was put back to git's value (7f3k2ab)`,
		},
		"several fields": {
			edits:   []func(map[string]any){set(5, "spec", "replicas"), inContainer(1, "image", "x"), set("c", "spec", "template", "spec", "nodeSelector", "zone")},
			warning: `deployments.apps "web" (namespace shop): spec.replicas and 2 more were put back to git's values (7f3k2ab)`,
		},
		"a removed field": {
			edits: []func(map[string]any){set(nil, "spec", "replicas")},
			patch: `[{"op":"add","path":"/spec/replicas","value":2}]`,
		},
		"a removed element of a keyed list stands where it was": {
			edits: []func(map[string]any){setContainers(func(all []any) []any { return all[1:] })},
		},
		"an element of git's is put back beside one that is not": {
			edits: []func(map[string]any){setContainers(func(all []any) []any {
				return []any{map[string]any{"name": "sidecar", "image": "s:1"}, all[0], all[2]}
			})},
			want: []func(map[string]any){setContainers(func(all []any) []any {
				return []any{map[string]any{"name": "sidecar", "image": "s:1"}, all[0], all[1], all[2]}
			})},
		},
		"all elements": {
			edits: []func(map[string]any){setContainers(func([]any) []any { return []any{} })},
		},
		"another order": {
			edits: []func(map[string]any){setContainers(func(all []any) []any { return []any{all[2], all[0], all[1]} })},
		},
		"an atomic list": {
			edits: []func(map[string]any){inContainer(0, "args", []any{"-a", "-c", "-b"})},
			patch: `[{"op":"remove","path":"/spec/template/spec/containers/0/args/1"}]`,
		},
		"finalizers and owners that git does not set": {
			edits: []func(map[string]any){
				set([]any{"git/keep", "evil/stay"}, "metadata", "finalizers"),
				set([]any{map[string]any{"uid": "u-9", "name": "x", "kind": "ConfigMap", "apiVersion": "v1"}}, "metadata", "ownerReferences"),
			},
			want: []func(map[string]any){},
		},
		"an owner, by a manager that says whose it is": {
			edits: []func(map[string]any){
				set([]any{map[string]any{"uid": "u-9", "name": "x", "kind": "ConfigMap", "apiVersion": "v1"}}, "metadata", "ownerReferences"),
				set([]any{
					map[string]any{"manager": "mainstay", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": parsed(t, appFields)},
					map[string]any{"manager": "x", "operation": "Update", "fieldsV1": parsed(t, `{"f:metadata":{"f:ownerReferences":{".":{},"k:{\"uid\":\"u-9\"}":{}}}}`)},
				}, "metadata", "managedFields"),
			},
			want: []func(map[string]any){set([]any{
				map[string]any{"manager": "mainstay", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": parsed(t, appFields)},
				map[string]any{"manager": "x", "operation": "Update", "fieldsV1": parsed(t, `{"f:metadata":{"f:ownerReferences":{".":{}}}}`)},
			}, "metadata", "managedFields")},
		},
		"Mainstay's label and annotations": {
			edits: []func(map[string]any){
				set(nil, "metadata", "labels", "mainstay.dev/sync"), set("9", "metadata", "annotations", "mainstay.dev/inventory"),
				set("Audit", "metadata", "annotations", "mainstay.dev/mode"),
			},
		},
		"all annotations": {
			edits: []func(map[string]any){set(nil, "metadata", "annotations")},
		},
		"an object of another form": {
			edits: []func(map[string]any){set("x", "spec", "template")},
		},
		"what an exception covers stays": {
			edits:   []func(map[string]any){set(5, "spec", "replicas"), inContainer(0, "image", "evil:1")},
			want:    []func(map[string]any){set(5, "spec", "replicas")},
			covered: []string{"spec.replicas"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, correcting(t))
			f.judge.decide = accounts(test.covered...)
			updated := app(t, test.edits...)
			answer := f.correct(t, app(t), updated)
			if !answer.Allowed || len(answer.Patch) == 0 {
				t.Fatalf("not corrected: %+v", answer)
			}
			got := patched(t, updated, answer)
			if diff := cmp.Diff(normal(t, app(t, test.want...)), normal(t, got)); diff != "" {
				t.Errorf("the object (-want +got):\n%s\npatch: %s", diff, answer.Patch)
			}
			if test.patch != "" && string(answer.Patch) != test.patch {
				t.Errorf("patch %s\nwant  %s", answer.Patch, test.patch)
			}
			if len(answer.Warnings) != 1 || len([]rune(answer.Warnings[0])) > 120 || strings.TrimSuffix(answer.Warnings[0], " (7f3k2ab)") == answer.Warnings[0] {
				t.Errorf("warnings %q", answer.Warnings)
			}
			if test.warning != "" && answer.Warnings[0] != test.warning {
				t.Errorf("warnings %q\nwant     %q", answer.Warnings, test.warning)
			}
			if len(f.recorder.decisions) != 1 || f.recorder.decisions[0].Verdict != policy.Correct {
				t.Errorf("recorded %+v", f.recorder.decisions)
			}
			f.checkSettled(t, got)
		})
	}
}

// normal is an object without lists and maps that are there and empty.
func normal(t testing.TB, object map[string]any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	object = parsed(t, string(raw))
	metadata := object["metadata"].(map[string]any)
	for _, key := range []string{"finalizers", "ownerReferences", "annotations"} {
		switch v := metadata[key].(type) {
		case []any:
			if len(v) == 0 {
				delete(metadata, key)
			}
		case map[string]any:
			if len(v) == 0 {
				delete(metadata, key)
			}
		}
	}
	return object
}

// checkSettled checks that a corrected object needs no second correction, and
// that who validates it lets it pass.
func (f *fixture) checkSettled(t testing.TB, corrected map[string]any) {
	t.Helper()
	recorded := len(f.recorder.decisions)
	if again := f.correct(t, app(t), corrected); !again.Allowed || len(again.Patch) > 0 || len(again.Warnings) > 0 {
		t.Errorf("corrected again: %s", again.Patch)
	}
	if len(f.recorder.decisions) != recorded {
		t.Error("a call that corrects nothing is recorded")
	}
	a := deployment("UPDATE", app(t), corrected)
	a.user = operator
	if answer := f.send(t, a); !answer.Allowed {
		t.Errorf("the corrected object is refused: %s", answer.Result.Message)
	}
}

func TestWhatIsNotCorrected(t *testing.T) {
	image := inContainer(0, "image", "evil:1")
	deny := func(*policy.Change) policy.Decision {
		return policy.Decision{ID: "7f3k2ab", Verdict: policy.Refuse, Class: policy.RulePolicy, Reason: "no"}
	}
	tests := map[string]struct {
		index  func(*ownership.Sync, *ownership.Entry)
		off    bool
		decide func(*policy.Change) policy.Decision
		old    []func(map[string]any)
		edits  []func(map[string]any)
		ask    func(*asked)
	}{
		"a person's write":                {ask: func(a *asked) { a.user = "alice" }},
		"Mainstay's own":                  {ask: func(a *asked) { a.user = syncAccount }},
		"that of the account that writes": {index: func(s *ownership.Sync, _ *ownership.Entry) { s.ServiceAccount = operator }},
		"a create":                        {ask: func(a *asked) { a.operation, a.old = "CREATE", nil }},
		"a delete":                        {ask: func(a *asked) { a.operation, a.new = "DELETE", nil }},
		"a status write":                  {ask: func(a *asked) { a.subResource = "status" }},
		"an object that is being deleted": {old: []func(map[string]any){set("2026-11-23T12:00:00Z", "metadata", "deletionTimestamp")}},
		"while mainstay-off is in force":  {off: true},
		"where writes are refused":        {index: func(s *ownership.Sync, _ *ownership.Entry) { s.Controllers = v1alpha1.ControllersRefuse }},
		"in the mode Audit":               {index: func(s *ownership.Sync, _ *ownership.Entry) { s.Mode = v1alpha1.ModeAudit }},
		"an object that is only audited":  {index: func(_ *ownership.Sync, e *ownership.Entry) { e.OwnMode = v1alpha1.ModeAudit }},
		"an object that nobody declares":  {index: func(_ *ownership.Sync, e *ownership.Entry) { e.Name = "other" }},
		"another version":                 {ask: func(a *asked) { a.kind.Version = "v1beta1" }},
		"what a rule denies":              {decide: deny},
		"what can't be judged": {decide: func(c *policy.Change) policy.Decision {
			return policy.Decision{Verdict: policy.Refuse, Class: policy.RuleError, Uncovered: c.Fields}
		}},
		"what a panic meets": {decide: func(*policy.Change) policy.Decision { panic("no") }},
		"what is permitted":  {decide: accounts("spec.template.spec.containers[name=web].image")},
		"what stays refused": {decide: func(c *policy.Change) policy.Decision {
			return policy.Decision{ID: "7f3k2ab", Verdict: policy.Refuse, Class: policy.RuleDefault, Uncovered: c.Fields}
		}, edits: []func(map[string]any){image, set("x", "metadata", "annotations", "own")}},
		"what is refused once it is corrected": {decide: func(c *policy.Change) policy.Decision {
			if len(c.Fields) == 1 {
				return deny(c)
			}
			return accounts()(c)
		}, edits: []func(map[string]any){image, set("x", "metadata", "annotations", "own")}},
		"what git does not say":    {edits: []func(map[string]any){set("x", "metadata", "annotations", "own")}},
		"managedFields without us": {edits: []func(map[string]any){image, set([]any{map[string]any{}}, "metadata", "managedFields")}},
		"managedFields that can't be read": {edits: []func(map[string]any){image, setContainers(func(all []any) []any { return all[:1] }), set([]any{map[string]any{
			"manager": "mainstay", "operation": "Apply", "fieldsV1": map[string]any{"x": map[string]any{}},
		}}, "metadata", "managedFields")}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			index := func(*ownership.Sync, *ownership.Entry) {}
			if test.index != nil {
				index = test.index
			}
			f := newFixture(t, correcting(t, index), func(o *Options) { o.Off = offSwitch(test.off) })
			f.judge.decide = accounts()
			if test.decide != nil {
				f.judge.decide = test.decide
			}
			edits := test.edits
			if edits == nil {
				edits = []func(map[string]any){image}
			}
			a := deployment("UPDATE", app(t, test.old...), app(t, slices.Concat(test.old, edits)...))
			a.entry, a.user = EntryCorrect, operator
			if test.ask != nil {
				test.ask(&a)
			}
			answer := f.send(t, a)
			if !answer.Allowed || len(answer.Patch) > 0 || len(answer.Warnings) > 0 {
				t.Errorf("allowed %v, patch %s, warnings %q", answer.Allowed, answer.Patch, answer.Warnings)
			}
			if len(f.recorder.decisions) > 0 {
				t.Errorf("recorded %+v", f.recorder.decisions)
			}
		})
	}
}

func TestADryRunIsCorrectedAndNotRecorded(t *testing.T) {
	f := newFixture(t, correcting(t))
	f.judge.decide = accounts()
	a := deployment("UPDATE", app(t), app(t, inContainer(0, "image", "evil:1")))
	a.entry, a.user, a.dryRun = EntryCorrect, operator, true
	if answer := f.send(t, a); len(answer.Patch) == 0 || len(answer.Warnings) != 1 {
		t.Errorf("answer %+v", answer)
	}
	if len(f.recorder.decisions) > 0 {
		t.Errorf("recorded %+v", f.recorder.decisions)
	}
}

func TestACorrectionDoesNotUndoTheNextRevision(t *testing.T) {
	next := content(strings.ReplaceAll(fmt.Sprintf(appBaseline, ownership.LabelValue(shop, web)), "nginx:1.27", "nginx:1.28"))
	next.Fields = json.RawMessage(appFields)
	f := newFixture(t, correcting(t, func(_ *ownership.Sync, e *ownership.Entry) { e.Attempted = next }))
	f.judge.decide = accounts()
	updated := app(t, inContainer(0, "image", "evil:1"))
	got := patched(t, updated, f.correct(t, app(t, inContainer(0, "image", "nginx:1.28")), updated))
	if image := containers(got)[0].(map[string]any)["image"]; image != "nginx:1.28" {
		t.Errorf("image %s", image)
	}
}

func TestASecretsValuesAreNotPrinted(t *testing.T) {
	id := ownership.ID{Kind: "Secret", Namespace: "shop", Name: "db"}
	object := func(value string) map[string]any {
		return parsed(t, fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db","namespace":"shop"},"data":{"password":%q}}`, value))
	}
	raw, err := json.Marshal(object("aHVudGVy"))
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, correcting(t, func(_ *ownership.Sync, e *ownership.Entry) {
		e.ID, e.Resource = id, "secrets"
		e.Applied = content(string(raw))
		e.Applied.Fields = json.RawMessage(`{"f:data":{"f:password":{}}}`)
	}))
	f.judge.decide = accounts()
	a := deployment("UPDATE", object("aHVudGVy"), object("Zm9v"))
	a.entry, a.user = EntryCorrect, operator
	a.kind.Group, a.kind.Kind, a.resource.Group, a.resource.Resource = "", "Secret", "", "secrets"
	answer := f.send(t, a)
	if got := patched(t, object("Zm9v"), answer); !cmp.Equal(got, object("aHVudGVy")) {
		t.Errorf("got %v", got)
	}
	if want := `secrets "db" (namespace shop): data.password was put back to git's value (7f3k2ab)`; len(answer.Warnings) != 1 || answer.Warnings[0] != want {
		t.Errorf("warnings %q", answer.Warnings)
	}
}

// TestManagedFieldsAreReturned: the API server notes who takes a field before
// it asks the mutating webhooks, and never looks again.
func TestManagedFieldsAreReturned(t *testing.T) {
	f := newFixture(t, correcting(t))
	f.judge.decide = accounts("spec.replicas")
	taken := func(text string) string {
		text = strings.Replace(text, `"k:{\"name\":\"web\"}":{".":{},"f:name":{},"f:image":{},`, `"k:{\"name\":\"web\"}":{".":{},"f:name":{},`, 1)
		return strings.Replace(text, `"f:replicas":{},`, "", 1)
	}
	theirs := func(fields string) map[string]any {
		return map[string]any{"manager": "operator", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": parsed(t, fields)}
	}
	mine := func(fields string) map[string]any {
		return map[string]any{"manager": "mainstay", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": parsed(t, fields)}
	}
	managed := func(entries ...any) func(map[string]any) { return set(entries, "metadata", "managedFields") }
	head, _, _ := strings.Cut(appFields, `"k:{\"name\":\"web\"}"`)
	_, tail, _ := strings.Cut(appFields, `"k:{\"name\":\"log\"}"`)
	image := `"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{"f:image":{}}}}}`
	tests := map[string]struct {
		edits     []func(map[string]any)
		had, want []any
	}{
		"all that was taken": {
			edits: []func(map[string]any){inContainer(0, "image", "evil:1"), managed(mine(strings.Replace(taken(appFields), `"f:spec":{`, `"f:spec":{"f:replicas":{},`, 1)), theirs(`{"f:spec":{`+image+`}}`))},
			had:   []any{mine(appFields)}, want: []any{mine(appFields)},
		},
		"but not what is permitted": {
			edits: []func(map[string]any){set(5, "spec", "replicas"), inContainer(0, "image", "evil:1"), managed(mine(taken(appFields)), theirs(`{"f:spec":{"f:replicas":{},`+image+`}}`))},
			had:   []any{mine(appFields)},
			want:  []any{mine(strings.Replace(appFields, `"f:replicas":{},`, "", 1)), theirs(`{"f:spec":{"f:replicas":{}}}`)},
		},
		"nor what was shared before": {
			edits: []func(map[string]any){inContainer(0, "image", "evil:1"), managed(mine(appFields), theirs(`{"f:spec":{`+image+`}}`))},
			had:   []any{mine(appFields), theirs(`{"f:spec":{` + image + `}}`)},
			want:  []any{mine(appFields), theirs(`{"f:spec":{` + image + `}}`)},
		},
		"an element that was removed": {
			edits: []func(map[string]any){
				setContainers(func(all []any) []any { return all[1:] }),
				managed(mine(head + `"k:{\"name\":\"log\"}"` + tail)),
			},
			had: []any{mine(appFields)}, want: []any{mine(appFields)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			old, updated := app(t, managed(test.had...)), app(t, test.edits...)
			got := patched(t, updated, f.correct(t, old, updated))
			if diff := cmp.Diff(test.want, got["metadata"].(map[string]any)["managedFields"]); diff != "" {
				t.Errorf("managedFields (-want +got):\n%s", diff)
			}
			a := deployment("UPDATE", old, got)
			a.user = operator
			if answer := f.send(t, a); !answer.Allowed {
				t.Errorf("refused: %s", answer.Result.Message)
			}
		})
	}
}

// TestACorrectionSettles tries writes of all sorts: one correction is enough,
// and who validates the result permits it.
func TestACorrectionSettles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	shuffled := func(all []any) []any {
		all = slices.Clone(all)
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all[:random.IntN(len(all)+1)]
	}
	edits := []func(map[string]any){
		set(7, "spec", "replicas"), set(nil, "spec", "replicas"), set(3, "spec", "revisionHistoryLimit"), set(nil, "spec", "revisionHistoryLimit"),
		set("b", "spec", "template", "spec", "nodeSelector", "zone"), set(nil, "spec", "template", "spec", "nodeSelector"),
		set("x", "spec", "template", "spec", "nodeSelector", "more"),
		set("x", "metadata", "annotations", "own"), set(nil, "metadata", "annotations"), set(nil, "metadata", "labels"),
		set("x", "metadata", "labels", "mainstay.dev/sync"), set("x", "metadata", "labels", "a/b~c"),
		set([]any{}, "metadata", "finalizers"), set(nil, "metadata", "finalizers"), set([]any{"b", "git/keep", "a"}, "metadata", "finalizers"),
		set([]any{map[string]any{"uid": "u-9"}}, "metadata", "ownerReferences"),
		setContainers(shuffled), setContainers(shuffled),
		setContainers(func(all []any) []any {
			return append([]any{map[string]any{"name": "sidecar", "image": "s"}}, all...)
		}),
		func(object map[string]any) {
			for _, c := range containers(object) {
				c := c.(map[string]any)
				switch random.IntN(6) {
				case 0:
					c["image"] = "x"
				case 1:
					delete(c, "image")
				case 2:
					c["args"] = []any{"-x"}
				case 3:
					if ports, ok := c["ports"].([]any); ok {
						c["ports"] = shuffled(ports)
					}
				case 4:
					delete(c, "ports")
				case 5:
					c["env"] = []any{map[string]any{"name": "A", "value": "1"}}
				}
			}
		},
	}
	corrections := 0
	for range 600 {
		var some []func(map[string]any)
		for range 1 + random.IntN(5) {
			some = append(some, edits[random.IntN(len(edits))])
		}
		f := newFixture(t, correcting(t))
		f.judge.decide = accounts()
		updated := app(t, some...)
		answer := f.correct(t, app(t), updated)
		if !answer.Allowed {
			t.Fatalf("refused: %v", answer.Result)
		}
		got := patched(t, updated, answer)
		if len(answer.Patch) > 0 {
			corrections++
		}
		f.checkSettled(t, got)
		if t.Failed() {
			raw, err := json.Marshal(updated)
			t.Fatalf("of %s\nthe patch %s (%v)", raw, answer.Patch, err)
		}
	}
	if corrections < 300 {
		t.Errorf("only %d of the writes were corrected", corrections)
	}
}
