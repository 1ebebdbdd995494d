// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

const exception = `package tier

import data.mainstay.lib

exception contains {"reason": "alice marks what she looks at", "paths": ["metadata.labels.tier"]} if {
	lib.by_user("alice")
}
`

func condition(t *testing.T, name string) *metav1.Condition {
	t.Helper()
	if c := meta.FindStatusCondition(shared.GitSync(t).Status.Conditions, name); c != nil {
		return c
	}
	return &metav1.Condition{}
}

func TestAnExceptionComesAndGoesWithGit(t *testing.T) {
	const ns = "excepted"
	app(t, ns)
	label := func(user, value string) (string, error) {
		return shared.Kubectl(t, user, "", "-n", ns, "label", "deployment", "web", "--overwrite", "tier="+value)
	}
	if out, err := label("alice", "one"); err == nil {
		t.Fatalf("permitted before there is an exception: %s", out)
	}
	shared.Pushed(t, map[string]string{"policies/tier/tier.rego": exception})
	shared.Await(t, "alice may set the label", func() (bool, string) {
		out, err := label("alice", "one")
		return err == nil, out
	})
	if out, err := label("bob", "two"); err == nil {
		t.Errorf("bob may, too: %s", out)
	}
	// A commit that has nothing to do with it, and a restart, keep the label.
	shared.Pushed(t, map[string]string{ns + "/web.yaml": strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", "nginx:1.28")})
	world.Must(t, shared.Controller(t).Stop(t.Context(), 0))
	shared.Restart(t)
	shared.Pushed(t, map[string]string{ns + "/web.yaml": strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", "nginx:1.29")})
	if got := web(t, ns).Labels["tier"]; got != "one" {
		t.Errorf("tier = %q, want one", got)
	}

	t.Run("a policy that does not compile changes nothing, and keeps no commit from being applied", func(t *testing.T) {
		shared.Pushed(t, map[string]string{
			"policies/tier/tier.rego": strings.ReplaceAll(exception, "lib.by_user", "lib.by_usr"),
			ns + "/web.yaml":          strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", "nginx:1.30"),
		})
		c := condition(t, v1alpha1.ConditionPoliciesReady)
		if c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "policies/tier/tier.rego:6:") {
			t.Errorf("PoliciesReady = %+v, want False with file:line:col", c)
		}
		if out, err := label("alice", "two"); err != nil {
			t.Errorf("the last good policies are not in force: %s", out)
		}
		if got := web(t, ns).Spec.Template.Spec.Containers[0].Image; got != "nginx:1.30" {
			t.Errorf("image = %s: the commit was not applied", got)
		}
	})
	t.Run("what the exception permitted goes with it", func(t *testing.T) {
		shared.Pushed(t, map[string]string{"policies/tier": ""})
		shared.Await(t, "the label is gone", func() (bool, string) {
			got, ok := web(t, ns).Labels["tier"]
			return !ok, got
		})
	})
}

func TestExceptionsInTheGitSync(t *testing.T) {
	const ns = "declarative"
	app(t, ns)
	gs := shared.GitSync(t)
	before := gs.DeepCopy()
	gs.Spec.Policies.Exceptions = []v1alpha1.Exception{{
		Kinds: []string{"Deployment"}, Names: []string{"we*"}, Users: []string{"alice"},
		Paths: []string{"metadata.annotations[\"example.org/note\"]"}, Reason: "alice writes notes",
	}}
	world.Must(t, shared.Client.Patch(t.Context(), gs, client.MergeFrom(before)))
	annotate := func(user string) (string, error) {
		return shared.Kubectl(t, user, "", "-n", ns, "annotate", "deployment", "web", "--overwrite", "example.org/note="+user)
	}
	shared.Await(t, "alice may write a note", func() (bool, string) {
		out, err := annotate("alice")
		return err == nil, out
	})
	if out, err := annotate("bob"); err == nil {
		t.Errorf("bob may, too: %s", out)
	}
	gs = shared.GitSync(t)
	before = gs.DeepCopy()
	gs.Spec.Policies.Exceptions = nil
	world.Must(t, shared.Client.Patch(t.Context(), gs, client.MergeFrom(before)))
	shared.Await(t, "the note is gone", func() (bool, string) {
		got, ok := web(t, ns).Annotations["example.org/note"]
		return !ok, got
	})
}

func TestModes(t *testing.T) {
	const ns = "modes"
	app(t, ns)
	set := func(mode v1alpha1.Mode) {
		t.Helper()
		gs := shared.GitSync(t)
		before := gs.DeepCopy()
		gs.Spec.Enforcement.Mode = mode
		world.Must(t, shared.Client.Patch(t.Context(), gs, client.MergeFrom(before)))
		shared.Await(t, fmt.Sprintf("mode %s is seen", mode), func() (bool, string) {
			gs := shared.GitSync(t)
			c := meta.FindStatusCondition(gs.Status.Conditions, v1alpha1.ConditionEnforcing)
			return c != nil && c.ObservedGeneration == gs.Generation &&
				(mode == v1alpha1.ModeEnforce) == (c.Status == metav1.ConditionTrue), fmt.Sprint(c)
		})
	}
	scale := func(replicas string) (string, error) {
		return shared.Kubectl(t, "alice", "", "-n", ns, "scale", "deployment/web", "--replicas="+replicas)
	}
	set(v1alpha1.ModeWarn)
	out, err := scale("3")
	if err != nil || !strings.Contains(out, "Warning") || !strings.Contains(out, "would be refused") {
		t.Errorf("Warn: kubectl said %q, %v", out, err)
	}
	set(v1alpha1.ModeAudit)
	if out, err := scale("4"); err != nil || strings.Contains(out, "Warning") {
		t.Errorf("Audit: kubectl said %q, %v", out, err)
	}
	set(v1alpha1.ModeEnforce)
	shared.Await(t, "git's replicas are back", func() (bool, string) {
		n := *web(t, ns).Spec.Replicas
		return n == 2, fmt.Sprint(n)
	})
	if out, err := scale("5"); err == nil {
		t.Errorf("Enforce: kubectl said %q", out)
	}
}

func TestAChangePolicyOfThePlatformTeam(t *testing.T) {
	const ns = "platform"
	app(t, ns)
	cp := &v1alpha1.ChangePolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "mainstay-system", Name: "no-restarts"},
		Spec: v1alpha1.ChangePolicySpec{Modules: map[string]string{"freeze.rego": `package freeze

deny contains {"reason": "no restarts on Mondays", "next": "wait for Tuesday"} if {
	input.namespace == "platform"
	some change in input.changes
	endswith(change.path, "restartedAt\"]")
}
`}},
	}
	world.Must(t, shared.Client.Create(t.Context(), cp))
	restart := func() (string, error) {
		return shared.Kubectl(t, "alice", "", "-n", ns, "rollout", "restart", "deployment/web")
	}
	shared.Await(t, "it is loaded", func() (bool, string) {
		world.Must(t, shared.Client.Get(t.Context(), client.ObjectKeyFromObject(cp), cp))
		c := meta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == cp.Generation, fmt.Sprint(c)
	})
	out, err := restart()
	if err == nil || !strings.Contains(out, "no restarts on Mondays") || !strings.Contains(out, "wait for Tuesday") {
		t.Errorf("a restart: kubectl said %q, want the policy's refusal", out)
	}
	t.Run("one that does not compile changes nothing", func(t *testing.T) {
		patch := client.MergeFrom(cp.DeepCopy()) // its status may be newer than cp
		cp.Spec.Modules = map[string]string{"freeze.rego": "package freeze\n\ndeny contains {\"reason\": \"x\"} if {\n\thttp.send({})\n}\n"}
		err := shared.Client.Patch(t.Context(), cp, patch)
		if err == nil || !strings.Contains(err.Error(), "freeze.rego:4:") || !strings.Contains(err.Error(), "http.send") {
			t.Errorf("%v, want the refusal with file:line:col and the built-in", err)
		}
		if out, err := restart(); err == nil {
			t.Errorf("the last good set is not in force: %s", out)
		}
	})
	world.Must(t, shared.Client.Delete(t.Context(), cp))
	shared.Await(t, "restarts are permitted again", func() (bool, string) {
		out, err := restart()
		return err == nil, out
	})
}
