// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/process"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// world is the sandbox that all tests of this package share. Each test works
// in namespaces of its own.
type world struct {
	options sandbox.Options
	state   *sandbox.State
	client  client.Client // as admin
	repo    string        // a clone to push from
}

var shared *world

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "mainstay-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	w, err := start(ctx, dir)
	if w != nil {
		interrupted := context.AfterFunc(ctx, func() {
			_ = w.down()
			os.Exit(130)
		})
		defer interrupted()
		defer func() { _ = w.down() }()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the sandbox:", err)
		return 1
	}
	shared = w
	return m.Run()
}

func start(ctx context.Context, dir string) (*world, error) {
	binary := filepath.Join(dir, "mainstay")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "../../cmd/mainstay")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build mainstay: %w", err)
	}
	w := &world{
		options: sandbox.Options{Dir: filepath.Join(dir, "state"), Controller: []string{binary}, Progress: os.Stderr},
		repo:    filepath.Join(dir, "repo"),
	}
	var err error
	if w.state, err = sandbox.Up(ctx, w.options); err != nil {
		return w, err
	}
	config, err := w.state.RESTConfig("admin")
	if err != nil {
		return w, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return w, err
	}
	if w.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return w, err
	}
	if out, err := exec.CommandContext(ctx, "git", "clone", "-q", w.state.Repository, w.repo).CombinedOutput(); err != nil {
		return w, fmt.Errorf("clone: %w: %s", err, out)
	}
	return w, nil
}

func (w *world) down() error {
	options := w.options
	options.Purge = true
	return sandbox.Down(context.Background(), options)
}

// controller is the running controller's process.
func (w *world) controller(t *testing.T) *process.Process {
	t.Helper()
	p, _, running, err := process.Find("controller", filepath.Join(w.state.Dir, "run", "controller.json"), "")
	if err != nil || !running {
		t.Fatalf("the controller does not run: %v\n%s", err, w.log())
	}
	return p
}

// restart starts the controller again, after a test has killed it.
func (w *world) restart(t *testing.T) {
	t.Helper()
	if _, err := sandbox.Up(t.Context(), w.options); err != nil {
		t.Fatalf("start the controller again: %v", err)
	}
}

func (w *world) log() string { return process.LogTail(w.state.ControllerLog(), 30) }

// kubectl runs kubectl as a user and returns all that it printed.
func (w *world) kubectl(t *testing.T, user, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(w.state.Bin, "kubectl"), append([]string{"--context", user}, args...)...)
	cmd.Env = append(os.Environ(), w.state.Environment(os.Getenv("PATH"))...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// git runs git in the clone.
func (w *world) git(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(lasting(t), "git", append([]string{"-c", "user.name=Cy", "-c", "user.email=cy@shop.example"}, args...)...)
	cmd.Dir = w.repo
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// push commits files, of which an empty one is removed, and pushes.
func (w *world) push(t *testing.T, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(w.repo, name)
		if content == "" {
			w.git(t, "rm", "-q", "-r", name)
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(content), 0o600))
		w.git(t, "add", name)
	}
	w.git(t, "commit", "-q", "-m", t.Name())
	w.git(t, "push", "-q")
}

// pushed pushes and waits until the commit is applied.
func (w *world) pushed(t *testing.T, files map[string]string) {
	t.Helper()
	w.push(t, files)
	w.applied(t)
}

// applied waits until the newest commit is.
func (w *world) applied(t *testing.T) {
	t.Helper()
	head, err := exec.CommandContext(lasting(t), "git", "-C", w.repo, "rev-parse", "HEAD").Output()
	must(t, err)
	commit := strings.TrimSpace(string(head))
	await(t, "the commit is applied", func() (bool, string) {
		gs := w.gitSync(t)
		return strings.HasSuffix(gs.Status.LastAppliedRevision, commit), fmt.Sprintf("%+v", gs.Status.Conditions)
	})
}

func (w *world) gitSync(t *testing.T) *v1alpha1.GitSync {
	t.Helper()
	gs := new(v1alpha1.GitSync)
	must(t, w.client.Get(lasting(t), client.ObjectKey{Namespace: "mainstay-system", Name: "shop"}, gs))
	return gs
}

// lasting is the test's context for what also runs while it is cleaned up.
func lasting(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// await waits until condition holds; it says what it last saw if it never does.
func await(t *testing.T, what string, condition func() (bool, string)) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		ok, saw := condition()
		if ok {
			return time.Since(start)
		}
		if time.Since(start) > 60*time.Second {
			t.Fatalf("never came true: %s; last seen: %s\n%s", what, saw, shared.log())
		}
		time.Sleep(20 * time.Millisecond)
	}
}
