// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/diff"
)

// clone is a repository with two clusters, of which a working copy has changed
// one, added one and taken an object away.
func clone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=Bo", "-c", "user.email=bo@shop.example", "-C", dir}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(file, text string) {
		t.Helper()
		file = filepath.Join(dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, namespace: shop}\ndata: {key: VALUE}\n"
	cm := func(name, value string) string {
		return strings.NewReplacer("NAME", name, "VALUE", value).Replace(configMap)
	}
	git("init", "-q", "-b", "main")
	write("clusters/eu/a.yaml", cm("a", "one"))
	write("clusters/eu/gone.yaml", cm("gone", "one"))
	write("clusters/us/a.yaml", cm("a", "one"))
	write("README.md", "not a manifest")
	git("add", ".")
	git("commit", "-q", "-m", "all")
	git("branch", "base")
	write("clusters/eu/a.yaml", cm("a", "two"))
	write("clusters/ap/new.yaml", cm("new", "one"))
	if err := os.Remove(filepath.Join(dir, "clusters/eu/gone.yaml")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// run calls the command in a folder, and returns the exit status with what it
// printed.
func run(t *testing.T, dir string, args ...string) (int, string) {
	t.Helper()
	t.Chdir(dir)
	cmd := diff.NewCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	if err == nil {
		return 0, out.String()
	}
	status, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](err)
	if !ok {
		t.Fatalf("%v has no exit status", err)
	}
	return status.ExitCode(), out.String() + err.Error()
}

func TestTwoRevisionsAreComparedWithoutACluster(t *testing.T) {
	dir := clone(t)
	t.Run("the working copy with a branch, by folder", func(t *testing.T) {
		status, out := run(t, dir, "--base", "base", "--clusters", "clusters/*")
		for _, want := range []string{
			"clusters/ap: base@sha1:", "+ ConfigMap shop/new  clusters/ap/new.yaml:1  would be created",
			"~ ConfigMap shop/a  clusters/eu/a.yaml:1\n    data.key\n      - one\n      + two\n",
			"- ConfigMap shop/gone  clusters/eu/gone.yaml:1  would be pruned", "clusters/us: base@sha1:",
			"2 of 2 objects differ", "nothing differs, of 1 objects", "3 objects differ",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("there is no %q in\n%s", want, out)
			}
		}
		if status != 1 {
			t.Errorf("status %d, want 1", status)
		}
	})
	t.Run("for programs", func(t *testing.T) {
		_, out := run(t, dir, "--base", "base", "--clusters", "clusters/eu", "-o", "json")
		var got struct{ Folders []diff.Result }
		if err := json.NewDecoder(strings.NewReader(out)).Decode(&got); err != nil {
			t.Fatal(err)
		}
		if len(got.Folders) != 1 || len(got.Folders[0].Objects) != 2 || got.Folders[0].Objects[0].Changes[0].Path != "data.key" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("two commits that are the same", func(t *testing.T) {
		if status, out := run(t, dir, "HEAD", "--base", "base", "--clusters", "clusters/*"); status != 0 {
			t.Errorf("status %d, want 0:\n%s", status, out)
		}
	})
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"a revision that there is not":   {[]string{"--base", "nowhere", "--clusters", "clusters/*"}, "find nowhere in"},
		"a pattern that matches nothing": {[]string{"--base", "base", "--clusters", "prod/*"}, "no folder matches prod/*"},
		"one of the two flags":           {[]string{"--base", "base"}, "--base and --clusters go together"},
		"a cluster beside":               {[]string{"--base", "base", "--clusters", "x", "--live"}, "--live asks the cluster"},
		"an unknown format":              {[]string{"--base", "base", "--clusters", "x", "-o", "yaml"}, "-o yaml is unknown"},
	} {
		t.Run(name+" can't be compared", func(t *testing.T) {
			if status, out := run(t, dir, tt.args...); status != 2 || !strings.Contains(out, tt.want) {
				t.Errorf("status %d, want 2 and %q:\n%s", status, tt.want, out)
			}
		})
	}
}
