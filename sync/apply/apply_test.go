// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apply_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/test/apiserver"
)

func TestMain(m *testing.M) {
	os.Exit(apiserver.Main(m, apiserver.Options{WithoutControllerManager: true}))
}

// stage is an Applier on a namespace of a real API server, and another writer.
type stage struct {
	t         *testing.T
	applier   *apply.Applier
	other     dynamic.Interface
	namespace string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	config := apiserver.Config(t, "admin")
	httpClient, err := rest.HTTPClientFor(config)
	must(t, err)
	raw, err := apply.ClientFor(config, httpClient)
	must(t, err)
	applier, err := apply.New(apply.Options{Client: raw})
	must(t, err)
	other, err := dynamic.NewForConfig(config)
	must(t, err)
	return &stage{t: t, applier: applier, other: other, namespace: apiserver.Namespace(t)}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *stage) target(group, resource, name string) apply.Target {
	return apply.Target{
		Resource:  schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource},
		Namespace: s.namespace, Name: name,
	}
}

func (s *stage) apply(target apply.Target, desired string) *apply.Answer {
	s.t.Helper()
	answer, err := s.applier.Apply(s.t.Context(), target, []byte(desired), apply.Write{})
	must(s.t, err)
	return answer
}

// deletes tells whether the object is gone.
func (s *stage) deletes(target apply.Target, uid types.UID, want bool) {
	s.t.Helper()
	gone, err := s.applier.Delete(s.t.Context(), target, uid)
	must(s.t, err)
	if gone != want {
		s.t.Errorf("gone = %t, want %t", gone, want)
	}
}

// patch writes as a person does.
func (s *stage) patch(target apply.Target, kind types.PatchType, patch string) {
	s.t.Helper()
	_, err := s.other.Resource(target.Resource).Namespace(s.namespace).
		Patch(s.t.Context(), target.Name, kind, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	must(s.t, err)
}

func (s *stage) get(target apply.Target) *fastjson.Value {
	s.t.Helper()
	raw, err := s.applier.Get(s.t.Context(), target)
	must(s.t, err)
	return parse(s.t, raw)
}

func parse(t testing.TB, raw []byte) *fastjson.Value {
	t.Helper()
	v, err := fastjson.ParseBytes(raw)
	must(t, err)
	return v
}

// at is the JSON at a path; empty where there is nothing.
func at(t testing.TB, object *fastjson.Value, path string) string {
	t.Helper()
	p, err := fieldset.Parse(path)
	must(t, err)
	if v := fieldset.At(object, p); v != nil {
		return v.String()
	}
	return ""
}

func undeclared(t testing.TB, path, value string) apply.Undeclared {
	t.Helper()
	p, err := fieldset.Parse(path)
	must(t, err)
	u := apply.Undeclared{Path: p}
	if value != "" {
		u.Value = parse(t, []byte(value))
	}
	return u
}

const deployment = `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
	"selector": {"matchLabels": {"app": "web"}},
	"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
		{"name": "web", "image": "nginx:1.27", "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}}}
	]}}
}}`

const container = `spec.template.spec.containers[name=web]`

func TestTheBaselineIsWhatTheAPIServerMadeOfTheManifest(t *testing.T) {
	s := newStage(t)
	answer := s.apply(s.target("apps", "deployments", "web"), deployment)
	raw, err := answer.Baseline(nil, nil)
	must(t, err)
	baseline := parse(t, raw)
	for path, want := range map[string]string{
		container + ".resources.requests.cpu":    `"1"`,
		container + ".resources.requests.memory": `"1Gi"`,
		container + ".imagePullPolicy":           `"IfNotPresent"`,
		"spec.replicas":                          `1`,
		"metadata.name":                          `"web"`,
		"metadata.uid":                           "",
		"metadata.resourceVersion":               "",
		"metadata.generation":                    "",
		"metadata.creationTimestamp":             "",
		"metadata.managedFields":                 "",
		"status":                                 "",
	} {
		if got := at(t, baseline, path); got != want {
			t.Errorf("%s = %s, want %s", path, got, want)
		}
	}
	if answer.UID == "" || answer.ResourceVersion == "" || answer.Existed {
		t.Errorf("answer %+v, want it to be of a new object", answer)
	}
	t.Run("and the fields are those of the manifest alone", func(t *testing.T) {
		set, err := fieldset.ParseSet(answer.Fields)
		must(t, err)
		for path, want := range map[string]bool{
			container + ".image": true, container + ".resources.requests.cpu": true,
			container + ".imagePullPolicy": false, "spec.replicas": false, "spec.strategy": false,
		} {
			p, err := fieldset.Parse(path)
			must(t, err)
			if set.Touches(p) != want {
				t.Errorf("%s declared = %t, want %t", path, !want, want)
			}
		}
	})
}

func TestADryRunAnswersAndWritesNothing(t *testing.T) {
	s := newStage(t)
	target := s.target("apps", "deployments", "web")
	answer, err := s.applier.Apply(t.Context(), target, []byte(deployment), apply.Write{DryRun: true})
	must(t, err)
	dry, err := answer.Baseline(nil, nil)
	must(t, err)
	if _, err := s.applier.Get(t.Context(), target); !apierrors.IsNotFound(err) {
		t.Fatalf("after a dry-run: %v, want nothing to be there", err)
	}
	wet, err := s.apply(target, deployment).Baseline(nil, nil)
	must(t, err)
	if diff := cmp.Diff(string(dry), string(wet)); diff != "" {
		t.Errorf("baseline (-dry-run +write):\n%s", diff)
	}
}

func TestWhatSlippedInDoesNotBecomeNormal(t *testing.T) {
	s := newStage(t)
	target := s.target("apps", "deployments", "web")
	previous, err := s.apply(target, deployment).Baseline(nil, nil)
	must(t, err)
	s.patch(target, types.StrategicMergePatchType, `{
		"metadata": {"annotations": {"evil": "x"}},
		"spec": {"replicas": 7, "template": {"spec": {"hostNetwork": true, "containers": [{"name": "evil", "image": "evil:1"}]}}}
	}`)
	answer := s.apply(target, strings.Replace(deployment, "nginx:1.27", "nginx:1.28", 1))
	if !answer.Existed {
		t.Error("Existed = false, though another writer was there")
	}
	stolen := map[string][2]string{ // after a previous baseline, and on adoption
		"metadata.annotations.evil":                      {"", `"x"`},
		"spec.replicas":                                  {"1", "7"},
		"spec.template.spec.hostNetwork":                 {"", "true"},
		"spec.template.spec.containers[name=evil].image": {"", `"evil:1"`},
		container + ".image":                             {`"nginx:1.28"`, `"nginx:1.28"`},
	}
	for i, before := range [][]byte{previous, nil} {
		raw, err := answer.Baseline(before, nil)
		must(t, err)
		baseline := parse(t, raw)
		for path, want := range stolen {
			if got := at(t, baseline, path); got != want[i] {
				t.Errorf("previous baseline: %t: %s = %s, want %s", before != nil, path, got, want[i])
			}
		}
	}
	if got := at(t, answer.Object(), "spec.replicas"); got != "7" {
		t.Errorf("making a baseline changed the answer: replicas = %s", got)
	}
}

func TestApplyTakesBackWhatOthersTookOver(t *testing.T) {
	s := newStage(t)
	target := s.target("", "configmaps", "settings")
	desired := `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"key": "git"}}`
	first := s.apply(target, desired)
	s.patch(target, types.MergePatchType, `{"data": {"key": "mine"}}`)

	t.Run("not, if another version than the judged one is there", func(t *testing.T) {
		_, err := s.applier.Apply(t.Context(), target, []byte(desired), apply.Write{ResourceVersion: first.ResourceVersion})
		if !apierrors.IsConflict(err) {
			t.Fatalf("got %v, want a conflict", err)
		}
		if got := at(t, s.get(target), "data.key"); got != `"mine"` {
			t.Errorf("key = %s, want it as it was", got)
		}
	})
	version := at(t, s.get(target), "metadata.resourceVersion")
	_, err := s.applier.Apply(t.Context(), target, []byte(desired), apply.Write{ResourceVersion: strings.Trim(version, `"`)})
	must(t, err)
	if got := at(t, s.get(target), "data.key"); got != `"git"` {
		t.Errorf("key = %s, want git's", got)
	}
	t.Run("and writes nothing where nothing differs", func(t *testing.T) {
		before := at(t, s.get(target), "metadata.resourceVersion")
		if got := s.apply(target, desired).ResourceVersion; `"`+got+`"` != before {
			t.Errorf("resourceVersion %s, want %s", got, before)
		}
	})
}

func TestEveryCharacterArrivesAsItIs(t *testing.T) {
	s := newStage(t)
	target := s.target("", "configmaps", "settings")
	value := "bell \a, escape \x1b, null \x00, delete \x7f, C1 \u0080\u0085\u009f, marks \ufeff \ufffe \uffff, line\u2028separator, <&>, \"quote\" \\ ü 🛟\r\n\t"
	desired, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "settings"},
		"data": map[string]string{"key": value},
	})
	must(t, err)
	answer := s.apply(target, string(desired))
	baseline, err := answer.Baseline(nil, nil)
	must(t, err)
	again, err := answer.Baseline(baseline, nil)
	must(t, err)
	// With a resourceVersion, the manifest is written anew.
	_, err = s.applier.Apply(t.Context(), target, desired, apply.Write{ResourceVersion: answer.ResourceVersion})
	must(t, err)
	s.patch(target, types.MergePatchType, `{"data": {"note": "x"}}`)
	live, err := s.applier.Get(t.Context(), target)
	must(t, err)
	note, err := json.Marshal(value)
	must(t, err)
	must(t, s.applier.Restore(t.Context(), target, live, []apply.Undeclared{undeclared(t, "data.note", string(note))}))
	live, err = s.applier.Get(t.Context(), target)
	must(t, err)
	for what, raw := range map[string][]byte{"baseline": baseline, "second baseline": again, "live": live} {
		var got struct{ Data map[string]string }
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Errorf("%s is no valid JSON: %v", what, err)
			continue
		}
		if got.Data["key"] != value {
			t.Errorf("%s: %q, want %q", what, got.Data["key"], value)
		}
		if what == "live" && got.Data["note"] != value {
			t.Errorf("restored: %q, want %q", got.Data["note"], value)
		}
	}
}

func TestRestorePutsUndeclaredFieldsBack(t *testing.T) {
	const added = `{"metadata": {"annotations": {"example.org/x": "x"}},
		"spec": {"replicas": 7, "template": {"spec": {"containers": [{"name": "one", "image": "evil:1"}, {"name": "two", "image": "evil:2"}]}}}}`
	for name, tt := range map[string]struct {
		patch  string
		fields map[string]string // path → value to put back
		want   map[string]string
	}{
		"a field that was added goes": {
			added,
			map[string]string{`metadata.annotations["example.org/x"]`: ""},
			map[string]string{`metadata.annotations["example.org/x"]`: "", "spec.replicas": "7"},
		},
		"a field that was changed gets its value": {
			added, map[string]string{"spec.replicas": "1"}, map[string]string{"spec.replicas": "1"},
		},
		"elements of a list that were added go, each the right one": {
			added,
			map[string]string{
				"spec.template.spec.containers[name=one]": "",
				"spec.template.spec.containers[name=two]": "",
			},
			map[string]string{
				"spec.template.spec.containers[name=one]": "",
				"spec.template.spec.containers[name=two]": "",
				container + ".image":                      `"nginx:1.27"`,
			},
		},
		"a field that was removed comes back": {
			`{"spec": {"minReadySeconds": 5}}`, map[string]string{"spec.paused": "true"}, map[string]string{"spec.paused": "true"},
		},
		"a field of an element": {
			`{"spec": {"template": {"spec": {"containers": [{"name": "web", "imagePullPolicy": "Always"}]}}}}`,
			map[string]string{container + ".imagePullPolicy": `"IfNotPresent"`},
			map[string]string{container + ".imagePullPolicy": `"IfNotPresent"`},
		},
		"elements of a list that were removed come back": {
			`{"spec": {"minReadySeconds": 5}}`,
			map[string]string{
				"spec.template.spec.containers[name=a]": `{"name": "a", "image": "a:1"}`,
				"spec.template.spec.containers[name=b]": `{"name": "b", "image": "b:1"}`,
			},
			map[string]string{
				"spec.template.spec.containers[name=a].image": `"a:1"`,
				"spec.template.spec.containers[name=b].image": `"b:1"`,
				container + ".image":                          `"nginx:1.27"`,
			},
		},
		"one element goes and another comes back": {
			added,
			map[string]string{
				"spec.template.spec.containers[name=a]":   `{"name": "a", "image": "a:1"}`,
				"spec.template.spec.containers[name=one]": "",
				"spec.template.spec.containers[name=two]": "",
			},
			map[string]string{
				"spec.template.spec.containers[name=a].image": `"a:1"`,
				"spec.template.spec.containers[name=one]":     "",
				"spec.template.spec.containers[name=two]":     "",
				container + ".image":                          `"nginx:1.27"`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			target := s.target("apps", "deployments", "web")
			s.apply(target, deployment)
			s.patch(target, types.StrategicMergePatchType, tt.patch)
			live, err := s.applier.Get(t.Context(), target)
			must(t, err)
			// In the order of the document, as a comparison gives them.
			var fields []apply.Undeclared
			for _, path := range sortedPaths(t, live, tt.fields) {
				fields = append(fields, undeclared(t, path, tt.fields[path]))
			}
			must(t, s.applier.Restore(t.Context(), target, live, fields))
			after := s.get(target)
			for path, want := range tt.want {
				if got := at(t, after, path); got != want {
					t.Errorf("%s = %s, want %s", path, got, want)
				}
			}
		})
	}
}

// sortedPaths are the keys, those of list elements by their index in live.
func sortedPaths(t *testing.T, live []byte, fields map[string]string) []string {
	t.Helper()
	object := parse(t, live)
	byPointer := map[string]string{}
	for path := range fields {
		p, err := fieldset.Parse(path)
		must(t, err)
		pointer, _ := fieldset.Pointer(object, p)
		byPointer[pointer+" "+path] = path
	}
	var keys []string
	for k := range byPointer {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		keys[i] = byPointer[k]
	}
	return keys
}

func TestRestoreIsAConflictWhenSomebodyWroteInBetween(t *testing.T) {
	s := newStage(t)
	target := s.target("", "configmaps", "settings")
	s.apply(target, `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"key": "git"}}`)
	s.patch(target, types.MergePatchType, `{"data": {"note": "x"}}`)
	live, err := s.applier.Get(t.Context(), target)
	must(t, err)
	s.patch(target, types.MergePatchType, `{"data": {"note": "y"}}`)
	err = s.applier.Restore(t.Context(), target, live, []apply.Undeclared{undeclared(t, "data.note", "")})
	if !apierrors.IsConflict(err) {
		t.Errorf("got %v, want a conflict, which is handled by looking again", err)
	}
	if got := at(t, s.get(target), "data.note"); got != `"y"` {
		t.Errorf("note = %s, want it untouched", got)
	}
}

func TestDelete(t *testing.T) {
	s := newStage(t)
	target := s.target("", "configmaps", "settings")
	desired := `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"key": "git"}}`
	answer := s.apply(target, desired)
	if _, err := s.applier.Delete(t.Context(), target, "another-uid"); !apierrors.IsConflict(err) {
		t.Errorf("of another uid: %v, want a conflict", err)
	}
	s.deletes(target, answer.UID, true)
	if _, err := s.applier.Get(t.Context(), target); !apierrors.IsNotFound(err) {
		t.Errorf("after it: %v, want it gone", err)
	}
	if _, err := s.applier.Delete(t.Context(), target, ""); err != nil {
		t.Errorf("of what is gone: %v, want no error", err)
	}
}

func TestUnlabelTakesTheOwnershipLabelAlone(t *testing.T) {
	s := newStage(t)
	target := s.target("", "configmaps", "settings")
	s.apply(target, `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "labels": {"mainstay.dev/sync": "shop.0", "app": "web"}}}`)
	must(t, s.applier.Unlabel(t.Context(), target))
	if got := at(t, s.get(target), "metadata.labels"); got != `{"app":"web"}` {
		t.Errorf("labels = %s", got)
	}
	s.deletes(target, "", true)
	if err := s.applier.Unlabel(t.Context(), target); err != nil {
		t.Errorf("of what is gone: %v, want no error", err)
	}
}

func TestErrorsAreTheAPIServersOwn(t *testing.T) {
	s := newStage(t)
	elsewhere := s.target("", "configmaps", "settings")
	elsewhere.Namespace = "nowhere"
	for name, tt := range map[string]struct {
		target  apply.Target
		desired string
		is      func(error) bool
		says    string
	}{
		"a namespace that does not exist": {
			elsewhere, `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}`,
			apierrors.IsNotFound, `namespaces "nowhere" not found`,
		},
		"a kind that is not installed": {
			s.target("apply.example.org", "widgets", "w"), `{"apiVersion": "apply.example.org/v1", "kind": "Widget", "metadata": {"name": "w"}}`,
			apierrors.IsNotFound, "could not find the requested resource",
		},
		"an object that is not valid": {
			s.target("apps", "deployments", "web"), strings.Replace(deployment, `"matchLabels": {"app": "web"}`, `"matchLabels": {"app": "other"}`, 1),
			apierrors.IsInvalid, "selector",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.applier.Apply(t.Context(), tt.target, []byte(tt.desired), apply.Write{})
			if !tt.is(err) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %T %v, want a typed error that says %q", err, err, tt.says)
			}
		})
	}
	if _, err := s.applier.Get(t.Context(), s.target("", "configmaps", "absent")); !apierrors.IsNotFound(err) {
		t.Errorf("Get of what is not there: %v, want not found", err)
	}
}

func TestTargetOfAnEntry(t *testing.T) {
	got := apply.TargetOf(new(ownership.Sync), &ownership.Entry{
		ID: ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}, Version: "v1", Resource: "deployments",
	})
	want := apply.Target{Resource: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, Namespace: "shop", Name: "web"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestNewWantsAClient(t *testing.T) {
	if _, err := apply.New(apply.Options{}); err == nil || !strings.Contains(err.Error(), "Client is required") {
		t.Errorf("got %v", err)
	}
}

func TestWritesAreMadeInTheNameOfTheTarget(t *testing.T) {
	s := newStage(t)
	mine := s.target("", "configmaps", "settings")
	const settings = `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"key": "git"}}`
	s.apply(mine, settings)
	tenant := mine
	tenant.As = "system:serviceaccount:" + s.namespace + ":deployer"
	live, err := s.applier.Get(t.Context(), tenant)
	if err != nil {
		t.Fatalf("reading is Mainstay's own: %v", err)
	}
	for name, write := range map[string]func() error{
		"a dry-run": func() error {
			_, err := s.applier.Apply(t.Context(), tenant, []byte(settings), apply.Write{DryRun: true})
			return err
		},
		"an apply": func() error {
			_, err := s.applier.Apply(t.Context(), tenant, []byte(settings), apply.Write{})
			return err
		},
		"a deletion": func() error { _, err := s.applier.Delete(t.Context(), tenant, ""); return err },
		"a restore": func() error {
			return s.applier.Restore(t.Context(), tenant, live, []apply.Undeclared{undeclared(t, "data.key", "")})
		},
		"taking a label off": func() error { return s.applier.Unlabel(t.Context(), tenant) },
		"letting go":         func() error { return s.applier.Release(t.Context(), tenant, "") },
		"giving up a field": func() error {
			_, err := s.applier.Disown(t.Context(), tenant, live, []fieldset.Path{{{Field: "data"}, {Field: "key"}}})
			return err
		},
	} {
		if err := write(); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "`+tenant.As+`" cannot `) {
			t.Errorf("%s: %v, want it to be refused to the account", name, err)
		}
	}
	if got := at(t, s.get(mine), "data.key"); got != `"git"` {
		t.Errorf("key = %s", got)
	}
}
