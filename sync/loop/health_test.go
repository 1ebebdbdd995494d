// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

func TestReadyWaitsForHealth(t *testing.T) {
	s := newTheatre(t)
	s.edit(func(gs *v1alpha1.GitSync) {
		gs.Spec.Health = v1alpha1.HealthWait
		gs.Spec.Timeout = &metav1.Duration{Duration: 3 * time.Second}
	})
	s.push("web.yaml", strings.Replace(web, "replicas: 2", "replicas: 1", 1))
	s.push("cm.yaml", configMap("settings", "one"))

	gs := s.look()
	c := condition(gs, "Ready")
	if c.Status != metav1.ConditionUnknown || c.Reason != "Progressing" || !strings.Contains(c.Message, "1 of 2 ready; waiting for Deployment "+s.sync.Namespace+"/web: ") {
		t.Fatalf("Ready = %+v", c)
	}
	if r := condition(gs, "Reconciling"); r.Status != metav1.ConditionTrue {
		t.Errorf("Reconciling = %+v", r)
	}
	s.await("it is too long, and says so", func() bool { return condition(s.look(), "Ready").Reason == "HealthTimeout" })
	gs = s.look()
	if c = condition(gs, "Ready"); c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "after 3s (spec.timeout)") || !strings.Contains(c.Message, "is enforced all the same") {
		t.Errorf("Ready = %+v", c)
	}
	if o := gs.Status.Objects; o.Declared != 2 || o.Ready != 1 || len(o.NotReady) != 1 || o.NotReady[0].Name != "web" || len(o.Kinds) != 2 {
		t.Errorf("objects = %+v", o)
	}

	t.Run("what is not healthy is enforced", func(t *testing.T) {
		var cm corev1.ConfigMap
		must(t, s.get("settings", &cm))
		cm.Data["key"] = "two"
		must(t, s.client.Update(t.Context(), &cm))
		s.await("git's value is back", func() bool {
			must(t, s.get("settings", &cm))
			return cm.Data["key"] == "one"
		})
	})
	t.Run("it is ready when git says not to wait for the object", func(t *testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Timeout = nil }) // a busy machine takes longer to apply it
		s.push("web.yaml", strings.Replace(web, "namespace: NS}", "namespace: NS, annotations: {mainstay.dev/health: Ignore}}", 1))
		if c := condition(s.look(), "Ready"); c.Status != metav1.ConditionTrue {
			t.Errorf("Ready = %+v", c)
		}
	})
}

func TestObjectsAreWrittenInTheOrderTheyDependOnEachOther(t *testing.T) {
	s := newTheatre(t)
	dependent := strings.Replace(configMap("last", "one"), "namespace: NS}",
		"namespace: NS, annotations: {mainstay.dev/depends-on: /namespaces/NS/ConfigMap/middle}}", 1)
	middle := strings.Replace(configMap("middle", "one"), "namespace: NS}",
		"namespace: NS, annotations: {config.kubernetes.io/depends-on: batch/namespaces/NS/Job/first}}", 1)
	s.push("all.yaml", dependent+"---\n"+middle+"---\n"+`apiVersion: batch/v1
kind: Job
metadata: {name: first, namespace: NS}
spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: x, image: x}]}}}
`)
	s.fails(dependencyNotReady, "all.yaml:6: ConfigMap NS/middle waits for Job.batch NS/first, on which it depends: Job not started")
	for _, name := range []string{"middle", "last"} {
		if err := s.get(name, new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
			t.Errorf("%s: %v, want it not to be there", name, err)
		}
	}
	must(t, s.get("first", new(batchv1.Job)))

	// The job goes on and ends, as its controller would say.
	now := time.Now().UTC().Format(time.RFC3339)
	s.await("the job is complete", func() bool {
		job := new(batchv1.Job)
		job.SetNamespace(s.sync.Namespace)
		job.SetName("first")
		patch := fmt.Sprintf(`{"status":{"startTime":%q,"completionTime":%q,"succeeded":1,"conditions":[
			{"type":"SuccessCriteriaMet","status":"True","lastTransitionTime":%[1]q},
			{"type":"Complete","status":"True","lastTransitionTime":%[1]q}]}}`, now, now)
		err := s.client.Status().Patch(t.Context(), job, client.RawPatch(types.MergePatchType, []byte(patch)))
		if err != nil {
			t.Log(err)
		}
		return err == nil
	})
	s.await("all are written", func() bool {
		s.loop.pass(s.sync).notBefore = time.Time{}
		return condition(s.look(), "Ready").Status == metav1.ConditionTrue
	})
	must(t, s.get("middle", new(corev1.ConfigMap)))
	must(t, s.get("last", new(corev1.ConfigMap)))
}

func TestANewerCommitIsNotKeptByOneThatWaits(t *testing.T) {
	s := newTheatre(t)
	s.push("job.yaml", `apiVersion: batch/v1
kind: Job
metadata: {name: first, namespace: NS}
spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: x, image: x}]}}}
`)
	waits := strings.Replace(configMap("last", "one"), "namespace: NS}",
		"namespace: NS, annotations: {mainstay.dev/depends-on: batch/namespaces/NS/Job/first}}", 1)
	s.push("last.yaml", waits)
	s.fails(dependencyNotReady)
	s.push("last.yaml", configMap("last", "two")) // waits for nothing any more
	s.synced()
	must(t, s.get("last", new(corev1.ConfigMap)))
}

func TestAGitSyncWaitsForThoseItDependsOn(t *testing.T) {
	s := newTheatre(t)
	s.push("a/cm.yaml", configMap("a", "one"))
	s.push("b/cm.yaml", configMap("b", "one"))
	first := types.NamespacedName{Namespace: s.sync.Namespace, Name: "crds"}
	s.edit(func(gs *v1alpha1.GitSync) {
		gs.Spec.Source.Path = "b"
		gs.Spec.DependsOn = []v1alpha1.Dependency{{Name: first.Name}}
	})
	s.fails(dependencyNotReady, "waits for GitSync crds (spec.dependsOn): it does not exist")

	other := &v1alpha1.GitSync{
		ObjectMeta: metav1.ObjectMeta{Namespace: first.Namespace, Name: first.Name},
		Spec: v1alpha1.GitSyncSpec{
			Source:      v1alpha1.Source{URL: "file://" + s.repo, Ref: v1alpha1.Ref{Branch: "main"}, Path: "a"},
			Enforcement: v1alpha1.Enforcement{Mode: v1alpha1.ModeEnforce},
		},
	}
	must(t, s.client.Create(t.Context(), other))
	s.fails(dependencyNotReady, "it was not applied yet")
	if err := s.get("b", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
		t.Errorf("%v, want nothing to be written", err)
	}
	lookAt := func(key types.NamespacedName) {
		t.Helper()
		_, err := s.loop.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
		must(t, err)
	}
	s.loop.told.take()
	lookAt(first)
	if !s.loop.told.take()[s.sync] {
		t.Error("the one that waits is not told")
	}
	s.loop.pass(s.sync).notBefore = time.Time{}
	s.synced()
	must(t, s.get("b", new(corev1.ConfigMap)))

	t.Run("a commit of the same branch comes there first", func(*testing.T) {
		s.push("b/cm.yaml", configMap("b", "two"))
		s.fails(dependencyNotReady, "follows the same branch, and main@sha1:")
		lookAt(first)
		s.loop.pass(s.sync).notBefore = time.Time{}
		s.synced()
	})
	t.Run("two that wait for each other are told so", func(t *testing.T) {
		must(t, s.client.Get(t.Context(), first, other))
		before := other.DeepCopy()
		other.Spec.DependsOn = []v1alpha1.Dependency{{Name: "shop"}}
		must(t, s.client.Patch(t.Context(), other, client.MergeFrom(before)))
		s.push("b/cm.yaml", configMap("b", "three"))
		s.fails("DependencyCycle", "spec.dependsOn leads back here: shop → crds → shop")
		var cm corev1.ConfigMap
		must(t, s.get("b", &cm))
		if cm.Data["key"] != "two" {
			t.Errorf("got %q, want what was applied", cm.Data["key"])
		}
	})
	t.Run("one of another team's namespace can't be named", func(*testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) {
			gs.Spec.DependsOn = []v1alpha1.Dependency{{Namespace: "elsewhere", Name: "x"}}
		})
		s.fails("Invalid", "GitSync elsewhere/x is in another namespace")
	})
}

func TestTheStatusRemembersRevisions(t *testing.T) {
	s := newTheatre(t)
	for i := range maxHistory + 2 {
		s.push("cm.yaml", configMap("settings", fmt.Sprint(i)))
		s.synced()
	}
	history := s.look().Status.History
	if len(history) != maxHistory {
		t.Fatalf("%d revisions, want %d", len(history), maxHistory)
	}
	newest, err := json.Marshal(history[0])
	must(t, err)
	if h := history[0]; h.Author != "Bo" || h.Subject != "change cm.yaml" || h.Written != 1 || h.CommittedAt == nil || h.Revision == history[1].Revision {
		t.Errorf("%s", newest)
	}
}
