// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"errors"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func TestWhichErrorsSayThatAFieldCantBeChanged(t *testing.T) {
	invalid := func(messages ...string) error {
		err := apierrors.NewInvalid(batchv1.SchemeGroupVersion.WithKind("Job").GroupKind(), "x", nil)
		for _, m := range messages {
			err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: m})
		}
		return err
	}
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"a Job's template":                  {invalid(`Invalid value: {}: field is immutable`), true},
		"a Service's address":               {invalid(`Invalid value: ["10.0.0.2"]: may not change once set`), true},
		"a StatefulSet's":                   {invalid(`Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden`), true},
		"a binding's role":                  {invalid(`Invalid value: {}: cannot change roleRef`), true},
		"that and something else":           {invalid(`field is immutable`, `Required value`), false},
		"something else":                    {invalid(`Required value`), false},
		"none that is said":                 {invalid(), false},
		"the same words of another refusal": {apierrors.NewForbidden(batchv1.Resource("jobs"), "x", errors.New("field is immutable")), false},
		"none":                              {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := unchangeable(tt.err); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

func immutable(value, annotations string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fixed, namespace: NS, annotations: {" + annotations + "}}\nimmutable: true\ndata: {key: " + value + "}\n"
}

func TestAFieldThatCantBeChanged(t *testing.T) {
	s := newTheatre(t)
	s.push("fixed.yaml", immutable("one", ""))
	s.synced()
	before := s.configMap("fixed")
	s.push("fixed.yaml", immutable("two", ""))
	s.push("other.yaml", configMap("other", "one"))
	s.fails("Immutable", "fixed.yaml:1: ConfigMap NS/fixed", "data: field is immutable", `mainstay.dev/recreate: "true"`)
	if err := s.get("other", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
		t.Errorf("other: %v, want nothing of the commit to be applied", err)
	}
	for name, annotation := range map[string]string{
		"by Mainstay's annotation": `mainstay.dev/recreate: "true"`,
		"by Flux's":                `kustomize.toolkit.fluxcd.io/force: enabled`,
	} {
		t.Run("is changed where git allows that the object is made anew, "+name, func(t *testing.T) {
			value := "by" + annotation[:4]
			s.push("fixed.yaml", immutable(value, annotation))
			s.loop.pass(s.sync).notBefore = time.Time{}
			s.synced()
			after := s.configMap("fixed")
			if after.UID == before.UID || after.Data["key"] != value {
				t.Errorf("data = %v, the same object: %t", after.Data, after.UID == before.UID)
			}
			if message := condition(s.look(), "Ready").Message; !strings.Contains(message, "1 made anew") {
				t.Errorf("Ready says %q", message)
			}
			before = after
		})
	}
	t.Run("is left to the next start where a crash came between", func(t *testing.T) {
		id := ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: "fixed"}
		entries := s.loop.Index.Entries(s.sync)
		entry := *entries[id]
		entry.Pruning, entry.Attempted = true, entry.Applied
		entries[id] = &entry
		known, _ := s.loop.Index.Sync(s.sync)
		sync := *known
		var all []*ownership.Entry
		for _, e := range entries {
			all = append(all, e)
		}
		must(t, s.loop.Inventory.Save(t.Context(), &sync, all))
		must(t, s.client.Delete(t.Context(), before))
		s.loop.forget(s.sync)
		s.synced()
		if got := s.configMap("fixed"); got.UID == before.UID {
			t.Error("it is not made anew")
		}
	})
}

const migration = `apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: NS}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: migrate, image: "migrate:1"}]
`

func (s *theatre) job() *batchv1.Job {
	s.t.Helper()
	job := new(batchv1.Job)
	must(s.t, s.get("migrate", job))
	return job
}

// finish has the Job run to its end, which takes a node: its status is written
// as the Job controller would.
func (s *theatre) finish() {
	s.t.Helper()
	now := metav1.Now()
	job := s.job()
	if job.Status.StartTime == nil {
		job.Status.StartTime = &now
	}
	job.Status.CompletionTime, job.Status.Succeeded, job.Status.Active, job.Status.Ready = &now, 1, 0, new(int32)
	job.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	for _, c := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete} {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: c, Status: corev1.ConditionTrue})
	}
	must(s.t, s.client.Status().Update(s.t.Context(), job))
}

func TestAJobThatHasRun(t *testing.T) {
	s := newTheatre(t)
	s.push("job.yaml", migration)
	s.synced()
	id := ownership.ID{Group: "batch", Kind: "Job", Namespace: s.sync.Namespace, Name: "migrate"}
	remembered := func() bool {
		r, ok := s.loop.Index.Lookup(id)
		return ok && r.Applied != nil && r.Applied.Finished
	}
	background := client.PropagationPolicy(metav1.DeletePropagationBackground)

	t.Run("is made again when somebody deletes it before", func(*testing.T) {
		uid := s.job().UID
		must(t, s.client.Delete(t.Context(), s.job(), background))
		s.await("it is there again", func() bool {
			job := new(batchv1.Job)
			return s.get("migrate", job) == nil && job.UID != uid && job.DeletionTimestamp.IsZero()
		})
	})
	t.Run("is not made again when it is collected after", func(t *testing.T) {
		s.await("its status can be written", func() bool {
			job := new(batchv1.Job)
			return s.get("migrate", job) == nil && job.Status.StartTime != nil
		})
		s.finish()
		s.await("its end is remembered", remembered)
		must(t, s.client.Delete(t.Context(), s.job(), background))
		s.await("it is gone", func() bool { return apierrors.IsNotFound(s.get("migrate", new(batchv1.Job))) })
		s.push("cm.yaml", configMap("settings", "one"))
		s.synced()
		if _, err := s.loop.guard.look(t.Context(), id, seen{listed: true}, true); err != nil {
			t.Error(err)
		}
		if err := s.get("migrate", new(batchv1.Job)); !apierrors.IsNotFound(err) {
			t.Errorf("it is there again: %v", err)
		}
		if current, _ := s.drift(); current != 0 {
			t.Errorf("drift = %d", current)
		}
	})
	t.Run("is made again when git changes it", func(t *testing.T) {
		s.push("job.yaml", strings.Replace(migration, "migrate:1", "migrate:2", 1))
		s.synced()
		if got := s.job().Spec.Template.Spec.Containers[0].Image; got != "migrate:2" {
			t.Errorf("image = %s", got)
		}
	})
}
