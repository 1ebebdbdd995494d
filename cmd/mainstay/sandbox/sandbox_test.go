// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mainstay-gitops/mainstay/config"
	"github.com/mainstay-gitops/mainstay/policy"
)

func options(t *testing.T, behaviour string) Options {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{
		Dir:        filepath.Join(t.TempDir(), "state"),
		Controller: []string{program, "stand-in", behaviour},
		Progress:   os.Stderr,
		Timeout:    30 * time.Second,
	}
	t.Cleanup(func() { _ = Down(context.Background(), opts) })
	return opts
}

// runningIn returns the running programs whose command line names dir.
func runningIn(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Skip("there is no /proc to look at")
	}
	var out []string
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(line), dir) {
			out = append(out, file+": "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return out
}

func TestASandboxComesUpResumesAndGoesDownWithoutATrace(t *testing.T) {
	opts := options(t, "holds")
	state, err := Up(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	checkControllerConfig(t, state)
	checkAlice(t, state)

	first := runningIn(t, opts.Dir)
	if len(first) != 4 {
		t.Errorf("running: %v, want etcd, kube-apiserver, kube-controller-manager and the controller", first)
	}
	if _, err := Up(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, runningIn(t, opts.Dir)); diff != "" {
		t.Errorf("a second up has changed what runs (-before +after):\n%s", diff)
	}

	p, _, running, err := findController(opts.Dir)
	if err != nil || !running {
		t.Fatalf("find the controller: %t, %v", running, err)
	}
	token := tokenOf(t, state)
	if err := p.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	again, err := Up(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(state, again); diff != "" {
		t.Errorf("the resumed sandbox is another one (-before +after):\n%s", diff)
	}
	if tokenOf(t, again) != token {
		t.Error("the resumed controller has another token: while it does not run, the webhook may refuse new ones")
	}

	for range 2 { // The second has nothing to do.
		if err := Down(t.Context(), opts); err != nil {
			t.Fatal(err)
		}
	}
	if left := runningIn(t, opts.Dir); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
	opts.Purge = true
	if err := Down(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(opts.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state is still there after purge: %v", err)
	}
}

// tokenOf returns the controller's token, which only its owner may read.
func tokenOf(t *testing.T, s *State) string {
	t.Helper()
	info, err := os.Stat(controllerKubeconfig(s.Dir))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %o", controllerKubeconfig(s.Dir), info.Mode().Perm())
	}
	config, err := clientcmd.LoadFromFile(controllerKubeconfig(s.Dir))
	if err != nil {
		t.Fatal(err)
	}
	token := config.AuthInfos[accountName].Token
	if token == "" {
		t.Fatal("the controller has no token")
	}
	return token
}

func checkControllerConfig(t *testing.T, s *State) {
	t.Helper()
	got, err := config.Load(controllerConfig(s.Dir))
	if err != nil {
		t.Fatalf("the controller's configuration: %v", err)
	}
	if got.Webhook.URL != "https://"+got.Webhook.BindAddress || got.LeaderElection.Enabled {
		t.Errorf("got webhook %+v and leader election %t, want a URL of the bind address and no election",
			got.Webhook, got.LeaderElection.Enabled)
	}
}

// checkAlice checks what a person's kubeconfig is good for.
func checkAlice(t *testing.T, s *State) {
	t.Helper()
	restConfig, err := s.RESTConfig("alice")
	if err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(restConfig)
	if _, err := client.CoreV1().ServiceAccounts(namespace).Get(t.Context(), accountName, metav1.GetOptions{}); err != nil {
		t.Errorf("alice reads the chart's account: %v", err)
	}
}

func TestAFailedUpSaysWhyAndLeavesNothingRunning(t *testing.T) {
	tests := map[string]struct {
		behaviour string
		timeout   time.Duration
		want      []string
	}{
		"the controller ends": {
			behaviour: "ends", timeout: time.Minute, want: []string{"the controller has ended", "no such flag"},
		},
		"the GitSync never gets ready": {
			behaviour: "refuses", timeout: 8 * time.Second, want: []string{"after 8s", "Ready is False (StandIn): apps/web.yaml:3: no such kind"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			opts := options(t, test.behaviour)
			opts.Timeout = test.timeout
			_, err := Up(t.Context(), opts)
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got error %v, want it to say %q", err, want)
				}
			}
			if left := runningIn(t, opts.Dir); len(left) > 0 {
				t.Errorf("left running: %v", left)
			}
		})
	}
}

func TestAnInterruptedUpLeavesNothingRunning(t *testing.T) {
	opts := options(t, "refuses")
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupt := errors.New("interrupted")
	opts.Progress = onWrite(func(line string) {
		if strings.HasPrefix(line, "Waiting until") {
			cancel(interrupt)
		}
	})
	if _, err := Up(ctx, opts); !errors.Is(err, interrupt) {
		t.Errorf("got error %v, want %v", err, interrupt)
	}
	if left := runningIn(t, opts.Dir); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
}

type onWrite func(string)

func (f onWrite) Write(p []byte) (int, error) {
	f(string(p))
	return len(p), nil
}

func TestPurgeKeepsWhatTheSandboxDidNotMake(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "thesis.txt")
	for _, file := range []string{own, stateFile(dir)} {
		if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Down(t.Context(), Options{Dir: dir, Purge: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(own); err != nil {
		t.Errorf("another file in the folder: %v", err)
	}
	if _, err := Load(dir); !errors.Is(err, errNone) {
		t.Errorf("load after purge: got %v, want %v", err, errNone)
	}
}

func TestTheSeedIsARepositoryThatGitClonesAndPushesTo(t *testing.T) {
	tests := map[string]struct {
		empty bool
		want  []string
	}{
		"the sample has manifests and policies": {want: []string{
			"README.md", "api/autoscaler.yaml", "api/deployment.yaml", "api/service.yaml", "namespace.yaml",
			"policies/README.md", "policies/notes/notes.rego", "policies/notes/notes_test.rego",
			"web/config.yaml", "web/deployment.yaml", "web/service.yaml",
		}},
		"the empty one has a folder for policies": {empty: true, want: []string{"policies/README.md"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			bare, clone := filepath.Join(dir, "a repo.git"), filepath.Join(dir, "clone")
			if err := seedRepository(bare, test.empty); err != nil {
				t.Fatal(err)
			}
			run(t, dir, "clone", "-q", fileURL(bare), clone)
			if diff := cmp.Diff(test.want, strings.Fields(run(t, clone, "ls-files"))); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			run(t, clone, "-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-q", "--allow-empty", "-m", "push me")
			run(t, clone, "push", "-q", "origin", "main")
			head := run(t, bare, "rev-parse", "main")
			if got := run(t, clone, "rev-parse", "HEAD"); got != head {
				t.Errorf("the repository is at %s, want the pushed %s", head, got)
			}
			run(t, bare, "fsck", "--strict")
			if err := seedRepository(bare, test.empty); err != nil {
				t.Fatal(err)
			}
			if got := run(t, bare, "rev-parse", "main"); got != head {
				t.Errorf("seeding again moved main to %s, want it untouched at %s", got, head)
			}
		})
	}
}

func TestTheSeedsPoliciesAreInForceOnceTheirTestsPass(t *testing.T) {
	modules := make(map[string]string)
	err := fs.WalkDir(seed, "seed/policies", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".rego" {
			return err
		}
		content, err := seed.ReadFile(name)
		modules[strings.TrimPrefix(name, "seed/")] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.New(t.Context(), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := engine.Load(t.Context(), policy.Source{Key: "gitsync/" + namespace + "/" + syncName, Modules: modules})
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded.Rules) != 1 || loaded.Tests != 3 {
		t.Errorf("got %d rules and %d tests, want 1 and 3", len(loaded.Rules), loaded.Tests)
	}
}

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestEnvPrintsWhatAShellCanEvaluate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a state")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := newState(dir).save(); err != nil {
		t.Fatal(err)
	}
	cmd, out := NewCommand(), &bytes.Buffer{}
	cmd.SetOut(out)
	cmd.SetArgs([]string{"env", "--state", dir})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := exec.CommandContext(t.Context(), "sh", "-c", out.String()+`printf '%s\n%s\n%s' "$KUBECONFIG" "$MAINSTAY_REPO" "${PATH%%:*}"`).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "repo.git"), filepath.Join(dir, "bin")}, "\n")
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("what the shell made of it (-want +got):\n%s", diff)
	}
}

func TestEnvSaysWhatToDoWhereThereIsNoSandbox(t *testing.T) {
	_, err := Load(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "mainstay sandbox up") {
		t.Errorf("got error %v, want it to name the command that starts one", err)
	}
}
