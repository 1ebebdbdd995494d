// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// repository is a repository of its own and the GitSync that follows it.
type repository struct {
	dir  string
	sync client.ObjectKey
}

func follow(t *testing.T, sync client.ObjectKey, change func(*v1alpha1.GitSync)) *repository {
	t.Helper()
	r := &repository{dir: filepath.Join(t.TempDir(), "repo"), sync: sync}
	world.Must(t, os.MkdirAll(r.dir, 0o755))
	r.git(t, "init", "-q", "-b", "main")
	r.push(t, "README.md", "a repository")
	gs := &v1alpha1.GitSync{
		ObjectMeta: metav1.ObjectMeta{Namespace: sync.Namespace, Name: sync.Name},
		Spec: v1alpha1.GitSyncSpec{
			Source:   v1alpha1.Source{URL: "file://" + r.dir, Ref: v1alpha1.Ref{Branch: "main"}},
			Interval: &metav1.Duration{Duration: time.Second},
			Health:   v1alpha1.HealthIgnore, // no pod runs here
		},
	}
	change(gs)
	world.Must(t, shared.Client.Create(t.Context(), gs))
	t.Cleanup(func() { _ = shared.Client.Delete(world.Lasting(t), gs) })
	return r
}

func (r *repository) git(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=Cy", "-c", "user.email=cy@shop.example"}, args...)...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// push commits a file; an empty one is removed.
func (r *repository) push(t *testing.T, file, content string) {
	t.Helper()
	if content == "" {
		r.git(t, "rm", "-q", file)
	} else {
		world.Must(t, os.WriteFile(filepath.Join(r.dir, file), []byte(content), 0o600))
		r.git(t, "add", file)
	}
	r.git(t, "commit", "-q", "-m", "change "+file)
}

// is waits until Ready says this of the newest commit.
func (r *repository) is(t *testing.T, status metav1.ConditionStatus, reason, words string) *v1alpha1.GitSync {
	t.Helper()
	head := r.git(t, "rev-parse", "HEAD")
	gs := new(v1alpha1.GitSync)
	shared.Await(t, reason, func() (bool, string) {
		world.Must(t, shared.Client.Get(t.Context(), r.sync, gs))
		c := ready(gs)
		return strings.HasSuffix(gs.Status.LastAttemptedRevision, head) && c.Status == status && c.Reason == reason && strings.Contains(c.Message, words),
			fmt.Sprintf("%s %+v", gs.Status.LastAttemptedRevision, c)
	})
	return gs
}

func TestObserveWritesNothingAndJudgesEverything(t *testing.T) {
	const ns = "observed"
	world.Must(t, shared.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}))
	for _, manifest := range []string{strings.ReplaceAll(held, "NS", ns), manifestOf(ns, "settings", "mine")} {
		if out, err := shared.Kubectl(t, "alice", manifest, "create", "-f", "-"); err != nil {
			t.Fatal(out)
		}
	}
	settings := func() *corev1.ConfigMap {
		t.Helper()
		cm := new(corev1.ConfigMap)
		world.Must(t, shared.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "settings"}, cm))
		return cm
	}
	shared.Await(t, "the deployment controller is done", func() (bool, string) {
		d := web(t, ns)
		return d.Status.ObservedGeneration == d.Generation && d.Status.Replicas == 2, d.ResourceVersion
	})
	before := [2]string{web(t, ns).ResourceVersion, settings().ResourceVersion}
	r := follow(t, client.ObjectKey{Namespace: "mainstay-system", Name: "observer"}, func(gs *v1alpha1.GitSync) {
		gs.Spec.Enforcement.Mode = v1alpha1.ModeObserve
	})
	r.push(t, "web.yaml", strings.ReplaceAll(held, "NS", ns))
	r.push(t, "cm.yaml", manifestOf(ns, "settings", "git")+"---\n"+manifestOf(ns, "new", "git"))
	gs := r.is(t, metav1.ConditionTrue, "Observing", "3 objects: 1 as git says, 1 would change, 1 would be created")
	if got := [2]string{web(t, ns).ResourceVersion, settings().ResourceVersion}; got != before {
		t.Errorf("resource versions %v, want %v", got, before)
	}
	if d, cm := web(t, ns), settings(); len(d.Labels)+len(cm.Labels) > 0 || len(d.Finalizers)+len(cm.Finalizers) > 0 {
		t.Errorf("labels %v %v", d.Labels, cm.Labels)
	}
	if err := shared.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "new"}, new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
		t.Errorf("new: %v, want it not to be there", err)
	}
	if gs.Status.LastAppliedRevision != "" || gs.Status.Drift.Current != 1 {
		t.Errorf("applied %q, drift %+v", gs.Status.LastAppliedRevision, gs.Status.Drift)
	}
	t.Run("a change passes in silence, and is recorded", func(t *testing.T) {
		shared.Await(t, "the Event says that it would be refused", func() (bool, string) {
			out, err := shared.Kubectl(t, "alice", "", "-n", ns, "set", "image", "deployment/web", fmt.Sprintf("web=nginx:%d", time.Now().UnixNano()))
			if err != nil || strings.Contains(out, "Warning") {
				t.Fatalf("kubectl said %q, %v", out, err)
			}
			events, err := shared.Kubectl(t, "admin", "", "-n", ns, "get", "events", "--field-selector=reason=ChangeWouldBeRefused", "-o", "name")
			return err == nil && strings.Contains(events, "event"), events
		})
	})
	t.Run("Enforce takes it over and holds it", func(t *testing.T) {
		world.Must(t, shared.Client.Get(t.Context(), r.sync, gs))
		edited := gs.DeepCopy()
		edited.Spec.Enforcement.Mode = v1alpha1.ModeEnforce
		edited.Spec.Adopt = v1alpha1.AdoptForce
		world.Must(t, shared.Client.Patch(t.Context(), edited, client.MergeFrom(gs)))
		r.is(t, metav1.ConditionTrue, "Applied", "")
		if got := settings().Data["key"]; got != "git" {
			t.Errorf("key = %q", got)
		}
		if got := web(t, ns).Spec.Template.Spec.Containers[0].Image; got != "nginx:1.27" {
			t.Errorf("image = %s", got)
		}
		shared.Await(t, "alice is refused", func() (bool, string) {
			out, err := shared.Kubectl(t, "alice", "", "-n", ns, "scale", "deployment/web", "--replicas=7")
			return err != nil && strings.Contains(out, "denied the request"), out
		})
	})
}
