// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// repository is one that a GitSync of its own follows.
type repository struct {
	dir  string
	sync types.NamespacedName
}

// newRepository has a first commit.
func newRepository(t *testing.T, namespace, name string, files map[string]string) *repository {
	t.Helper()
	r := &repository{dir: t.TempDir(), sync: types.NamespacedName{Namespace: namespace, Name: name}}
	r.git(t, "init", "-q", "-b", "main")
	r.write(t, files)
	return r
}

// spec is what a GitSync that follows it says.
func (r *repository) spec() v1alpha1.GitSyncSpec {
	return v1alpha1.GitSyncSpec{
		Source:      v1alpha1.Source{URL: "file://" + r.dir, Ref: v1alpha1.Ref{Branch: "main"}},
		Interval:    &metav1.Duration{Duration: time.Second},
		Health:      v1alpha1.HealthIgnore, // no pod runs here
		Enforcement: v1alpha1.Enforcement{Mode: v1alpha1.ModeEnforce},
	}
}

// follow makes a GitSync with a repository of its own. One outside of
// Mainstay's namespace writes as the account that deployer makes.
func follow(t *testing.T, namespace, name string, files map[string]string, but ...func(*v1alpha1.GitSyncSpec)) *repository {
	t.Helper()
	r := newRepository(t, namespace, name, files)
	gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: r.spec()}
	if namespace != system {
		gs.Spec.ServiceAccountName = "deployer"
	}
	for _, change := range but {
		change(&gs.Spec)
	}
	world.Must(t, shared.Client.Create(t.Context(), gs))
	t.Cleanup(func() { world.Must(t, client.IgnoreNotFound(shared.Client.Delete(world.Lasting(t), gs))) })
	return r
}

// deletes has what a GitSync declares go along with it.
func deletes(spec *v1alpha1.GitSyncSpec) { spec.DeletionPolicy = "Delete" }

// deployer is the manifest of a namespace, and of an account that may do
// everything in it.
func deployer(name string) string {
	return namespace(name) + "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: deployer, namespace: " + name + "}\n---\n" +
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: deployer, namespace: " + name + "}\n" +
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n" +
		"subjects: [{kind: ServiceAccount, name: deployer, namespace: " + name + "}]\n"
}

func (r *repository) git(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(world.Lasting(t), "git", append([]string{"-c", "user.name=Cy", "-c", "user.email=cy@shop.example"}, args...)...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// write commits files, of which an empty one is removed.
func (r *repository) write(t *testing.T, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(r.dir, name)
		if content == "" {
			world.Must(t, os.Remove(file))
			continue
		}
		world.Must(t, os.WriteFile(file, []byte(content), 0o600))
	}
	r.git(t, "add", "--all")
	r.git(t, "commit", "-q", "-m", t.Name())
}

// commit writes files and asks for a look at once.
func (r *repository) commit(t *testing.T, files map[string]string) {
	t.Helper()
	r.write(t, files)
	r.annotate(t, v1alpha1.RequestedAtAnnotation, r.head(t))
}

func (r *repository) head(t *testing.T) string {
	t.Helper()
	return r.git(t, "rev-parse", "HEAD")
}

// annotate is what an administrator does to the GitSync.
func (r *repository) annotate(t *testing.T, key, value string) {
	t.Helper()
	gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: r.sync.Namespace, Name: r.sync.Name}}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
	world.Must(t, shared.Client.Patch(world.Lasting(t), gs, client.RawPatch(types.MergePatchType, []byte(patch))))
}

// says waits until Ready says this of the newest commit, in these words.
func (r *repository) says(t *testing.T, reason string, words ...string) {
	t.Helper()
	head, message := r.head(t), ""
	shared.Await(t, fmt.Sprintf("Ready of %s says %s", r.sync, reason), func() (bool, string) {
		gs := new(v1alpha1.GitSync)
		world.Must(t, shared.Client.Get(world.Lasting(t), r.sync, gs))
		c := meta.FindStatusCondition(gs.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil {
			return false, "nothing"
		}
		message = c.Message
		return c.Reason == reason && strings.HasSuffix(gs.Status.LastAttemptedRevision, head), c.Reason + ": " + c.Message
	})
	for _, word := range words {
		if !strings.Contains(message, word) {
			t.Errorf("%s: %q does not say %q", reason, message, word)
		}
	}
}

// applied waits until the newest commit is.
func (r *repository) applied(t *testing.T) {
	t.Helper()
	head := r.head(t)
	shared.Await(t, fmt.Sprintf("the commit of %s is applied", r.sync), func() (bool, string) {
		gs := new(v1alpha1.GitSync)
		world.Must(t, shared.Client.Get(world.Lasting(t), r.sync, gs))
		return strings.HasSuffix(gs.Status.LastAppliedRevision, head), fmt.Sprintf("%+v", gs.Status.Conditions)
	})
}

// deleted deletes the GitSync and waits until it is gone.
func (r *repository) deleted(t *testing.T) {
	t.Helper()
	gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: r.sync.Namespace, Name: r.sync.Name}}
	world.Must(t, shared.Client.Delete(t.Context(), gs))
	becomes(t, r.object(), ".metadata.name", "absent")
}

// object is the GitSync, as live has it.
func (r *repository) object() string { return "gitsync " + r.sync.Name + " -n " + r.sync.Namespace }

// label of an object of the core group that the GitSync declares.
func (r *repository) label(kind, ns, name string) string {
	return ownership.LabelValue(r.sync, ownership.ID{Kind: kind, Namespace: ns, Name: name})
}

// data is the manifest of a ConfigMap that says where it comes from.
func data(ns, name, from string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: " + ns + "}\ndata: {from: " + from + "}\n"
}
