// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// tenant is a GitSync of the name shop in a namespace of its own, with an
// account that may write ConfigMaps there and nothing else.
func tenant(t *testing.T, namespace string, mode v1alpha1.Mode) *repository {
	t.Helper()
	world.Must(t, shared.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	account := metav1.ObjectMeta{Namespace: namespace, Name: "deployer"}
	world.Must(t, shared.Client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: account}))
	world.Must(t, shared.Client.Create(t.Context(), &rbacv1.Role{ObjectMeta: account, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "create", "patch", "delete"},
	}}}))
	world.Must(t, shared.Client.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: account, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "deployer"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: "deployer"}},
	}))
	return follow(t, client.ObjectKey{Namespace: namespace, Name: "shop"}, func(gs *v1alpha1.GitSync) {
		gs.Spec.ServiceAccountName, gs.Spec.Enforcement.Mode = "deployer", mode
	})
}

func manifestOf(namespace, name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {key: %s}\n", name, namespace, value)
}

func TestTenantsAreHeldToTheirNamespaces(t *testing.T) {
	a, b := tenant(t, "team-a", v1alpha1.ModeEnforce), tenant(t, "team-b", v1alpha1.ModeEnforce)
	for _, r := range []*repository{a, b} {
		r.push(t, "cm.yaml", manifestOf(r.sync.Namespace, "settings", "git"))
		r.is(t, metav1.ConditionTrue, "Applied", "")
	}
	overwritten := func(user, namespace, value string) (string, error) {
		t.Helper()
		return shared.Kubectl(t, user, "", "-n", namespace, "patch", "configmap", "settings", "--type=merge", `-p={"data":{"key":"`+value+`"}}`)
	}
	t.Run("alice is refused, and told whose it is", func(t *testing.T) {
		for _, r := range []*repository{a, b} {
			shared.Await(t, "she is refused", func() (bool, string) {
				out, err := overwritten("alice", r.sync.Namespace, "alice")
				return err != nil && strings.Contains(out, "denied the request") && strings.Contains(out, "cm.yaml"), out
			})
		}
	})
	t.Run("the account itself can write what git says, and nothing else", func(t *testing.T) {
		as := []string{"--as=system:serviceaccount:team-a:deployer", "-n", "team-a", "patch", "configmap", "settings", "--type=merge"}
		if out, err := shared.Kubectl(t, "admin", "", append(as, `-p={"data":{"key":"evil"}}`)...); err == nil || !strings.Contains(out, "denied the request") {
			t.Errorf("what git does not say: %v %s", err, out)
		}
		if out, err := shared.Kubectl(t, "admin", "", append(as, `-p={"data":{"key":"git"}}`)...); err != nil {
			t.Errorf("what git says: %s", out)
		}
	})
	t.Run("a commit is applied in its name", func(t *testing.T) {
		a.push(t, "cm.yaml", manifestOf("team-a", "settings", "two")+"---\n"+manifestOf("team-a", "more", "one"))
		a.is(t, metav1.ConditionTrue, "Applied", "")
		var cm corev1.ConfigMap
		world.Must(t, shared.Client.Get(t.Context(), client.ObjectKey{Namespace: "team-a", Name: "settings"}, &cm))
		if cm.Data["key"] != "two" {
			t.Errorf("key = %q", cm.Data["key"])
		}
		a.push(t, "cm.yaml", manifestOf("team-a", "settings", "two"))
		shared.Await(t, "what left git is pruned", func() (bool, string) {
			err := shared.Client.Get(t.Context(), client.ObjectKey{Namespace: "team-a", Name: "more"}, &cm)
			return apierrors.IsNotFound(err), fmt.Sprint(err)
		})
	})
	t.Run("what it may not write is an error that says who lacks what", func(t *testing.T) {
		a.push(t, "web.yaml", strings.ReplaceAll(held, "NS", "team-a"))
		a.is(t, metav1.ConditionFalse, "AccessDenied", `web.yaml:1: Deployment.apps team-a/web: deployments.apps "web" is forbidden: `+
			`User "system:serviceaccount:team-a:deployer" cannot patch resource "deployments"`)
		a.push(t, "web.yaml", "")
		a.is(t, metav1.ConditionTrue, "Applied", "")
	})
	t.Run("an object outside is an error with its line", func(t *testing.T) {
		a.push(t, "evil.yaml", "# not ours\n"+manifestOf("team-b", "settings", "evil"))
		a.is(t, metav1.ConditionFalse, "Invalid", "evil.yaml:2: ConfigMap team-b/settings is outside namespace team-a")
		var cm corev1.ConfigMap
		world.Must(t, shared.Client.Get(t.Context(), client.ObjectKey{Namespace: "team-b", Name: "settings"}, &cm))
		if cm.Data["key"] != "git" {
			t.Errorf("team-b's key = %q", cm.Data["key"])
		}
		a.push(t, "evil.yaml", "")
		a.is(t, metav1.ConditionTrue, "Applied", "")
	})
	t.Run("the end of one is not the end of the other of its name", func(t *testing.T) {
		if out, err := shared.Kubectl(t, "admin", "", "-n", "team-a", "delete", "gitsync", "shop", "--timeout=30s"); err != nil {
			t.Fatal(out)
		}
		if out, err := overwritten("alice", "team-a", "alice"); err != nil {
			t.Errorf("team-a's is held still: %s", out)
		}
		if out, err := overwritten("alice", "team-b", "alice"); err == nil {
			t.Errorf("team-b's is held no longer: %s", out)
		}
		var cm corev1.ConfigMap
		world.Must(t, shared.Client.Get(t.Context(), client.ObjectKey{Namespace: "team-a", Name: "settings"}, &cm))
		if cm.Labels[v1alpha1.SyncLabel] != "" {
			t.Errorf("labels = %v", cm.Labels)
		}
	})
}

// ready is the condition Ready of a GitSync, for its newest generation and when
// nothing is under way.
func ready(gs *v1alpha1.GitSync) metav1.Condition {
	if meta.IsStatusConditionTrue(gs.Status.Conditions, v1alpha1.ConditionReconciling) {
		return metav1.Condition{}
	}
	if c := meta.FindStatusCondition(gs.Status.Conditions, v1alpha1.ConditionReady); c != nil && c.ObservedGeneration == gs.Generation {
		return *c
	}
	return metav1.Condition{}
}
