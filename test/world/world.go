// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/process"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// World is a sandbox with the program of this tree, which all tests of a
// package share. Each test works in namespaces of its own.
type World struct {
	Options sandbox.Options
	State   *sandbox.State
	Client  client.Client // as admin
	Repo    string        // a clone to push from
	// Program is the binary that was built.
	Program string
}

// Main starts a World, hands it to use and runs the tests; it returns the
// status to exit with:
//
//	func TestMain(m *testing.M) { os.Exit(world.Main(m, func(w *world.World) { shared = w })) }
func Main(m *testing.M, use func(*World)) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "mainstay-world-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	w, err := start(ctx, dir)
	if w != nil {
		interrupted := context.AfterFunc(ctx, func() {
			_ = w.Down()
			os.Exit(130)
		})
		defer interrupted()
		defer func() { _ = w.Down() }()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the sandbox:", err)
		return 1
	}
	use(w)
	return m.Run()
}

func start(ctx context.Context, dir string) (*World, error) {
	binary, err := program(ctx)
	if err != nil {
		return nil, err
	}
	w := &World{
		Options: sandbox.Options{Dir: filepath.Join(dir, "state"), Controller: []string{binary}, Progress: os.Stderr},
		Repo:    filepath.Join(dir, "repo"),
		Program: binary,
	}
	if w.State, err = sandbox.Up(ctx, w.Options); err != nil {
		return w, err
	}
	config, err := w.State.RESTConfig("admin")
	if err != nil {
		return w, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return w, err
	}
	if w.Client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return w, err
	}
	if out, err := exec.CommandContext(ctx, "git", "clone", "-q", w.State.Repository, w.Repo).CombinedOutput(); err != nil {
		return w, fmt.Errorf("clone: %w: %s", err, out)
	}
	return w, nil
}

// Down stops the sandbox and deletes its files.
func (w *World) Down() error {
	options := w.Options
	options.Purge = true
	return sandbox.Down(context.Background(), options)
}

// Controller is the running controller's process.
func (w *World) Controller(t *testing.T) *process.Process {
	t.Helper()
	p, _, running, err := process.Find("controller", filepath.Join(w.State.Dir, "run", "controller.json"), "")
	if err != nil || !running {
		t.Fatalf("the controller does not run: %v\n%s", err, w.Log())
	}
	return p
}

// Restart starts the controller again, after a test has killed it.
func (w *World) Restart(t *testing.T) {
	t.Helper()
	if _, err := sandbox.Up(t.Context(), w.Options); err != nil {
		t.Fatalf("start the controller again: %v", err)
	}
}

// Start starts the controller again as it was, and returns when it is ready.
// Unlike Restart it touches nothing in the cluster: the webhook's configuration
// stays what it was while the controller was down.
func (w *World) Start(t *testing.T) {
	t.Helper()
	p, err := process.Start(process.Spec{
		Name:    "controller",
		Command: []string{w.Program, "controller", "--config", filepath.Join(w.State.Dir, "config.yaml"), "--kubeconfig", filepath.Join(w.State.Dir, "controller.kubeconfig")},
		Log:     w.State.ControllerLog(),
		Record:  filepath.Join(w.State.Dir, "run", "controller.json"),
	})
	Must(t, err)
	w.Await(t, "the controller is ready", func() (bool, string) {
		if !p.Running() {
			t.Fatalf("the controller has ended\n%s", w.Log())
		}
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", w.State.Ports.Health))
		if err != nil {
			return false, err.Error()
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK, response.Status
	})
}

// RestartIfDown is for a test that may have failed while the controller was
// down.
func (w *World) RestartIfDown(t *testing.T) {
	t.Helper()
	if _, err := sandbox.Up(Lasting(t), w.Options); err != nil {
		t.Errorf("start the controller again: %v", err)
	}
}

// Log is the end of the controller's log.
func (w *World) Log() string { return process.LogTail(w.State.ControllerLog(), 30) }

// Git runs git in the clone.
func (w *World) Git(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(Lasting(t), "git", append([]string{"-c", "user.name=Cy", "-c", "user.email=cy@shop.example"}, args...)...)
	cmd.Dir = w.Repo
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// Push commits files, of which an empty one is removed, and pushes.
func (w *World) Push(t *testing.T, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(w.Repo, name)
		if content == "" {
			_, err := os.Stat(file) // what is not there is a mistake of the test
			Must(t, errors.Join(err, os.RemoveAll(file)))
			continue
		}
		Must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		Must(t, os.WriteFile(file, []byte(content), 0o600))
	}
	w.Git(t, append([]string{"add", "--all", "--"}, slices.Collect(maps.Keys(files))...)...)
	w.Git(t, "commit", "-q", "-m", t.Name())
	w.Git(t, "push", "-q")
}

// Pushed pushes and waits until the commit is applied.
func (w *World) Pushed(t *testing.T, files map[string]string) {
	t.Helper()
	w.Push(t, files)
	w.Applied(t)
}

// Removed takes a folder or a file out of git and waits until what it declared is gone.
// It confirms the commit: of a small repository it is soon more than half, and
// namespaces take along what controllers made in them.
func (w *World) Removed(t *testing.T, folder string) {
	t.Helper()
	w.Push(t, map[string]string{folder: ""})
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.ConfirmAnnotation, w.head(t))
	Must(t, w.Client.Patch(Lasting(t), w.GitSync(t), client.RawPatch(types.MergePatchType, []byte(patch))))
	w.Applied(t)
}

func (w *World) head(t *testing.T) string {
	t.Helper()
	head, err := exec.CommandContext(Lasting(t), "git", "-C", w.Repo, "rev-parse", "HEAD").Output()
	Must(t, err)
	return strings.TrimSpace(string(head))
}

// Applied waits until the newest commit is.
func (w *World) Applied(t *testing.T) {
	t.Helper()
	commit := w.head(t)
	w.Await(t, "the commit is applied", func() (bool, string) {
		gs := w.GitSync(t)
		return strings.HasSuffix(gs.Status.LastAppliedRevision, commit), fmt.Sprintf("%+v", gs.Status.Conditions)
	})
}

// GitSync is the GitSync shop as it is now.
func (w *World) GitSync(t *testing.T) *v1alpha1.GitSync {
	t.Helper()
	gs := new(v1alpha1.GitSync)
	Must(t, w.Client.Get(Lasting(t), client.ObjectKey{Namespace: "mainstay-system", Name: "shop"}, gs))
	return gs
}

// Lasting is the test's context for what also runs while it is cleaned up.
func Lasting(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

// Must fails the test at an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Await waits until condition holds; it says what it last saw if it never does.
func (w *World) Await(t *testing.T, what string, condition func() (bool, string)) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		ok, saw := condition()
		if ok {
			return time.Since(start)
		}
		if time.Since(start) > 60*time.Second {
			t.Fatalf("never came true: %s; last seen: %s\n%s", what, saw, w.Log())
		}
		time.Sleep(20 * time.Millisecond)
	}
}
