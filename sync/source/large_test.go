// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/sync/source"
)

// generate makes a repository whose first commit has all files, and each later
// one another version of one large file.
func generate(t *testing.T, r *repo, files, commits int) {
	t.Helper()
	cmd := exec.Command("git", "-C", r.bare, "fast-import", "--quiet", "--force")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(in, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, 1000)
	for i := range commits {
		fmt.Fprintf(w, "commit refs/heads/main\ncommitter Bob <bob@example.org> %d +0000\ndata 6\nChange\n", 1_700_000_000+i)
		changed := files
		if i > 0 {
			changed, content = 1, make([]byte, 100_000)
		}
		for f := range changed {
			// It does not compress: a pack is about as large as what is in it.
			for n := copy(content, "kind: ConfigMap\n"); n+4 <= len(content); n += 4 {
				binary.LittleEndian.PutUint32(content[n:], random.Uint32())
			}
			fmt.Fprintf(w, "M 100644 inline apps/a%d/b%d/f%d.yaml\ndata %d\n%s\n", f%100, f/100%20, f, len(content), content)
		}
	}
	fmt.Fprintln(w, "done")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestFetchLarge takes minutes: it runs where MAINSTAY_LARGE_REPOSITORIES is
// set, and prints what the budgets are about.
func TestFetchLarge(t *testing.T) {
	if os.Getenv("MAINSTAY_LARGE_REPOSITORIES") == "" {
		t.Skip("set MAINSTAY_LARGE_REPOSITORIES=1")
	}
	tests := map[string]struct{ files, commits int }{
		"50,000 files":                      {50_000, 1},
		"100,000 files and 1 GB of history": {100_000, 10_000},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t)
			generate(t, r, test.files, test.commits)
			web := serve(t, r, nil)
			s := newStore(t, t.TempDir())
			req := source.Request{URL: web.url(), Branch: "main", Auth: source.Auth{CA: web.ca}}
			before := resident(t)
			start := time.Now()
			first := mustFetch(t, s, req)
			t.Logf("first fetch: %s, %d bytes; resident at most %d MB (before: %d MB)",
				time.Since(start).Round(time.Millisecond), web.bytes.Swap(0), resident(t)>>20, before>>20)
			last := first
			for i := range 3 {
				generateOne(t, r, i)
				req.LastCommit, req.Base = last.Revision.Commit, last.Revision.Commit
				start = time.Now()
				last = mustFetch(t, s, req)
				if got := read(t, last.FS, "apps/a7/b0/f7.yaml"); got != fmt.Sprintf("changed: %d", i) {
					t.Errorf("f7.yaml is %q", got)
				}
				took := time.Since(start)
				h, err := s.Since(t.Context(), req, last.Revision.Commit, true)
				if err != nil || !h.Descends || !h.Whole || len(h.Commits) != 1 {
					t.Errorf("history: %+v, %v", h, err)
				}
				t.Logf("fetch of one changed file: %s, %d bytes, then %s for the history", took.Round(time.Millisecond), web.bytes.Swap(0), (time.Since(start) - took).Round(time.Millisecond))
			}
			start = time.Now()
			mustFetch(t, s, source.Request{URL: req.URL, Branch: "main", Auth: req.Auth, LastCommit: last.Revision.Commit})
			t.Logf("look: %s", time.Since(start).Round(time.Millisecond))
			start = time.Now()
			n := 0
			err := fs.WalkDir(last.FS, ".", func(_ string, _ fs.DirEntry, err error) error {
				n++
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			runtime.GC()
			t.Logf("walk over %d names: %s; resident at most %d MB", n, time.Since(start).Round(time.Millisecond), resident(t)>>20)
		})
	}
}

func generateOne(t *testing.T, r *repo, i int) {
	t.Helper()
	blob := fmt.Sprintf("changed: %d", i)
	cmd := exec.Command("git", "-C", r.bare, "fast-import", "--quiet")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("commit refs/heads/main\ncommitter Bob <bob@example.org> %d +0000\ndata 4\nOne\n\nfrom refs/heads/main^0\nM 100644 inline apps/a7/b0/f7.yaml\ndata %d\n%s\n\ndone\n", 1_800_000_000+i, len(blob), blob))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// resident is the most memory that the process had so far.
func resident(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0 // another system
	}
	for line := range strings.Lines(string(status)) {
		var kb int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	return 0
}
