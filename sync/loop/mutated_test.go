// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

const mutating = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: NS}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  failurePolicy: Fail
  reinvocationPolicy: Never
  mutations:
  - patchType: JSONPatch
    jsonPatch: {expression: '[JSONPatch{op: "replace", path: "/spec/template/spec/containers/0/image", value: "other:1"}]'}
`

const mutatingBinding = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: NS}
spec: {policyName: NS}
`

// Somebody's mutating webhook or policy that changes git's own write is not
// fought, but said.
func TestWhatOthersMakeOfGitsWriteIsSaid(t *testing.T) {
	s := newTheatre(t)
	s.push("web.yaml", web)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	if c := condition(s.look(), "Ready"); strings.Contains(c.Message, "changed by") {
		t.Fatalf("nobody changed anything: %s", c.Message)
	}
	s.create(strings.ReplaceAll(mutating, "NS", s.sync.Namespace))
	// bind brings the policy into force, and release takes it out again.
	inForce := func() bool {
		d := s.web()
		d.Labels["touched"] = "yes"
		err := s.client.Update(t.Context(), d, client.DryRunAll)
		if apierrors.IsConflict(err) {
			return false // its controller has written it meanwhile
		}
		must(t, err)
		return d.Spec.Template.Spec.Containers[0].Image == "other:1"
	}
	bind := func() (release func()) {
		binding := s.create(strings.ReplaceAll(mutatingBinding, "NS", s.sync.Namespace))
		s.await("the policy is in force", inForce)
		return func() {
			must(t, s.client.Delete(t.Context(), binding))
			s.await("the policy is out of force", func() bool {
				d := s.web()
				d.Spec.Template.Spec.Containers[0].Image = "another:1"
				err := s.client.Update(t.Context(), d, client.DryRunAll)
				if apierrors.IsConflict(err) {
					return false
				}
				must(t, err)
				return d.Spec.Template.Spec.Containers[0].Image == "another:1"
			})
		}
	}
	release := bind()
	const image = "spec.template.spec.containers[name=web].image git: nginx:1.27, stored: other:1"
	says := func() bool {
		c := condition(s.look(), "Ready")
		return c.Status == "True" && strings.Contains(c.Message,
			"; 1 object is changed by somebody's mutating webhook or policy: deployments.apps \"web\" in "+s.sync.Namespace+": "+image+"; once that is mended: ")
	}
	t.Run("by a commit", func(t *testing.T) {
		s.events("", "")
		s.push("web.yaml", strings.ReplaceAll(web, "replicas: 2", "replicas: 3"))
		s.synced()
		if !says() {
			t.Errorf("Ready = %+v", condition(s.look(), "Ready"))
		}
		if n := s.events("Mutated", image); n != 1 {
			t.Errorf("%d Events", n)
		}
		id := ownership.ID{Group: "apps", Kind: "Deployment", Namespace: s.sync.Namespace, Name: "web"}
		generation := s.web().Generation
		if _, err := s.loop.guard.look(t.Context(), id, seen{}, false); err != nil {
			t.Error(err)
		}
		if d := s.web(); d.Generation != generation || *d.Spec.Replicas != 3 {
			t.Errorf("generation %d then %d, replicas %d: it is fought", generation, d.Generation, *d.Spec.Replicas)
		}
		s.look()
		if n := s.events("Mutated", image); n != 0 {
			t.Errorf("%d Events more", n)
		}
	})
	t.Run("until git's write comes through", func(t *testing.T) {
		release()
		s.annotate(v1alpha1.RequestedAtAnnotation, "now")
		s.synced()
		if got := s.web().Spec.Template.Spec.Containers[0].Image; got != "nginx:1.27" {
			t.Errorf("image = %s, want git's once somebody asks for a sync", got)
		}
		s.push("web.yaml", strings.ReplaceAll(web, "replicas: 2", "replicas: 4"))
		s.synced()
		if c := condition(s.look(), "Ready"); strings.Contains(c.Message, "changed by") {
			t.Errorf("Ready = %s", c.Message)
		}
	})
	t.Run("by a revert", func(*testing.T) {
		bind()
		must(t, s.client.Patch(t.Context(), s.web(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":9}}`)), client.FieldOwner("kubectl-edit")))
		s.await("git's replicas are back", func() bool { return *s.web().Spec.Replicas == 4 })
		s.await("the status says what is changed", says)
	})
}
