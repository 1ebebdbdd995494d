// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const shopSync = `apiVersion: mainstay.dev/v1alpha1
kind: GitSync
metadata: {name: shop, namespace: mainstay-system}
spec:
  source: {url: "https://git.shop.example/shop.git", ref: {branch: main}, path: apps/shop}
  targetNamespace: prod
  enforcement: {mode: Enforce}
  render: {variables: {copies: "COPIES"}}
`

func TestWhatTheGitSyncsOfAFolderApplyIsCompared(t *testing.T) {
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
	git("init", "-q", "-b", "main")
	git("remote", "add", "origin", "git@git.shop.example:shop.git")
	write("clusters/eu/shop.yaml", strings.Replace(shopSync, "COPIES", "2", 1))
	write("clusters/eu/other.yaml", strings.NewReplacer("name: shop", "name: other", "shop.git", "other.git", "COPIES", "1").Replace(shopSync))
	write("apps/shop/cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {copies: \"${copies}\"}\n")
	git("add", ".")
	git("commit", "-q", "-m", "all")
	git("branch", "base")
	write("clusters/eu/shop.yaml", strings.Replace(shopSync, "COPIES", "3", 1))

	status, out := run(t, dir, "--base", "base", "--clusters", "clusters/*")
	for _, want := range []string{
		"~ GitSync.mainstay.dev mainstay-system/shop  clusters/eu/shop.yaml:1",
		"clusters/eu, GitSync mainstay-system/shop: base@sha1:",
		"~ ConfigMap prod/settings  apps/shop/cm.yaml:1\n    data.copies\n      - 2\n      + 3\n",
		"clusters/eu, GitSync mainstay-system/other: base@sha1:", "it follows another repository, and was not compared",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
	if status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	t.Run("one that follows the folder it is in stands for the folder", func(t *testing.T) {
		write("clusters/us/shop.yaml", strings.NewReplacer("apps/shop", "clusters/us", "COPIES", "1").Replace(shopSync))
		write("clusters/us/cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\n")
		_, out := run(t, dir, "--base", "base", "--clusters", "clusters/us")
		if !strings.Contains(out, "+ ConfigMap prod/own") || strings.Contains(out, "ConfigMap own") || strings.Contains(out, "clusters/us: base") {
			t.Errorf("%s", out)
		}
	})
	t.Run("one that can't be rendered is named", func(t *testing.T) {
		write("apps/shop/cm.yaml", "kind: [\n")
		status, out := run(t, dir, "--base", "base", "--clusters", "clusters/eu")
		if status != 2 || !strings.Contains(out, "GitSync mainstay-system/shop") || !strings.Contains(out, "apps/shop/cm.yaml:1") {
			t.Errorf("status %d:\n%s", status, out)
		}
	})
}
