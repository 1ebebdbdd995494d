// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apply_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fastjson"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/sync/apply"
)

func settings(data string) string {
	return `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "labels": {"mainstay.dev/sync": "shop.0"}}, "data": ` + data + `}`
}

// as applies as another tool does.
func (s *stage) as(manager string, target apply.Target, desired string) {
	s.t.Helper()
	_, err := s.other.Resource(target.Resource).Namespace(s.namespace).
		Patch(s.t.Context(), target.Name, types.ApplyPatchType, []byte(desired), metav1.PatchOptions{FieldManager: manager})
	must(s.t, err)
}

// owners are the managers that own a field.
func owners(t testing.TB, object *fastjson.Value, path string) string {
	t.Helper()
	p, err := fieldset.Parse(path)
	must(t, err)
	managers, err := fieldset.Managers(object)
	must(t, err)
	var names []string
	for _, m := range managers {
		if m.Fields.Touches(p) {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestWhatDeployersAppliedIsTakenOver(t *testing.T) {
	s := newStage(t)
	target := s.target("", "configmaps", "settings")
	before := strings.Replace(settings(`{"a": "1", "b": "1", "extra": "1"}`), `, "labels": {"mainstay.dev/sync": "shop.0"}`, "", 1)
	s.as("argocd-controller", target, before)
	s.as("kubectl", target, before)
	s.as("some-operator", target, before)
	answer := s.apply(target, settings(`{"a": "1", "b": "1"}`))
	must(t, s.applier.TakeOver(t.Context(), target, answer))

	live := s.get(target)
	for path, want := range map[string]string{
		"data.a":     "mainstay some-operator",
		"data.extra": "argocd-controller kubectl some-operator",
	} {
		if got := owners(t, live, path); got != want {
			t.Errorf("%s is owned by %q, want %q", path, got, want)
		}
	}
	if got := at(t, live, "data"); got != `{"a":"1","b":"1","extra":"1"}` {
		t.Errorf("data = %s: it was changed", got)
	}
	t.Run("so that what leaves git leaves the cluster", func(t *testing.T) {
		must(t, s.applier.Release(t.Context(), target, "none")) // some-operator is the only other one
		_, err := s.other.Resource(target.Resource).Namespace(s.namespace).
			Patch(t.Context(), target.Name, types.ApplyPatchType, []byte(strings.Replace(before, `"b": "1", `, "", 1)), metav1.PatchOptions{FieldManager: "some-operator"})
		must(t, err)
		s.apply(target, settings(`{"a": "1"}`))
		if got := at(t, s.get(target), "data"); got != `{"a":"1","extra":"1"}` {
			t.Errorf("data = %s, want b gone and the undeclared kept", got)
		}
	})
	t.Run("once: a second time nothing is written", func(t *testing.T) {
		answer := s.apply(target, settings(`{"a": "1"}`))
		must(t, s.applier.TakeOver(t.Context(), target, answer))
		if got := string(s.get(target).GetStringBytes("metadata", "resourceVersion")); got != answer.ResourceVersion {
			t.Error("it was written")
		}
	})
}

func TestAFieldThatIsGivenUpStaysWhenItLeavesGit(t *testing.T) {
	s := newStage(t)
	target := s.target("", "configmaps", "settings")
	s.apply(target, settings(`{"a": "1", "b": "1"}`))
	live, err := s.applier.Get(t.Context(), target)
	must(t, err)
	version, err := s.applier.Disown(t.Context(), target, live, []fieldset.Path{{{Field: "data"}, {Field: "b"}}})
	must(t, err)
	if got := string(s.get(target).GetStringBytes("metadata", "resourceVersion")); got != version {
		t.Errorf("resourceVersion = %s, want %s", got, version)
	}
	s.apply(target, settings(`{"a": "1"}`))
	if got := at(t, s.get(target), "data"); got != `{"a":"1","b":"1"}` {
		t.Errorf("data = %s, want b as it was", got)
	}
	if _, err := s.applier.Disown(t.Context(), target, live, []fieldset.Path{{{Field: "data"}}}); err == nil {
		t.Error("an object that was written since it was judged: no error, want a conflict")
	}
}

func TestReleaseTakesEveryMarkAndNothingElse(t *testing.T) {
	s := newStage(t)
	target := s.target("", "configmaps", "settings")
	s.apply(target, settings(`{"a": "1"}`))
	t.Run("but not those of another owner", func(t *testing.T) {
		must(t, s.applier.Release(t.Context(), target, "till.0"))
		if got := owners(t, s.get(target), "data.a"); got != "mainstay" {
			t.Errorf("data.a is owned by %q", got)
		}
	})
	must(t, s.applier.Release(t.Context(), target, "shop.0"))
	live := s.get(target)
	if got := at(t, live, "metadata.labels"); got != "" {
		t.Errorf("labels = %s, want none", got)
	}
	if got := owners(t, live, "data.a"); got != "" {
		t.Errorf("data.a is owned by %q, want nobody", got)
	}
	if got := at(t, live, "data"); got != `{"a":"1"}` {
		t.Errorf("data = %s", got)
	}
	s.deletes(target, "", true)
	if err := s.applier.Release(t.Context(), target, "shop.0"); err != nil {
		t.Errorf("of what is gone: %v, want no error", err)
	}
}
