// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mainstay-gitops/mainstay/sync/source"
)

func TestSeenTellsWhetherAnotherCommitReadsTheSame(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=Bo", "-c", "user.email=bo@shop.example", "-C", dir}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	// commit is that of some files; an empty text takes one away.
	commit := func(files map[string]string) fs.FS {
		t.Helper()
		for name, text := range files {
			file := filepath.Join(dir, name)
			err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600))
			if text == "" {
				err = os.Remove(file)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		git("add", "-A")
		git("commit", "-q", "-m", "change")
		local, err := source.OpenLocal(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, tree, err := local.Revision("HEAD")
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	git("init", "-q", "-b", "main")
	files := map[string]string{"apps/shop/a.yaml": "a", "apps/shop/sub/b.yaml": "b", "apps/other/c.yaml": "c", "base/d.yaml": "d", "README.md": "e"}
	reads := source.Watch(commit(files))
	err := fs.WalkDir(reads, "apps/shop", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			_, err = fs.ReadFile(reads, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.ReadFile(reads, "base/d.yaml"); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.ReadFile(reads, "apps/.mainstayignore"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if _, err := fs.Stat(reads, "apps"); err != nil {
		t.Fatal(err)
	}
	seen := reads.Seen()

	for name, tt := range map[string]struct {
		change map[string]string
		same   bool
	}{
		"a file elsewhere changes":                 {map[string]string{"README.md": "E"}, true},
		"a file comes beside the folder":           {map[string]string{"apps/new.yaml": "n"}, true},
		"a file beside one that was read changes":  {map[string]string{"base/x.yaml": "x"}, true},
		"a file that was read changes":             {map[string]string{"apps/shop/a.yaml": "A"}, false},
		"a file that was read outside changes":     {map[string]string{"base/d.yaml": "D"}, false},
		"a file comes into the folder":             {map[string]string{"apps/shop/n.yaml": "n"}, false},
		"a file comes below it":                    {map[string]string{"apps/shop/sub/n.yaml": "n"}, false},
		"a file leaves it":                         {map[string]string{"apps/shop/sub/b.yaml": ""}, false},
		"a file comes that was looked for in vain": {map[string]string{"apps/.mainstayignore": "x"}, false},
		"a file in a folder beside it changes":     {map[string]string{"apps/other/c.yaml": "C"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := seen.In(commit(tt.change)); got != tt.same {
				t.Errorf("the same: %v, want %v", got, tt.same)
			}
			git("rm", "-q", "-r", "--ignore-unmatch", ".")
			if !seen.In(commit(files)) {
				t.Error("what was read is not the same as itself")
			}
		})
	}
	t.Run("any other tree is not known to be the same", func(t *testing.T) {
		if seen.In(os.DirFS(dir)) || source.Seen(nil).In(commit(map[string]string{"README.md": "f"})) || source.Watch(os.DirFS(dir)) != nil {
			t.Error("it is taken for a commit")
		}
	})
}
