// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/reload"
)

func TestAPolicyOfTheLibraryPermitsDrift(t *testing.T) {
	s := newTheatre(t)
	s.push("web.yaml", web)
	s.edit(func(gs *v1alpha1.GitSync) {
		gs.Spec.Policies.Library = []string{"crossplane"}
		// The API server need not keep how it is written.
		gs.Spec.Policies.Parameters = v1alpha1.Parameters{"crossplane": {Raw: []byte(`{ "accounts":  ["b:c", "a:b"] }`)}}
	})
	s.synced()
	if c := condition(s.look(), "PoliciesReady"); c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "library: crossplane") {
		t.Errorf("PoliciesReady = %+v", c)
	}
	const mark = "crossplane.io/external-name"
	s.patch(s.web(), "kubectl-annotate", `{"metadata":{"annotations":{"`+mark+`":"x"}},"spec":{"paused":true}}`)
	s.await("what nothing permits is reverted", func() bool { return !s.web().Spec.Paused })
	if got := s.web().Annotations[mark]; got != "x" {
		t.Errorf("the annotation is %q, want it to stand", got)
	}

	carried := policyObject(s.look())
	must(t, s.client.Get(t.Context(), client.ObjectKeyFromObject(carried), carried))
	if err := reload.VerifyModules(s.loop.Key, s.sync, carried); err != nil {
		t.Errorf("what the other replicas load: %v", err)
	}

	t.Run("a mistake keeps what was", func(t *testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Policies.Library = []string{"crosplane"} })
		s.synced()
		c := condition(s.look(), "PoliciesReady")
		if c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, `did you mean "crossplane"?`) {
			t.Errorf("PoliciesReady = %+v", c)
		}
		if got := s.web().Annotations[mark]; got != "x" {
			t.Errorf("the annotation is %q, want it to stand", got)
		}
	})
	t.Run("the same again is not written", func(t *testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Policies.Library = []string{"crossplane"} })
		s.synced()
		again := policyObject(s.look())
		must(t, s.client.Get(t.Context(), client.ObjectKeyFromObject(again), again))
		if again.Generation != carried.Generation {
			t.Errorf("generation %d, want %d", again.Generation, carried.Generation)
		}
	})
	t.Run("whichever replica can't judge by them is said", func(t *testing.T) {
		say := func(status metav1.ConditionStatus) {
			cp := policyObject(s.look())
			must(t, s.client.Get(t.Context(), client.ObjectKeyFromObject(cp), cp))
			meta.SetStatusCondition(&cp.Status.Conditions, metav1.Condition{
				Type: v1alpha1.ConditionFailing, Status: status, Reason: "Quarantined", Message: "replica b: library/keda.rego:12: too slow",
			})
			must(t, s.client.Status().Update(t.Context(), cp))
		}
		say(metav1.ConditionTrue)
		c := condition(s.look(), "PoliciesReady")
		if c.Status != metav1.ConditionFalse || c.Reason != "Quarantined" || !strings.Contains(c.Message, "library: crossplane; replica b: ") {
			t.Errorf("PoliciesReady = %+v", c)
		}
		say(metav1.ConditionFalse)
		if c := condition(s.look(), "PoliciesReady"); c.Status != metav1.ConditionTrue {
			t.Errorf("PoliciesReady = %+v, want it ready again", c)
		}
	})
	t.Run("as long as it is switched on", func(*testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Policies = v1alpha1.Policies{} })
		s.synced()
		s.await("the annotation is gone", func() bool { return s.web().Annotations[mark] == "" })
	})
}
