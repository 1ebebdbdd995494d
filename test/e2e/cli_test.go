// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/test/world"
)

// atPrompt runs the program as a user in the clone, and returns its exit status
// and all that it printed.
func atPrompt(t *testing.T, user string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(world.Lasting(t), shared.Program, append(args, "--context", user)...)
	cmd.Env = append(os.Environ(), shared.State.Environment(os.Getenv("PATH"))...)
	cmd.Dir = shared.Repo
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return ended.ExitCode(), out.String()
	}
	world.Must(t, err)
	return 0, out.String()
}

// says runs the program and checks its status and words.
func says(t *testing.T, status int, words []string, user string, args ...string) {
	t.Helper()
	got, out := atPrompt(t, user, args...)
	if got != status {
		t.Errorf("%s: mainstay %s: status %d, want %d\n%s", user, strings.Join(args, " "), got, status, out)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("%s: mainstay %s does not say %q:\n%s", user, strings.Join(args, " "), w, out)
		}
	}
}

func TestGitSyncsAtThePrompt(t *testing.T) {
	shared.Pushed(t, map[string]string{
		"cli/ns.yaml":     "apiVersion: v1\nkind: Namespace\nmetadata: {name: cli}\n",
		"cli/cm.yaml":     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: cli}\ndata: {key: git}\n",
		"cli/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: mail, namespace: cli}\nstringData: {password: hunter2}\n",
	})
	says(t, 0, []string{"NAMESPACE", "shop", "Enforce", "main@sha1:"}, "alice", "status")
	says(t, 0, []string{"GitSync mainstay-system/shop", "applied     main@sha1:", "Cy: TestGitSyncsAtThePrompt", "ConfigMap", "commits"}, "alice", "status", "shop")
	says(t, 0, []string{`"fine": true`, `"lastAppliedRevision"`}, "alice", "status", "shop", "-o", "json")
	says(t, 1, []string{"there is no GitSync nothing", "mainstay-system/shop"}, "alice", "status", "nothing")
	says(t, 2, []string{"context"}, "nobody", "status")

	t.Run("diff", func(t *testing.T) {
		says(t, 0, []string{"nothing differs"}, "admin", "diff", "shop")
		says(t, 0, []string{"= Secret cli/mail", "written by mainstay"}, "admin", "diff", "shop", "--live")
		file := filepath.Join(shared.Repo, "cli/cm.yaml")
		before, err := os.ReadFile(file)
		world.Must(t, err)
		secret := filepath.Join(shared.Repo, "cli/secret.yaml")
		password, err := os.ReadFile(secret)
		world.Must(t, err)
		t.Cleanup(func() {
			world.Must(t, errors.Join(os.WriteFile(file, before, 0o600), os.WriteFile(secret, password, 0o600)))
		})
		world.Must(t, errors.Join(os.WriteFile(file, bytes.ReplaceAll(before, []byte("git"), []byte("next")), 0o600),
			os.WriteFile(secret, bytes.ReplaceAll(password, []byte("hunter2"), []byte("hunter3")), 0o600)))
		says(t, 1, []string{"~ ConfigMap cli/settings  cli/cm.yaml:1\n    data.key\n      - git\n      + next\n", "hidden", "2 of "}, "admin", "diff", ".", "shop")
		if _, out := atPrompt(t, "admin", "diff", ".", "shop", "-o", "json"); strings.Contains(out, "hunter") || strings.Contains(out, "aHVudGVy") {
			t.Errorf("a Secret's value is shown:\n%s", out)
		}
		says(t, 0, []string{"nothing differs"}, "admin", "diff", "HEAD", "shop")
	})
	t.Run("sync", func(t *testing.T) {
		says(t, 0, []string{"is applied: "}, "alice", "sync", "shop", "--wait")
	})
	t.Run("suspend and resume", func(t *testing.T) {
		says(t, 2, []string{"--for 1h"}, "alice", "suspend", "shop", "--reason", "x")
		says(t, 2, []string{"--reason"}, "alice", "suspend", "shop", "--for", "1h")
		says(t, 0, []string{"is suspended until", "mainstay resume shop"}, "admin", "suspend", "shop", "--for", "1h", "--reason", "a try")
		says(t, 1, []string{"suspended   until", "a try"}, "alice", "status", "shop")
		says(t, 1, []string{"is suspended until"}, "alice", "sync", "shop", "--wait")
		says(t, 0, []string{"is enforced"}, "admin", "resume", "shop")
		says(t, 0, []string{"is not suspended"}, "admin", "resume", "shop")
	})
}
