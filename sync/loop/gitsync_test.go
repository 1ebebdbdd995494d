// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/apply"
)

// edit changes the GitSync as its owner would.
func (s *theatre) edit(change func(gs *v1alpha1.GitSync)) {
	s.t.Helper()
	gs := new(v1alpha1.GitSync)
	must(s.t, s.client.Get(s.t.Context(), s.sync, gs))
	before := gs.DeepCopy()
	change(gs)
	must(s.t, s.client.Patch(s.t.Context(), gs, client.MergeFrom(before)))
}

// another GitSync of the same repository.
func (s *theatre) another(namespace, name string) *theatre {
	s.t.Helper()
	other := *s
	other.sync = types.NamespacedName{Namespace: namespace, Name: name}
	must(s.t, s.client.Create(s.t.Context(), &v1alpha1.GitSync{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.GitSyncSpec{
			Source:      v1alpha1.Source{URL: "file://" + s.repo, Ref: v1alpha1.Ref{Branch: "main"}, Path: "."},
			Enforcement: v1alpha1.Enforcement{Mode: v1alpha1.ModeEnforce},
		},
	}))
	return &other
}

func (s *theatre) patch(object client.Object, manager, patch string) {
	s.t.Helper()
	must(s.t, s.client.Patch(s.t.Context(), object, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner(manager)))
}

func (s *theatre) configMap(name string) *corev1.ConfigMap {
	s.t.Helper()
	cm := new(corev1.ConfigMap)
	must(s.t, s.get(name, cm))
	return cm
}

func (s *theatre) web() *appsv1.Deployment {
	s.t.Helper()
	d := new(appsv1.Deployment)
	must(s.t, s.get("web", d))
	return d
}

// drift is the number of objects that differ, and of those that may.
func (s *theatre) drift() (current, permitted int32) {
	current, permitted, _ = s.loop.guard.counts(s.sync)
	return current, permitted
}

func condition(gs *v1alpha1.GitSync, name string) metav1.Condition {
	if c := meta.FindStatusCondition(gs.Status.Conditions, name); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func TestDeletingAGitSync(t *testing.T) {
	for name, tt := range map[string]struct {
		policy string
		stays  bool
	}{
		"Orphan keeps the objects and takes the label off": {"Orphan", true},
		"Delete deletes them":                              {"Delete", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTheatre(t)
			s.push("cm.yaml", configMap("settings", "one"))
			s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.DeletionPolicy = tt.policy })
			s.synced()
			if s.configMap("settings").Labels[v1alpha1.SyncLabel] == "" {
				t.Fatal("settings has no ownership label")
			}

			gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: s.sync.Name}}
			must(t, s.client.Delete(t.Context(), gs))
			s.await("the GitSync is gone", func() bool {
				_, err := s.loop.Reconcile(t.Context(), reconcile.Request{NamespacedName: s.sync})
				must(t, err)
				return apierrors.IsNotFound(s.client.Get(t.Context(), s.sync, gs))
			})

			cm := new(corev1.ConfigMap)
			err := s.get("settings", cm)
			switch {
			case tt.stays && err != nil:
				t.Errorf("settings: %v, want it to stay", err)
			case !tt.stays && !apierrors.IsNotFound(err):
				t.Errorf("settings: %v, want it gone", err)
			case tt.stays && (cm.Labels[v1alpha1.SyncLabel] != "" || cm.Data["key"] != "one"):
				t.Errorf("settings = %v %v, want it as git said, without the label", cm.Labels, cm.Data)
			}
			if n := s.loop.Index.Len(); n != 0 {
				t.Errorf("%d objects are declared still", n)
			}
			if err := s.client.Get(t.Context(), s.sync, new(v1alpha1.Inventory)); !apierrors.IsNotFound(err) {
				t.Errorf("the inventory: %v, want it gone", err)
			}
			if tt.stays {
				s.patch(cm, "kubectl-edit", `{"data":{"key":"mine"}}`)
				id := ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: "settings"}
				if _, err := s.loop.guard.look(t.Context(), id, seen{}, false); err != nil {
					t.Error(err)
				}
				if got := s.configMap("settings").Data["key"]; got != "mine" {
					t.Errorf("key = %q: it is held still", got)
				}
			}
		})
	}
}

func TestWithoutPruneWhatLeavesGitIsReleased(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.push("other.yaml", configMap("other", "one"))
	s.edit(func(gs *v1alpha1.GitSync) { prune := false; gs.Spec.Prune = &prune })
	s.synced()
	s.push("cm.yaml", "")
	s.synced()
	cm := s.configMap("settings")
	if cm.Labels[v1alpha1.SyncLabel] != "" || cm.Data["key"] != "one" {
		t.Errorf("settings = %v %v, want it as it was, without the label", cm.Labels, cm.Data)
	}
	if _, ok := s.loop.Index.Lookup(ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: "settings"}); ok {
		t.Error("it is declared still")
	}
}

func TestTwoGitSyncsMayNotDeclareTheSameObject(t *testing.T) {
	s := newTheatre(t)
	s.push("a/cm.yaml", configMap("settings", "one"))
	s.push("b/other.yaml", configMap("other", "one")+"---\n"+configMap("settings", "two"))
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "a" })
	s.synced()
	till := s.another(s.sync.Namespace, "till")
	till.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "b" })
	till.fails("Conflict", "ConfigMap NS/settings", "b/other.yaml:6", "a/cm.yaml:1", "GitSync NS/shop")
	if got := s.configMap("settings").Data["key"]; got != "one" {
		t.Errorf("key = %q, want that of the first", got)
	}
	if err := s.get("other", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
		t.Errorf("other: %v, want nothing of that commit applied", err)
	}
	t.Run("until the first lets go", func(t *testing.T) {
		s.push("a/cm.yaml", configMap("kept", "one"))
		s.synced()
		till.loop.pass(till.sync).notBefore = metav1.Time{}.Time
		till.synced()
		if got := s.configMap("settings").Data["key"]; got != "two" {
			t.Errorf("key = %q, want that of the second", got)
		}
	})
}

func TestWhatCannotBeFetchedSaysWhatToDo(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	applied := s.look().Status.LastAppliedRevision
	for name, tt := range map[string]struct {
		edit   func(source *v1alpha1.Source)
		reason string
		words  []string
	}{
		"a server that does not answer": {
			func(source *v1alpha1.Source) { source.URL = "https://127.0.0.1:1/shop.git" },
			"Unreachable",
			[]string{"https://127.0.0.1:1/shop.git", "cannot be reached"},
		},
		"a folder that is not there": {
			func(source *v1alpha1.Source) { source.URL = "file://" + s.repo + "-absent" },
			"RepositoryNotFound",
			[]string{s.repo + "-absent"},
		},
		"a branch that is not there": {
			func(source *v1alpha1.Source) { source.Ref.Branch = "prod" },
			"RefNotFound",
			[]string{`branch "prod" does not exist`, "main", "spec.source.ref"},
		},
		"a tag that is not there": {
			func(source *v1alpha1.Source) { source.Ref = v1alpha1.Ref{Tag: "v1"} },
			"RefNotFound",
			[]string{`tag "v1" does not exist`, "spec.source.ref"},
		},
		"a path that is not there": {
			func(source *v1alpha1.Source) { source.Path = "clusters/prod" },
			"PathNotFound",
			[]string{`path "clusters/prod" does not exist`, "spec.source.path"},
		},
		"a Secret that is not there": {
			func(source *v1alpha1.Source) { source.SecretRef = &v1alpha1.LocalRef{Name: "shop-git"} },
			"SecretNotFound",
			[]string{"secret NS/shop-git", "does not exist", "bearerToken"},
		},
	} {
		t.Run(name, func(*testing.T) {
			var good v1alpha1.Source
			s.edit(func(gs *v1alpha1.GitSync) {
				good = *gs.Spec.Source.DeepCopy()
				tt.edit(&gs.Spec.Source)
			})
			s.fails(tt.reason, append(tt.words, applied+" stays enforced")...)
			s.patch(s.configMap("settings"), "kubectl-edit", `{"data":{"key":"mine"}}`)
			s.await("git's value is back", func() bool { return s.configMap("settings").Data["key"] == "one" })
			s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source = good })
			s.synced()
		})
	}
}

func TestRequestedAtTriggersALook(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", "kind: ConfigMap\napiVersion: v1\n")
	s.fails("RenderFailed", "cm.yaml:1")
	s.push("cm.yaml", configMap("settings", "one"))
	s.loop.pass(s.sync).notBefore = metav1.Now().Add(maxBackoff)
	if c := condition(s.look(), "Ready"); c.Status != metav1.ConditionFalse {
		t.Fatalf("Ready = %s before the next try was due", c.Status)
	}
	s.edit(func(gs *v1alpha1.GitSync) { gs.Annotations = map[string]string{v1alpha1.RequestedAtAnnotation: "now"} })
	s.synced()
	if got := s.look().Status.LastHandledRequest; got != "now" {
		t.Errorf("lastHandledRequest = %q, want now", got)
	}
}

func TestAdoptionKeepsWhatGitDoesNotDeclare(t *testing.T) {
	s := newTheatre(t)
	must(t, s.client.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.sync.Namespace, Name: "settings", Annotations: map[string]string{"note": "mine"},
		},
		Data: map[string]string{"key": "mine", "extra": "mine"},
	}, client.FieldOwner("kubectl-create")))
	s.push("cm.yaml", configMap("settings", "one"))
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Adopt = v1alpha1.AdoptForce })
	s.synced()
	kept := func(when string) {
		t.Helper()
		cm := s.configMap("settings")
		if cm.Data["key"] != "one" || cm.Data["extra"] != "mine" || cm.Annotations["note"] != "mine" {
			t.Errorf("%s: %v %v, want git's key and the rest as it was", when, cm.Data, cm.Annotations)
		}
	}
	kept("after the adoption")
	t.Run("also when drift is reverted", func(*testing.T) {
		s.patch(s.configMap("settings"), "kubectl-edit", `{"data":{"key":"again","extra":"again"}}`)
		s.await("both values are back", func() bool {
			cm := s.configMap("settings")
			return cm.Data["key"] == "one" && cm.Data["extra"] == "mine"
		})
		kept("after the revert")
	})
	t.Run("also with the next commit", func(t *testing.T) {
		s.push("cm.yaml", strings.Replace(configMap("settings", "one"), "\ndata: {", "\ndata: {more: x, ", 1))
		s.synced()
		if got := s.configMap("settings").Data["more"]; got != "x" {
			t.Fatalf("more = %q", got)
		}
		kept("after the commit")
	})
}

const replicasMayChange = `package team

exception contains {"reason": "scale as you like", "paths": ["spec.replicas"]} if input.operation == "UPDATE"
`

func TestAPolicyThatDoesNotCompileKeepsNothingBack(t *testing.T) {
	s := newTheatre(t)
	s.push("web.yaml", web)
	s.push("policies/team/team.rego", replicasMayChange)
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Policies.Paths = []string{"policies"} })
	s.synced()
	if c := condition(s.look(), "PoliciesReady"); c.Status != metav1.ConditionTrue || c.Message != "1 rules in force, 0 tests passed" {
		t.Fatalf("PoliciesReady = %+v", c)
	}
	var cp v1alpha1.ChangePolicy
	must(t, s.get(v1alpha1.GitSyncPolicyPrefix+"shop", &cp))

	s.push("policies/team/team.rego", "package team\n\nexception contains {\"reason\": nothing}\n")
	s.push("web.yaml", strings.Replace(web, "nginx:1.27", "nginx:1.28", 1))
	s.synced()
	gs := s.look()
	if c := condition(gs, "PoliciesReady"); c.Status != metav1.ConditionFalse || c.Reason != "LoadFailed" ||
		!strings.Contains(c.Message, "policies/team/team.rego:3:") || !strings.Contains(c.Message, "the last good policies stay in force") {
		t.Errorf("PoliciesReady = %+v, want file, line and column, and what stays", c)
	}
	if got := s.web().Spec.Template.Spec.Containers[0].Image; got != "nginx:1.28" {
		t.Errorf("image = %s: the commit was held back", got)
	}
	s.patch(s.web(), "kubectl-scale", `{"spec":{"replicas":7}}`)
	s.await("the last good exception permits it", func() bool { _, permitted := s.drift(); return permitted == 1 })
	if got := *s.web().Spec.Replicas; got != 7 {
		t.Errorf("replicas = %d, want 7 to stand", got)
	}
	t.Run("where the GitSync wants it, the commit waits", func(t *testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Policies.OnFailure = v1alpha1.OnFailureHoldCommit })
		s.push("web.yaml", strings.Replace(web, "nginx:1.27", "nginx:1.29", 1))
		s.fails("PoliciesFailed", "policies/team/team.rego:3:", "onFailure", "stays enforced")
		if got := s.web().Spec.Template.Spec.Containers[0].Image; got != "nginx:1.28" {
			t.Errorf("image = %s: the commit did not wait", got)
		}
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Policies.OnFailure = v1alpha1.OnFailureKeepLast })
		s.retried()
	})
	t.Run("and a mended one is in force again", func(t *testing.T) {
		s.push("policies/team/team.rego", strings.Replace(replicasMayChange, "spec.replicas", "spec.paused", 1))
		s.synced()
		if c := condition(s.look(), "PoliciesReady"); c.Status != metav1.ConditionTrue {
			t.Errorf("PoliciesReady = %+v", c)
		}
		s.await("what it no longer permits is reverted", func() bool { return *s.web().Spec.Replicas == 2 })
	})
}

func TestAnExceptionOfTheGitSyncPermitsDrift(t *testing.T) {
	s := newTheatre(t)
	s.push("web.yaml", web)
	s.edit(func(gs *v1alpha1.GitSync) {
		gs.Spec.Policies.Exceptions = []v1alpha1.Exception{{
			Kinds: []string{"Deployment"}, Names: []string{"w*"}, Paths: []string{"spec.replicas"}, Reason: "load tests",
		}}
	})
	s.synced()
	s.patch(s.web(), "kubectl-scale", `{"spec":{"replicas":7,"paused":true}}`)
	s.await("what no exception covers is reverted", func() bool { return !s.web().Spec.Paused })
	if got := *s.web().Spec.Replicas; got != 7 {
		t.Errorf("replicas = %d, want 7 to stand", got)
	}
	s.await("it is counted as permitted", func() bool { current, permitted := s.drift(); return current == 0 && permitted == 1 })
	t.Run("as long as it is there", func(*testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Policies.Exceptions = nil })
		s.synced()
		s.await("replicas are git's", func() bool { return *s.web().Spec.Replicas == 2 })
	})
}

// A deletion that was found has no permit that ends: the rule's own end counts.
func TestAnExceptionForAnObjectToBeGoneEndsInTime(t *testing.T) {
	t.Parallel()
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	until := time.Now().Add(3 * time.Second).Truncate(time.Second)
	_, err := s.loop.Policies.Load(t.Context(), policy.Source{Key: "changepolicy/mainstay-system/away", Modules: map[string]string{
		"away.rego": fmt.Sprintf("package away\n\nexception contains {\"reason\": \"away\", \"until\": %q} if input.operation == \"DELETE\"\n", until.UTC().Format(time.RFC3339)),
	}})
	must(t, err)
	must(t, s.client.Delete(t.Context(), s.configMap("settings")))
	s.await("its being gone is permitted", func() bool { _, permitted := s.drift(); return permitted == 1 })
	s.await("it is there again", func() bool { return s.get("settings", new(corev1.ConfigMap)) == nil })
	if late := time.Since(until); late < 0 || late > 2*time.Second {
		t.Errorf("it came back %s after the end", late)
	}
}

// Else a mistake in a rule would have Mainstay reset an autoscaler's replicas
// and fight the deployment controller.
func TestADenyThatFailsUndoesNothingThatIsPermitted(t *testing.T) {
	s := newTheatre(t)
	s.push("web.yaml", web)
	s.edit(func(gs *v1alpha1.GitSync) {
		gs.Spec.Policies.Exceptions = []v1alpha1.Exception{{Kinds: []string{"Deployment"}, Paths: []string{"spec.replicas"}, Reason: "scaled"}}
	})
	s.synced()
	s.patch(s.web(), "some-autoscaler", `{"spec":{"replicas":7}}`)
	s.patch(s.web(), "kube-controller-manager", `{"metadata":{"annotations":{"deployment.kubernetes.io/revision":"1"}}}`)
	_, err := s.loop.Policies.Load(t.Context(), policy.Source{Key: "changepolicy/mainstay-system/bad", Modules: map[string]string{
		"bad.rego": "package bad\n\ndeny contains {\"reason\": \"bad\"} if time.parse_rfc3339_ns(input.name) > 0\n",
	}})
	must(t, err)
	s.patch(s.web(), "kubectl-edit", `{"spec":{"paused":true}}`)
	s.await("what nothing permits is reverted", func() bool { return !s.web().Spec.Paused })
	generation := s.web().Generation // the deployment controller writes the status
	id := ownership.ID{Group: "apps", Kind: "Deployment", Namespace: s.sync.Namespace, Name: "web"}
	if _, err := s.loop.guard.look(t.Context(), id, seen{}, false); err != nil {
		t.Error(err)
	}
	d := s.web()
	if *d.Spec.Replicas != 7 || d.Annotations["deployment.kubernetes.io/revision"] != "1" || d.Generation != generation {
		t.Errorf("replicas = %d, annotations = %v, generation %d then %d: want it to stand", *d.Spec.Replicas, d.Annotations, generation, d.Generation)
	}
}

func TestAuditRevertsNothing(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Enforcement.Mode = v1alpha1.ModeAudit })
	s.synced()
	s.patch(s.configMap("settings"), "kubectl-edit", `{"data":{"key":"mine"}}`)
	s.await("the drift is counted", func() bool { current, _ := s.drift(); return current == 1 })
	version := s.configMap("settings").ResourceVersion
	id := ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: "settings"}
	if _, err := s.loop.guard.look(t.Context(), id, seen{}, false); err != nil {
		t.Error(err)
	}
	if cm := s.configMap("settings"); cm.Data["key"] != "mine" || cm.ResourceVersion != version {
		t.Errorf("settings = %v, want it untouched", cm.Data)
	}
	gs := s.look()
	if c := condition(gs, "Drifted"); c.Status != metav1.ConditionTrue || gs.Status.Drift.Current != 1 {
		t.Errorf("Drifted = %+v, drift = %+v", c, gs.Status.Drift)
	}
	if c := condition(gs, "Enforcing"); c.Status != metav1.ConditionFalse || c.Reason != "Audit" {
		t.Errorf("Enforcing = %+v", c)
	}
	t.Run("until the mode is Enforce", func(*testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Enforcement.Mode = v1alpha1.ModeEnforce })
		s.synced()
		s.await("git's value is back", func() bool { return s.configMap("settings").Data["key"] == "one" })
	})
}

func TestWhileMainstayIsOffNothingIsWritten(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	applied := s.look().Status.LastAppliedRevision
	s.off.set(true)
	s.patch(s.configMap("settings"), "kubectl-edit", `{"data":{"key":"mine"}}`)
	version := s.configMap("settings").ResourceVersion
	s.push("new.yaml", configMap("new", "one"))

	gs := s.look()
	if c := condition(gs, "Enforcing"); c.Status != metav1.ConditionFalse || c.Reason != "Off" || !strings.Contains(c.Message, "mainstay-off") {
		t.Errorf("Enforcing = %+v, want that it is off, and how to end that", c)
	}
	if gs.Status.LastAppliedRevision != applied {
		t.Errorf("applied %s", gs.Status.LastAppliedRevision)
	}
	if err := s.get("new", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
		t.Errorf("new: %v, want nothing applied", err)
	}
	id := ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: "settings"}
	if again, err := s.loop.guard.look(t.Context(), id, seen{}, false); err != nil || again <= 0 {
		t.Errorf("look again after %s, %v, want it to be tried later", again, err)
	}
	if cm := s.configMap("settings"); cm.ResourceVersion != version {
		t.Errorf("settings was written: %v", cm.Data)
	}

	s.off.set(false)
	s.await("the drift is reverted after its end", func() bool { return s.configMap("settings").Data["key"] == "one" })
	s.synced()
	if got := s.configMap("new").Data["key"]; got != "one" {
		t.Errorf("new: key = %q", got)
	}
	if c := condition(s.look(), "Enforcing"); c.Status != metav1.ConditionTrue {
		t.Errorf("Enforcing = %+v", c)
	}
}

func TestAnAutoscalersReplicasSurviveTheNextCommit(t *testing.T) {
	s := newTheatre(t)
	engine, ok := s.loop.Policies.(*policy.Engine)
	if !ok {
		t.Fatalf("policies are %T", s.loop.Policies)
	}
	hpa := map[string]any{"spec": map[string]any{
		"scaleTargetRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
		"minReplicas":    int64(3), "maxReplicas": int64(9),
	}}
	engine.SetObject("autoscaling", "HorizontalPodAutoscaler", s.sync.Namespace, "web", hpa)
	s.push("web.yaml", web)
	s.synced()
	s.patch(s.web(), "kube-controller-manager", `{"spec":{"replicas":5}}`)
	s.await("the autoscaler's value is permitted", func() bool { _, permitted := s.drift(); return permitted == 1 })

	s.push("web.yaml", strings.Replace(web, "nginx:1.27", "nginx:1.28", 1))
	s.synced()
	check := func(replicas int32, image string) {
		t.Helper()
		d := s.web()
		if got := d.Spec.Template.Spec.Containers[0].Image; *d.Spec.Replicas != replicas || got != image {
			t.Errorf("%d replicas of %s, want %d of %s", *d.Spec.Replicas, got, replicas, image)
		}
	}
	check(5, "nginx:1.28")
	t.Run("also of one that changes the replicas", func(*testing.T) {
		s.push("web.yaml", strings.NewReplacer("nginx:1.27", "nginx:1.29", "replicas: 2", "replicas: 4").Replace(web))
		s.synced()
		check(5, "nginx:1.29")
	})
	t.Run("but not out of its bounds", func(*testing.T) {
		s.patch(s.web(), "kube-controller-manager", `{"spec":{"replicas":50}}`)
		s.await("replicas are git's", func() bool { return *s.web().Spec.Replicas == 4 })
	})
	t.Run("and not when it is gone", func(*testing.T) {
		s.patch(s.web(), "kube-controller-manager", `{"spec":{"replicas":6}}`)
		s.await("the autoscaler's value is permitted", func() bool {
			_, permitted := s.drift()
			return permitted == 1 && *s.web().Spec.Replicas == 6
		})
		engine.DeleteObject("autoscaling", "HorizontalPodAutoscaler", s.sync.Namespace, "web")
		s.await("replicas are git's", func() bool { return *s.web().Spec.Replicas == 4 })
	})
}

// annotated gives the manifest of a configMap a mode of its own.
func annotated(manifest, mode string) string {
	return strings.Replace(manifest, "metadata: {", "metadata: {annotations: {mainstay.dev/mode: "+mode+"}, ", 1)
}

func TestAnObjectMayHaveAModeOfItsOwn(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", annotated(configMap("settings", "one"), "Audit"))
	s.push("other.yaml", configMap("other", "one"))
	s.synced()
	settings := ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: "settings"}
	mode := func() v1alpha1.Mode {
		t.Helper()
		r, ok := s.loop.Index.Lookup(settings)
		if !ok {
			t.Fatal("settings is not declared")
		}
		return r.Mode()
	}
	edited := func(name string) {
		t.Helper()
		s.patch(s.configMap(name), "kubectl-edit", `{"data":{"key":"mine"}}`)
	}
	if got := mode(); got != v1alpha1.ModeAudit {
		t.Fatalf("mode = %s", got)
	}
	t.Run("drift of it stands, that of the others goes", func(t *testing.T) {
		edited("settings")
		edited("other")
		s.await("the others are held", func() bool { return s.configMap("other").Data["key"] == "one" })
		s.await("its drift is counted", func() bool { current, _ := s.drift(); return current == 1 })
		if got := s.configMap("settings").Data["key"]; got != "mine" {
			t.Errorf("key = %q, want it to stand", got)
		}
	})
	t.Run("it is not made anew", func(t *testing.T) {
		must(t, s.client.Delete(t.Context(), s.configMap("settings")))
		if _, err := s.loop.guard.look(t.Context(), settings, seen{}, false); err != nil {
			t.Fatal(err)
		}
		if err := s.get("settings", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
			t.Errorf("settings: %v, want it to stay away", err)
		}
	})
	t.Run("until git takes the mode away", func(t *testing.T) {
		s.push("cm.yaml", configMap("settings", "one"))
		s.synced()
		if got := mode(); got != v1alpha1.ModeEnforce {
			t.Errorf("mode = %s", got)
		}
		edited("settings")
		s.await("git's value is back", func() bool { return s.configMap("settings").Data["key"] == "one" })
	})
	t.Run("a mode that is only live decides nothing", func(*testing.T) {
		s.patch(s.configMap("settings"), "kubectl-annotate", `{"metadata":{"annotations":{"mainstay.dev/mode":"Audit"}},"data":{"key":"mine"}}`)
		s.await("both are taken back", func() bool {
			cm := s.configMap("settings")
			_, marked := cm.Annotations[v1alpha1.ModeAnnotation]
			return !marked && cm.Data["key"] == "one"
		})
	})
	t.Run("and one that git has is put back", func(*testing.T) {
		s.push("cm.yaml", annotated(configMap("settings", "one"), "Enforce"))
		s.synced()
		s.patch(s.configMap("settings"), "kubectl-annotate", `{"metadata":{"annotations":{"mainstay.dev/mode":"Audit"}}}`)
		s.await("it is Enforce", func() bool { return s.configMap("settings").Annotations[v1alpha1.ModeAnnotation] == "Enforce" })
	})
	t.Run("in a GitSync that audits, one object is held", func(t *testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Enforcement.Mode = v1alpha1.ModeAudit })
		s.synced()
		edited("settings")
		edited("other")
		s.await("settings is git's", func() bool { return s.configMap("settings").Data["key"] == "one" })
		s.await("other's drift is counted", func() bool { current, _ := s.drift(); return current == 1 })
		if got := s.configMap("other").Data["key"]; got != "mine" {
			t.Errorf("other: key = %q, want it to stand", got)
		}
	})
	t.Run("a mode that is none is an error with its line", func(*testing.T) {
		s.push("cm.yaml", annotated(configMap("settings", "two"), "Observe"))
		s.fails("RenderFailed", "cm.yaml:3", `annotation mainstay.dev/mode is "Observe": write Audit, Warn or Enforce`)
	})
}

// account makes the service account deployer, which may do what the verbs say to ConfigMaps
// of the theatre's namespace.
func (s *theatre) account(verbs ...string) (user string) {
	s.t.Helper()
	const name = "deployer"
	meta := metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: name}
	must(s.t, s.client.Create(s.t.Context(), &corev1.ServiceAccount{ObjectMeta: meta}))
	must(s.t, s.client.Create(s.t.Context(), &rbacv1.Role{
		ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: verbs}},
	}))
	must(s.t, s.client.Create(s.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: s.sync.Namespace, Name: name}},
	}))
	return "system:serviceaccount:" + s.sync.Namespace + ":" + name
}

func TestObjectsAreWrittenInTheNameOfTheAccount(t *testing.T) {
	s := newTheatre(t)
	user := s.account("create", "patch", "delete")
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.ServiceAccountName = "deployer" })
	s.push("cm.yaml", configMap("settings", "one"))
	s.await("the role is in force", func() bool {
		s.loop.pass(s.sync).notBefore = metav1.Time{}.Time
		return condition(s.look(), "Ready").Reason == "Applied"
	})
	known, _ := s.loop.Index.Sync(s.sync)
	if known.ServiceAccount != user {
		t.Errorf("the inventory says %q, want %q: a new leader would write in its own name", known.ServiceAccount, user)
	}
	t.Run("also when drift is taken back", func(*testing.T) {
		s.patch(s.configMap("settings"), "kubectl-edit", `{"data":{"key":"mine","extra":"mine"}}`)
		s.await("git's value is back, and nothing else", func() bool {
			data := s.configMap("settings").Data
			return data["key"] == "one" && data["extra"] == ""
		})
	})
	t.Run("what it may not do says who lacks what", func(t *testing.T) {
		s.push("web.yaml", web)
		s.fails("AccessDenied", "web.yaml:1", user, `cannot patch resource "deployments" in API group "apps" in the namespace "NS"`,
			"bind a role to "+user)
		if err := s.get("web", new(appsv1.Deployment)); !apierrors.IsNotFound(err) {
			t.Errorf("web: %v, want it not to be written by Mainstay itself", err)
		}
		s.push("web.yaml", "")
		s.loop.pass(s.sync).notBefore = metav1.Time{}.Time
		s.synced()
	})
	t.Run("also when it is pruned", func(*testing.T) {
		s.push("other.yaml", configMap("other", "one"))
		s.synced()
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: "deployer"}}
		s.patch(role, "kubectl-edit", `{"rules":[{"apiGroups":[""],"resources":["configmaps"],"verbs":["create","patch"]}]}`)
		settings := ownership.Entry{ID: ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: "absent"}, Version: "v1", Resource: "configmaps"}
		s.await("the role is in force", func() bool {
			_, err := s.loop.Applier.Delete(s.t.Context(), apply.TargetOf(known, &settings), "")
			return err != nil
		})
		s.push("other.yaml", "")
		s.fails("AccessDenied", "other.yaml:1", user, "cannot delete")
		s.configMap("other")
		s.patch(role, "kubectl-edit", `{"rules":[{"apiGroups":[""],"resources":["configmaps"],"verbs":["create","patch","delete"]}]}`)
		s.await("other is gone", func() bool {
			s.loop.pass(s.sync).notBefore = metav1.Time{}.Time
			s.look()
			return apierrors.IsNotFound(s.get("other", new(corev1.ConfigMap)))
		})
	})
}
