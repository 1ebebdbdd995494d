// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/test/apiserver"
)

// tenant is a GitSync shop in a namespace of its own that follows a folder of the
// repository. NS in what it pushes is its own namespace.
func (s *theatre) tenant(folder string) *theatre {
	s.t.Helper()
	other := s.another(apiserver.Namespace(s.t), "shop")
	other.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = folder })
	return other
}

func TestAGitSyncElsewhereNeedsAnAccount(t *testing.T) {
	s := newTheatre(t)
	team := s.tenant("team")
	team.push("team/cm.yaml", configMap("settings", "one"))
	gs := team.look()
	for _, name := range []string{"Ready", "Stalled"} {
		if c := condition(gs, name); c.Reason != "ServiceAccountRequired" || !strings.Contains(c.Message, "spec.serviceAccountName") {
			t.Errorf("%s = %+v, want ServiceAccountRequired and what to set", name, c)
		}
	}
	if c := condition(gs, "Stalled"); c.Status != metav1.ConditionTrue {
		t.Errorf("Stalled = %s, want True", c.Status)
	}
	if len(gs.Finalizers) > 0 {
		t.Errorf("finalizers = %v: it could not be deleted without Mainstay", gs.Finalizers)
	}
	if err := team.get("settings", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
		t.Errorf("settings: %v, want nothing applied", err)
	}
}

// Whoever may write a GitSync in a namespace must not read the controller's disk,
// with the clones of other teams on it, by it.
func TestATenantReadsNoRepositoryFromTheDisk(t *testing.T) {
	s := newTheatre(t)
	s.loop.o.TenantFileSources = false
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced() // Mainstay's own namespace may
	team := s.tenant("team")
	team.account("create", "patch", "delete")
	team.push("team/cm.yaml", configMap("settings", "one"))
	team.edit(func(gs *v1alpha1.GitSync) { gs.Spec.ServiceAccountName = "deployer" })
	gs := team.look()
	for _, name := range []string{"Ready", "Stalled"} {
		if c := condition(gs, name); c.Reason != "SourceNotAllowed" || !strings.Contains(c.Message, "https://") {
			t.Errorf("%s = %+v, want SourceNotAllowed and what to write", name, c)
		}
	}
	if c := condition(gs, "Stalled"); c.Status != metav1.ConditionTrue {
		t.Errorf("Stalled = %s, want True", c.Status)
	}
	if err := team.get("settings", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
		t.Errorf("settings: %v, want nothing to be applied", err)
	}
	s.loop.o.TenantFileSources = true
	team.ready()
}

// ready looks until the account's role is in force.
func (s *theatre) ready() {
	s.t.Helper()
	s.await("it is applied", func() bool {
		s.loop.pass(s.sync).notBefore = metav1.Time{}.Time
		return condition(s.look(), "Ready").Reason == "Applied"
	})
	must(s.t, s.loop.watcher.Synced(s.t.Context()))
}

func TestTenants(t *testing.T) {
	s := newTheatre(t)
	a, b := s.tenant("a"), s.tenant("b")
	for team, folder := range map[*theatre]string{a: "a", b: "b"} {
		team.account("create", "patch", "delete")
		team.edit(func(gs *v1alpha1.GitSync) {
			gs.Spec.ServiceAccountName = "deployer"
			gs.Spec.Policies.Exceptions = []v1alpha1.Exception{{Paths: []string{"data." + folder}, Reason: "ours"}}
		})
		team.push(folder+"/cm.yaml", configMap("settings", "one"))
		team.ready()
	}
	t.Run("each holds what is its own, by its own policies", func(*testing.T) {
		for _, team := range []*theatre{a, b} {
			team.patch(team.configMap("settings"), "kubectl-edit", `{"data":{"key":"mine","a":"x"}}`)
		}
		a.await("git's value is back, and what a's exception permits stays", func() bool {
			data := a.configMap("settings").Data
			return data["key"] == "one" && data["a"] == "x"
		})
		b.await("git's value is back, and nothing else", func() bool {
			data := b.configMap("settings").Data
			return data["key"] == "one" && data["a"] == ""
		})
	})
	t.Run("their records do not meet", func(t *testing.T) {
		for _, team := range []*theatre{a, b} {
			var inventory v1alpha1.Inventory
			must(t, s.client.Get(t.Context(), team.sync, &inventory))
			for _, name := range inventory.Data.Chunks {
				var chunk corev1.Secret
				must(t, s.client.Get(t.Context(), types.NamespacedName{Namespace: s.sync.Namespace, Name: name}, &chunk))
			}
			var cp v1alpha1.ChangePolicy
			must(t, team.get(v1alpha1.GitSyncPolicyPrefix+"shop", &cp))
		}
		if x, y := a.inventoryChunks(), b.inventoryChunks(); x == y {
			t.Errorf("both have the chunks %s", x)
		}
	})
	for name, tt := range map[string]struct{ content, id string }{
		"an object of another namespace": {configMap("evil", "one"), "ConfigMap " + b.sync.Namespace + "/evil"},
		"an object without a namespace":  {"apiVersion: v1\nkind: Namespace\nmetadata: {name: evil}\n", "Namespace evil"},
		"a ClusterRole": {
			"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: evil}\nrules: []\n",
			"ClusterRole.rbac.authorization.k8s.io evil",
		},
	} {
		t.Run(name+" is an error with its line", func(t *testing.T) {
			b.push("a/evil.yaml", "# out of bounds\n"+tt.content) // NS is b's
			a.fails("Invalid", "a/evil.yaml:2", tt.id+" is outside namespace "+a.sync.Namespace,
				"a GitSync there may only declare objects of that namespace")
			if err := b.get("evil", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
				t.Errorf("evil: %v, want nothing to be written", err)
			}
			b.push("a/evil.yaml", "")
		})
	}
	t.Run("the Secret of its source is its namespace's", func(*testing.T) {
		must(t, s.client.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: "git"}}))
		a.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.SecretRef = &v1alpha1.LocalRef{Name: "git"} })
		a.fails("SecretNotFound", "NS/git")
	})
}

func (s *theatre) inventoryChunks() string {
	s.t.Helper()
	var inventory v1alpha1.Inventory
	must(s.t, s.client.Get(s.t.Context(), s.sync, &inventory))
	return strings.Join(inventory.Data.Chunks, " ")
}

func hpa(name, version string) string {
	return "apiVersion: autoscaling/" + version + "\nkind: HorizontalPodAutoscaler\nmetadata: {name: " + name + ", namespace: NS}\n" +
		"spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, maxReplicas: 3}\n"
}

func TestAKindIsDeclaredInOneVersion(t *testing.T) {
	s := newTheatre(t)
	s.push("a/one.yaml", hpa("one", "v2"))
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "a" })
	s.synced()
	t.Run("within a GitSync", func(*testing.T) {
		s.push("a/two.yaml", hpa("two", "v1"))
		s.fails("RenderFailed", "a/two.yaml:1", "a/one.yaml:1", "autoscaling/v1", "autoscaling/v2", "choose one of them")
		s.push("a/two.yaml", "")
	})
	till := s.another(s.sync.Namespace, "till")
	till.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "b" })
	t.Run("and across them", func(*testing.T) {
		s.push("b/two.yaml", "# theirs\n"+hpa("two", "v1"))
		till.fails("Conflict", "b/two.yaml:2", "a/one.yaml:1", "GitSync NS/shop", "autoscaling/v1", "autoscaling/v2", "choose one of them")
		s.push("b/two.yaml", hpa("two", "v2"))
		till.loop.pass(till.sync).notBefore = metav1.Time{}.Time
		till.synced()
	})
	t.Run("a tenant follows, and does not lead", func(*testing.T) {
		team := s.tenant("c")
		team.account("create")
		team.edit(func(gs *v1alpha1.GitSync) { gs.Spec.ServiceAccountName = "deployer" })
		team.push("c/three.yaml", hpa("three", "v1"))
		team.fails("Conflict", "c/three.yaml:1", "a/one.yaml:1", "GitSync "+s.sync.String())
		id := ownership.ID{Group: "autoscaling", Kind: "HorizontalPodAutoscaler", Namespace: team.sync.Namespace, Name: "three"}
		must(t, s.loop.Index.Replace(&ownership.Sync{Namespace: team.sync.Namespace, Name: "old", Generation: 1}, []*ownership.Entry{
			{ID: id, Version: "v1", Resource: "horizontalpodautoscalers", Attempted: &ownership.Content{}},
		}))
		s.push("a/one.yaml", strings.Replace(hpa("one", "v2"), "maxReplicas: 3", "maxReplicas: 4", 1))
		s.loop.pass(s.sync).notBefore = metav1.Time{}.Time
		s.synced()
	})
}

func TestTheStatusSaysWhatIsOnlyReverted(t *testing.T) {
	s := newTheatre(t)
	s.push("lease.yaml", "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: one, namespace: NS-x}\n---\n"+
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-x}\n---\n"+
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: seen, namespace: NS-x}\n---\n"+
		"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: one, namespace: NS-x}\nspec: {podSelector: {}}\n---\n"+
		configMap("at-home", "one"))
	s.synced()
	enforcing := func(want string) {
		t.Helper()
		c := condition(s.look(), "Enforcing")
		if want = "changes that git did not make are refused; " + want; c.Status != metav1.ConditionTrue || c.Message != want {
			t.Errorf("Enforcing = %s %q, want %q", c.Status, c.Message, want)
		}
	}
	enforcing("2 objects are only reverted, not refused: ConfigMap, Lease.coordination.k8s.io")
	t.Run("kinds of another API server, too", func(*testing.T) {
		s.loop.aggregated.mu.Lock()
		s.loop.aggregated.versions[s.entry("", "ConfigMap", "at-home").GVK().GroupVersion()] = true
		s.loop.aggregated.mu.Unlock()
		enforcing("4 objects are only reverted, not refused: ConfigMap, Lease.coordination.k8s.io, Namespace")
	})
}

func TestWhichVersionsOtherAPIServersServe(t *testing.T) {
	s := newTheatre(t)
	versions := s.loop.aggregatedVersions(t.Context())
	if len(versions) > 0 {
		t.Fatalf("aggregated: %v, want none", versions)
	}
	s.byHand("apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: v1alpha1.NS.example.org}\n" +
		"spec: {group: NS.example.org, version: v1alpha1, groupPriorityMinimum: 10, versionPriority: 10, insecureSkipTLSVerify: true, service: {namespace: NS, name: absent}}\n")
	s.loop.aggregated.at = metav1.Time{}.Time
	var got []string
	for gv := range s.loop.aggregatedVersions(t.Context()) {
		got = append(got, gv.String())
	}
	if want := s.sync.Namespace + ".example.org/v1alpha1"; len(got) != 1 || got[0] != want {
		t.Errorf("aggregated: %v, want %s", got, want)
	}
	service := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "v1alpha1." + s.sync.Namespace + ".example.org"}}
	service.APIVersion, service.Kind = "apiregistration.k8s.io/v1", "APIService"
	must(t, s.client.Delete(t.Context(), service))
}

func TestWhatSlippedInDoesNotOutliveIt(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: "owner"}}
	must(t, s.client.Create(t.Context(), owner))
	for name, tt := range map[string]struct {
		manager, patch string
	}{
		"an owner by which the garbage collector would delete it": {
			"kubectl-edit", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"` + string(owner.UID) + `"}]}}`,
		},
		"the same by a controller":       {"some-controller", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"` + string(owner.UID) + `"}]}}`},
		"a finalizer that would keep it": {"kubectl-edit", `{"metadata":{"finalizers":["example.org/stuck"]}}`},
	} {
		t.Run(name, func(*testing.T) {
			s.patch(s.configMap("settings"), tt.manager, tt.patch)
			s.await("it is stripped", func() bool {
				cm := s.configMap("settings")
				return len(cm.OwnerReferences)+len(cm.Finalizers) == 0
			})
		})
	}
	t.Run("and the owner's end is not the object's", func(t *testing.T) {
		uid := s.configMap("settings").UID
		must(t, s.client.Delete(t.Context(), owner))
		if got := s.configMap("settings"); got.UID != uid || !got.DeletionTimestamp.IsZero() {
			t.Error("settings went with it")
		}
	})
}

// shopInner declares a namespace with a custom resource, its definition and
// more in it.
const shopInner = `apiVersion: v1
kind: Namespace
metadata: {name: NS-inner}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.NS.example.org}
spec:
  group: NS.example.org
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: NS.example.org/v1
kind: Widget
metadata: {name: w, namespace: NS-inner}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: app, namespace: NS-inner}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: NS-inner}
data: {key: one}
`

func TestANamespaceThatWasDeletedComesBackWithItsObjects(t *testing.T) {
	s := newTheatre(t)
	s.push("inner.yaml", shopInner)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	inner := types.NamespacedName{Name: s.sync.Namespace + "-inner"}
	ns := new(corev1.Namespace)
	must(t, s.client.Get(t.Context(), inner, ns))
	uid := ns.UID
	must(t, s.client.Delete(t.Context(), ns))
	s.await("the namespace is there anew, with its objects", func() bool {
		for name, object := range map[string]interface {
			GetDeletionTimestamp() *metav1.Time
		}{"": ns, "c": new(corev1.ConfigMap), "app": new(corev1.ServiceAccount)} {
			var err error
			switch o := object.(type) {
			case *corev1.Namespace:
				err = s.client.Get(t.Context(), inner, o)
			case *corev1.ConfigMap:
				err = s.client.Get(t.Context(), types.NamespacedName{Namespace: inner.Name, Name: name}, o)
			case *corev1.ServiceAccount:
				err = s.client.Get(t.Context(), types.NamespacedName{Namespace: inner.Name, Name: name}, o)
			}
			if err != nil || !object.GetDeletionTimestamp().IsZero() {
				return false
			}
		}
		return ns.UID != uid
	})
}

func TestAWholeAppLeavesNothingStuck(t *testing.T) {
	s := newTheatre(t)
	s.push("inner.yaml", shopInner)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	s.push("inner.yaml", "")
	s.annotate(v1alpha1.ConfirmAnnotation, s.head())
	inner := types.NamespacedName{Name: s.sync.Namespace + "-inner"}
	crd := &metav1.PartialObjectMetadata{}
	crd.APIVersion, crd.Kind = "apiextensions.k8s.io/v1", "CustomResourceDefinition"
	s.await("namespace and definition are gone", func() bool {
		s.loop.pass(s.sync).notBefore = metav1.Time{}.Time
		s.look()
		return apierrors.IsNotFound(s.client.Get(t.Context(), inner, new(corev1.Namespace))) &&
			apierrors.IsNotFound(s.client.Get(t.Context(), types.NamespacedName{Name: "widgets." + s.sync.Namespace + ".example.org"}, crd))
	})
	s.await("nothing of it is declared", func() bool { s.look(); return s.loop.Index.Len() == 1 })
	if s.loop.pass(s.sync).pruning {
		t.Error("it is being pruned still")
	}
}
