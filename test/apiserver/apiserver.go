// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/controlplane"
	"github.com/mainstay-gitops/mainstay/config/crds"
)

// Options are the options of Main.
type Options struct {
	// WithoutControllerManager leaves out the controllers, which starts
	// faster. Then nothing is collected, scaled or rolled out.
	WithoutControllerManager bool
}

// server is the control plane of this process. Tests reach it by functions
// that have only a testing.TB, so it cannot be passed to them.
type server struct {
	opts Options

	mu      sync.Mutex
	ctx     context.Context // Set by Main; ends on a signal.
	dir     *lockedDir
	cluster *controlplane.Cluster
	bins    controlplane.Binaries
	err     error
}

var shared server

// Main runs the tests of a package and returns the status to exit with:
//
//	func TestMain(m *testing.M) { os.Exit(apiserver.Main(m)) }
//
// At most one Options may be given.
func Main(m *testing.M, opts ...Options) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	shared.ctx = ctx
	if len(opts) > 0 {
		shared.opts = opts[0]
	}
	interrupted := context.AfterFunc(ctx, func() {
		fmt.Fprintln(os.Stderr, "interrupted: stopping the control plane")
		_ = shared.stop()
		os.Exit(130)
	})
	code := m.Run()
	if !interrupted() {
		select {} // The other function is about to exit.
	}
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// Config returns how to reach the API server as one of its users: admin,
// alice or bob.
func Config(t testing.TB, user string) *rest.Config {
	t.Helper()
	if !slices.Contains(controlplane.Users(), user) {
		t.Fatalf("apiserver: there is no user %q, only %q", user, controlplane.Users())
	}
	cluster, _ := shared.start(t)
	return cluster.RESTConfig(user)
}

// Kubeconfig returns the file name of a kubeconfig with a context for each
// user; that of admin is the current one.
func Kubeconfig(t testing.TB) string {
	t.Helper()
	_, dir := shared.start(t)
	return filepath.Join(dir, "kubeconfig")
}

// Kubectl runs kubectl as a user and returns what it wrote, to stdout and
// stderr together. The error is kubectl's exit status.
func Kubectl(t testing.TB, user string, args ...string) (string, error) {
	t.Helper()
	cmd := KubectlCommand(t, user, args...)
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	return out.String(), err
}

// KubectlCommand returns a command that runs kubectl as a user, for tests that
// write to its stdin or need its stdout alone.
func KubectlCommand(t testing.TB, user string, args ...string) *exec.Cmd {
	t.Helper()
	_, dir := shared.start(t)
	global := []string{
		"--kubeconfig", filepath.Join(dir, "kubeconfig"), "--context", user,
		"--cache-dir", filepath.Join(dir, "kubectl-cache"),
	}
	cmd := exec.CommandContext(t.Context(), shared.bins.Kubectl, append(global, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	return cmd
}

// Namespace makes a namespace for one test and returns its name. It is deleted
// when the test ends.
func Namespace(t testing.TB) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(Config(t, controlplane.Admin))
	if err != nil {
		t.Fatal(err)
	}
	namespaces := client.CoreV1().Namespaces()
	ns, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := namespaces.Delete(context.WithoutCancel(t.Context()), ns.Name, metav1.DeleteOptions{}); err != nil {
			t.Logf("delete namespace %s: %v", ns.Name, err)
		}
	})
	return ns.Name
}

// start starts the control plane, unless it runs, and returns it with its
// folder.
func (s *server) start(t testing.TB) (*controlplane.Cluster, string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		t.Fatal("apiserver: call Main from the package's TestMain")
	}
	if s.cluster == nil && s.err == nil {
		s.err = s.startLocked()
	}
	if s.err != nil {
		t.Fatalf("start the tests' control plane: %v", s.err)
	}
	return s.cluster, s.dir.path
}

func (s *server) startLocked() error {
	bins, err := controlplane.Build(s.ctx, controlplane.BuildOptions{Progress: os.Stderr})
	if err != nil {
		return err
	}
	if s.dir, err = newLockedDir(); err != nil {
		return err
	}
	cluster, err := controlplane.Start(s.ctx, controlplane.Options{
		Dir:                      filepath.Join(s.dir.path, "control-plane"),
		Binaries:                 bins,
		WithoutControllerManager: s.opts.WithoutControllerManager,
	})
	if err != nil {
		return err
	}
	s.bins, s.cluster = bins, cluster
	if err := cluster.WriteKubeconfig(filepath.Join(s.dir.path, "kubeconfig")); err != nil {
		return err
	}
	objects, err := definitions()
	if err != nil {
		return err
	}
	return controlplane.Install(s.ctx, cluster.RESTConfig(controlplane.Admin), append(objects, controlplane.MayDoEverything()))
}

func definitions() ([]*unstructured.Unstructured, error) {
	all, err := crds.All()
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, crd := range all {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(crd)
		if err != nil {
			return nil, fmt.Errorf("convert %s: %w", crd.Name, err)
		}
		delete(content, "status")
		out = append(out, &unstructured.Unstructured{Object: content})
	}
	return out, nil
}

// stop stops the control plane and removes its folder.
func (s *server) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.cluster != nil {
		// Nothing of it is wanted any more: no grace.
		killed, cancel := context.WithCancel(context.Background())
		cancel()
		errs = append(errs, s.cluster.Stop(killed))
		s.cluster = nil
	}
	if s.dir != nil {
		errs = append(errs, s.dir.remove())
		s.dir = nil
	}
	s.err = errors.New("the control plane was stopped")
	return errors.Join(errs...)
}
