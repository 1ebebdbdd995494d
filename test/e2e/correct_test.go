// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// ownRepository makes a repository of its own with some files, and returns its URL.
func ownRepository(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=Cy", "-c", "user.email=cy@shop.example"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	run("init", "-q", "-b", "main", dir)
	for name, content := range files {
		world.Must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	run("-C", dir, "add", ".")
	run("-C", dir, "commit", "-q", "-m", t.Name())
	run("clone", "-q", "--bare", dir, dir+".git")
	return "file://" + dir + ".git"
}

func TestAControllersWritesAreCorrected(t *testing.T) {
	const ns = "corrected"
	files := map[string]string{
		"namespace.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + "}\n",
		"web.yaml":       strings.ReplaceAll(held, "NS", ns),
	}
	sync := &v1alpha1.GitSync{
		ObjectMeta: metav1.ObjectMeta{Name: ns, Namespace: "mainstay-system"},
		Spec: v1alpha1.GitSyncSpec{
			Source:         v1alpha1.Source{URL: ownRepository(t, files), Ref: v1alpha1.Ref{Branch: "main"}},
			Interval:       &metav1.Duration{Duration: 1e9},
			Enforcement:    v1alpha1.Enforcement{Mode: v1alpha1.ModeEnforce, Controllers: v1alpha1.ControllersCorrect},
			DeletionPolicy: "Delete",
		},
	}
	world.Must(t, shared.Client.Create(t.Context(), sync))
	configuration := func(ctx context.Context) error {
		return shared.Client.Get(ctx, types.NamespacedName{Name: "mainstay"}, new(admissionregistrationv1.MutatingWebhookConfiguration))
	}
	t.Cleanup(func() {
		world.Must(t, shared.Client.Delete(world.Lasting(t), sync))
		shared.Await(t, "the mutating configuration is gone with the GitSync that wants it", func() (bool, string) {
			err := configuration(world.Lasting(t))
			return apierrors.IsNotFound(err), fmt.Sprint(err)
		})
	})
	sync24h := func(t *testing.T) int32 {
		t.Helper()
		world.Must(t, shared.Client.Get(t.Context(), client.ObjectKeyFromObject(sync), sync))
		return sync.Status.Drift.Reverted24h
	}
	operator := func(args ...string) (string, error) {
		return shared.Kubectl(t, "admin", "", append([]string{"-n", ns, "--as=system:serviceaccount:" + ns + ":operator"}, args...)...)
	}
	shared.Await(t, "the operator may write", func() (bool, string) {
		out, err := shared.Kubectl(t, "admin", "", "-n", ns, "create", "rolebinding", "operator", "--clusterrole=cluster-admin", "--serviceaccount="+ns+":operator")
		return err == nil || strings.Contains(out, "AlreadyExists"), out
	})
	const (
		image = `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.28"}]}}}}`
		both  = `{"metadata":{"annotations":{"operator.example.org/seen":"yes"}},"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.28"}]}}}}`
	)
	// A warning has 120 characters: the path is cut for what happened to it.
	const told = `Warning: deployments.apps "web" (namespace corrected): spec.template.spec.containers[name=`
	shared.Await(t, "a write is corrected", func() (bool, string) {
		out, err := operator("patch", "deployment", "web", "--dry-run=server", "-p", image)
		return err == nil && strings.Contains(out, told), out
	})

	before, reverts := web(t, ns), sync24h(t)
	out, err := operator("patch", "deployment", "web", "-p", both)
	if err != nil || !strings.Contains(out, told) {
		t.Fatalf("kubectl said %q (%v), want a warning", out, err)
	}
	after := web(t, ns)
	if after.Spec.Template.Spec.Containers[0].Image != "nginx:1.27" || after.Annotations["operator.example.org/seen"] != "yes" {
		t.Errorf("image %s, annotations %v", after.Spec.Template.Spec.Containers[0].Image, after.Annotations)
	}
	if !equality.Semantic.DeepEqual(after.Spec, before.Spec) {
		t.Errorf("the object has changed: %+v", after.Spec)
	}
	for _, e := range after.ManagedFields {
		if got, want := strings.Contains(e.FieldsV1.GetRawString(), "f:image"), e.Manager == v1alpha1.FieldManager; got != want && e.Subresource == "" {
			t.Errorf("manager %s owns the image: %v", e.Manager, got)
		}
	}
	const corrected = `"namespace":"corrected"`
	shared.Await(t, "the ledger has the correction", func() (bool, string) {
		return slices.ContainsFunc(ledger(t), func(line string) bool {
			return strings.Contains(line, `"verdict":"correct"`) && strings.Contains(line, corrected)
		}), ""
	})
	lines := 0
	for _, line := range ledger(t) {
		if strings.Contains(line, `"verdict":"correct"`) && strings.Contains(line, corrected) {
			lines++
			if !strings.Contains(line, "system:serviceaccount:corrected:operator") || !strings.Contains(line, "nginx:1.28") {
				t.Errorf("ledger line %s", line)
			}
		}
	}
	if lines != 1 {
		t.Errorf("%d corrections in the ledger, want that of the write and none of its dry run", lines)
	}

	for name, write := range map[string][]string{
		"a scale":             {"scale", "deployment/web", "--replicas=9"},
		"a delete":            {"delete", "deployment", "web"},
		"wiped managedFields": {"patch", "deployment", "web", "--type=json", "-p", `[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`},
	} {
		if out, err := operator(write...); err == nil || !strings.Contains(out, "denied the request") {
			t.Errorf("%s: kubectl said %q", name, out)
		}
	}
	for name, write := range map[string][]string{
		"an owner":        {"patch", "deployment", "web", "--type=merge", "-p", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"12345678-1234-1234-1234-123456789012"}]}}`},
		"no label":        {"label", "deployment", "web", "mainstay.dev/sync-"},
		"no containers":   {"patch", "deployment", "web", "--type=json", "-p", `[{"op":"replace","path":"/spec/template/spec/containers","value":[{"name":"side","image":"x"}]}]`},
		"several at once": {"patch", "deployment", "web", "--type=merge", "-p", `{"spec":{"replicas":7,"template":{"metadata":{"labels":{"app":"web","more":"yes"}}}}}`},
	} {
		if out, err := operator(write...); err != nil || !strings.Contains(out, "put back") {
			t.Errorf("%s: kubectl said %q (%v)", name, out, err)
		}
	}
	after = web(t, ns)
	if len(after.OwnerReferences) > 0 || after.Labels[v1alpha1.SyncLabel] == "" || *after.Spec.Replicas != 2 {
		t.Errorf("the object is %+v", after.ObjectMeta)
	}
	if c := after.Spec.Template.Spec.Containers; len(c) != 2 || c[0].Name == c[1].Name || after.Spec.Template.Labels["more"] != "yes" {
		t.Errorf("containers %+v, labels %v", c, after.Spec.Template.Labels)
	}
	if got := sync24h(t); got != reverts {
		t.Errorf("%d reverts", got-reverts)
	}

	if out, err := shared.Kubectl(t, "alice", "", "-n", ns, "patch", "deployment", "web", "-p", image); err == nil || !strings.Contains(out, "asked: nginx:1.28") {
		t.Errorf("alice is not refused: %q", out)
	}

	out, err = shared.Kubectl(t, "admin", strings.ReplaceAll(autoscaler, "NS", ns), "apply", "-f", "-")
	if err != nil {
		t.Fatal(out)
	}
	shared.Await(t, "the autoscaler has scaled", func() (bool, string) {
		d := web(t, ns)
		return *d.Spec.Replicas == 4, d.ResourceVersion
	})
	if out, err := operator("patch", "deployment", "web", "-p", image); err != nil || !strings.Contains(out, told) || *web(t, ns).Spec.Replicas != 4 {
		t.Errorf("beside the autoscaler's replicas: %q (%v), %d replicas", out, err, *web(t, ns).Spec.Replicas)
	}
}
