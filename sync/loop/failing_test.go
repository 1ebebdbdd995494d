// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const gizmos = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gizmos.failing.example.org}
spec:
  group: failing.example.org
  scope: Namespaced
  names: {plural: gizmos, singular: gizmo, kind: Gizmo, listKind: GizmoList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer}, colour: {type: string}}}
`

// What can't be made what git says is drift, as long as it lasts.
func TestAFailingRevertIsDrift(t *testing.T) {
	s := newTheatre(t)
	// The definition is not git's: somebody else changes it.
	crd := s.create(gizmos)
	s.push("gizmo.yaml", "apiVersion: failing.example.org/v1\nkind: Gizmo\nmetadata: {name: g, namespace: NS}\nspec: {size: 1, colour: red}\n")
	s.await("the kind is served", func() bool {
		s.loop.pass(s.sync).notBefore = metav1.Time{}.Time
		return condition(s.look(), "Ready").Reason == "Applied"
	})
	must(t, s.loop.watcher.Synced(t.Context()))
	schemaWith := func(properties string) {
		patch := `[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties","value":` + properties + `}]`
		must(t, s.client.Patch(t.Context(), crd, client.RawPatch(types.JSONPatchType, []byte(patch))))
	}
	schemaWith(`{"size":{"type":"integer"}}`)
	gizmo := new(unstructured.Unstructured)
	gizmo.SetGroupVersionKind(schema.GroupVersionKind{Group: "failing.example.org", Version: "v1", Kind: "Gizmo"})
	s.await("the property is gone", func() bool {
		must(t, s.get("g", gizmo))
		_, ok, _ := unstructured.NestedString(gizmo.Object, "spec", "colour")
		return !ok
	})
	const words = ".spec.colour: field not declared in schema"
	says := func() bool {
		gs := s.look()
		c := condition(gs, "Drifted")
		return gs.Status.Drift.Current == 1 && c.Status == metav1.ConditionTrue && c.Reason == "RevertFailed" &&
			strings.Contains(c.Message, "Gizmo.failing.example.org "+s.sync.Namespace+"/g: ") && strings.Contains(c.Message, words)
	}
	s.await("the status says what fails", says)
	t.Run("an Event says so once", func(t *testing.T) {
		if n := s.events("RevertFailed", words); n != 1 {
			t.Errorf("%d Events", n)
		}
	})
	t.Run("also where the managed fields were wiped, so that nothing can be compared", func(*testing.T) {
		s.patch(gizmo, "kubectl-edit", `{"metadata":{"managedFields":[{}]}}`)
		s.loop.guard.again()
		s.await("the status says what fails", says)
	})
	t.Run("it is cleared when it works", func(*testing.T) {
		schemaWith(`{"size":{"type":"integer"},"colour":{"type":"string"}}`)
		s.patch(gizmo, "kubectl-edit", `{"metadata":{"labels":{"touched":"yes"}}}`)
		s.await("git's value is back", func() bool {
			must(t, s.get("g", gizmo))
			colour, _, _ := unstructured.NestedString(gizmo.Object, "spec", "colour")
			return colour == "red"
		})
		s.await("and the status says so", func() bool {
			gs := s.look()
			return gs.Status.Drift.Current == 0 && condition(gs, "Drifted").Reason == "AsGitSays"
		})
	})
}

// events that were made of a reason, with some words, since the last call.
func (s *theatre) events(reason, words string) int {
	s.t.Helper()
	recorder, ok := s.loop.Events.(*events.FakeRecorder)
	if !ok {
		s.t.Fatal("no fake recorder")
	}
	n := 0
	for {
		select {
		case e := <-recorder.Events:
			if strings.Contains(e, reason) && strings.Contains(e, words) {
				n++
			}
		default:
			return n
		}
	}
}

// create makes an object of YAML as somebody else, until the test ends.
func (s *theatre) create(manifest string) *unstructured.Unstructured {
	s.t.Helper()
	o := new(unstructured.Unstructured)
	must(s.t, yaml.Unmarshal([]byte(manifest), &o.Object))
	must(s.t, s.client.Create(s.t.Context(), o))
	s.t.Cleanup(func() { _ = s.client.Delete(context.WithoutCancel(s.t.Context()), o) })
	return o
}
