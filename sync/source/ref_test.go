// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/mainstay-gitops/mainstay/sync/source"
)

func TestRefs(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	commits := map[string]string{}
	for _, tag := range []string{"v1.0.0", "v1.2.0", "1.2.10", "v1.3.0-rc.1", "v2.0.0", "2024-06", "v9", "release/v3.0.0", "v1.2.9+build.1", "v1.2.9+build.2"} {
		r.write("a.yaml", tag)
		commits[tag] = r.push("Release " + tag)
		r.git("tag", "-a", "-m", "Release", tag)
	}
	r.write("a.yaml", "pull")
	pull := r.push("A pull request")
	r.git("push", "-q", "origin", "HEAD:refs/pull/7/head")
	r.git("branch", "production")
	r.git("branch", "staging")
	r.push("The end")
	s := newStore(t, t.TempDir())
	web := serve(t, r, nil)
	for url, ca := range map[string][]byte{r.fileURL(): nil, web.url(): web.ca} {
		for name, test := range map[string]struct {
			req    source.Request
			tag    string
			commit string
			says   string
		}{
			"the highest version":                 {req: source.Request{SemVer: ">=1.0.0"}, tag: "v2.0.0"},
			"a minor version":                     {req: source.Request{SemVer: "~1.2"}, tag: "1.2.10"},
			"versions that differ in their build": {req: source.Request{SemVer: "1.2.9"}, tag: "v1.2.9+build.2"},
			"no prerelease unless it is named":    {req: source.Request{SemVer: "1.x"}, tag: "1.2.10"},
			"a prerelease that is named":          {req: source.Request{SemVer: ">=1.0.0-0 <2.0.0-0"}, tag: "v1.3.0-rc.1"},
			"any ref":                             {req: source.Request{Name: "refs/pull/7/head"}, commit: pull},
			"a range that nothing is in":          {req: source.Request{SemVer: ">=3"}, says: "the newest are v2.0.0, v1.3.0-rc.1, 1.2.10"},
			"a range that is none":                {req: source.Request{SemVer: "latest"}, says: `"latest" is no range`},
			"a branch that is misspelt":           {req: source.Request{Branch: "prodution"}, says: "the branches production, main, staging"},
			"a ref that is not there":             {req: source.Request{Name: "refs/pull/8/head"}, says: "the refs refs/pull/7/head"},
			"a ref that is not full":              {req: source.Request{Name: "main"}, says: "write refs/heads/"},
			"a tag that is misspelt":              {req: source.Request{Tag: "v1.2.1"}, says: "the tags v1.2.0"},
		} {
			t.Run(url[:4]+" "+name, func(t *testing.T) {
				req := test.req
				req.URL, req.Auth.CA = url, ca
				got, err := s.Fetch(t.Context(), req)
				if test.says != "" {
					refused(t, err, source.ReasonRefNotFound, test.says)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want, name := test.commit, req.Name
				if test.tag != "" {
					want, name = commits[test.tag], test.tag
				}
				if got.Revision.Name != name+"@sha1:"+want {
					t.Errorf("got %s, want %s@sha1:%s", got.Revision.Name, name, want)
				}
				req.LastCommit = want
				if again := mustFetch(t, s, req); again.Changed || again.Revision.Name != got.Revision.Name {
					t.Errorf("unchanged: %+v", again)
				}
			})
		}
	}
}

func TestCheckPath(t *testing.T) {
	t.Parallel()
	file := &fstest.MapFile{}
	tree := fstest.MapFS{"clusters/prod/a.yaml": file, "clusters/stage/a.yaml": file, "apps/a.yaml": file, "flat/a.yaml": file}
	for name, says := range map[string]string{
		"clusters/prod": "", ".": "", "": "", "apps/a.yaml": "",
		"clusters/prd":   "clusters has the folders prod, stage",
		"cluster/prod":   "the repository has the folders clusters, apps, flat",
		"flat/a/b":       "flat has no folders",
		"/clusters/prod": "",
	} {
		err := source.CheckPath(tree, name)
		if says == "" {
			if err != nil {
				t.Errorf("%q: %v", name, err)
			}
			continue
		}
		refused(t, err, source.ReasonPathNotFound, says)
	}
}

func TestSnapshotRefusesSubmodules(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "one")
	id := r.push("First")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+id+",vendor/lib")
	r.git("commit", "-q", "-m", "A submodule")
	r.git("push", "-q", "origin", "main")
	got := mustFetch(t, newStore(t, t.TempDir()), source.Request{URL: r.fileURL(), Branch: "main"})
	for _, err := range []error{
		func() error { _, err := fs.ReadDir(got.FS, "vendor/lib"); return err }(),
		func() error { _, err := fs.ReadFile(got.FS, "vendor/lib/a.yaml"); return err }(),
		fs.WalkDir(got.FS, ".", func(_ string, _ fs.DirEntry, err error) error { return err }),
	} {
		if !errors.Is(err, source.ErrSubmodule) {
			t.Errorf("got %v", err)
		}
	}
	if read(t, got.FS, "a.yaml") != "one" {
		t.Error("what is beside it cannot be read")
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "root")
	root := r.push("Root")
	// A branch that forked early and is merged late.
	r.git("checkout", "-q", "-b", "feature")
	r.write("b.yaml", "feature")
	feature := r.push("Feature")
	r.git("checkout", "-q", "main")
	for i := range 5 {
		r.write("a.yaml", fmt.Sprint(i))
		r.push(fmt.Sprintf("Change %d", i))
	}
	base := r.git("rev-parse", "HEAD")
	r.git("merge", "-q", "--no-ff", "-m", "Merge", "feature")
	merge := r.push("After the merge")
	r.git("checkout", "-q", "--orphan", "other")
	unrelated := r.push("Another history")
	r.git("checkout", "-q", "main")
	web := serve(t, r, nil)
	for kind, req := range map[string]source.Request{
		"https":    {URL: web.url(), Auth: source.Auth{CA: web.ca}},
		"a folder": {URL: r.fileURL()},
	} {
		for name, test := range map[string]struct {
			branch, commit, base string
			descends             bool
			commits              int
		}{
			"a merge of an old branch": {"main", merge, base, true, 3},
			"all since the beginning":  {"main", merge, root, true, 8},
			"a ref that went back":     {"feature", feature, merge, false, 0},
			"a ref that was replaced":  {"feature", feature, base, false, 1},
			"another history":          {"other", unrelated, base, false, 1},
		} {
			t.Run(kind+": "+name, func(t *testing.T) {
				t.Parallel()
				s := newStore(t, t.TempDir())
				before, after := req, req
				before.Commit = test.base
				mustFetch(t, s, before)
				after.Branch, after.Base = test.branch, test.base
				got := mustFetch(t, s, after)
				if got.Revision.Commit != test.commit {
					t.Fatalf("got %s", got.Revision.Name)
				}
				h, err := s.Since(t.Context(), after, test.commit, true)
				if err != nil {
					t.Fatal(err)
				}
				if h.Descends != test.descends || !h.Whole || len(h.Commits) != test.commits {
					t.Errorf("descends %v, whole %v, %d commits; want %v, true, %d", h.Descends, h.Whole, len(h.Commits), test.descends, test.commits)
				}
				for _, c := range h.Commits {
					if c.ID == feature && (c.Subject != "Feature" || c.Author != "Alice <alice@example.org>" || !strings.HasPrefix(string(c.Raw), "tree ")) {
						t.Errorf("%+v", c)
					}
				}
				// A clone that was lost knows as much.
				h2, err := newStore(t, t.TempDir()).Since(t.Context(), after, test.commit, true)
				if err != nil || h2.Descends != h.Descends || len(h2.Commits) != len(h.Commits) {
					t.Errorf("from a new clone: %+v, %v", h2, err)
				}
			})
		}
	}
}

func TestLooksAreShared(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "one")
	first := r.push("First")
	r.git("branch", "next")
	r.push("Second")
	web := serve(t, r, nil)
	s := newStore(t, t.TempDir())
	req := source.Request{URL: web.url(), Branch: "main", Auth: source.Auth{CA: web.ca}}
	mustFetch(t, s, req)
	next := req
	next.Branch, next.LastCommit = "next", first
	mustFetch(t, s, next)

	web.looks.Store(0)
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if _, err := s.Fetch(t.Context(), next); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := web.looks.Load(); n > 10 {
		t.Errorf("40 who asked at once made %d looks", n)
	}
	web.looks.Store(0)
	next.MaxAge = time.Minute
	mustFetch(t, s, next)
	if n := web.looks.Load(); n != 0 {
		t.Errorf("%d looks where an earlier one counts", n)
	}
	// What that look did not see is looked for.
	r.git("branch", "new")
	r.push("Third")
	next.Branch = "new"
	if !mustFetch(t, s, next).Changed {
		t.Error("a new branch was not found")
	}
}

func TestServersAreLeftAlone(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "one")
	r.push("First")
	web := serve(t, r, nil)
	s, err := source.New(source.Options{Dir: t.TempDir(), LeastPause: time.Hour, MostPause: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	url := web.url()
	web.Close()
	req := source.Request{URL: url, Branch: "main", Auth: source.Auth{CA: web.ca}}
	_, err = s.Fetch(t.Context(), req)
	refused(t, err, source.ReasonUnreachable, "cannot be reached")
	if after := source.RetryAfter(err); after < 30*time.Minute-time.Second || after > time.Hour {
		t.Errorf("left alone for %s", after)
	}
	again := func(req source.Request) string {
		_, err := s.Fetch(t.Context(), req)
		if err == nil {
			return "fetched"
		}
		return err.Error()
	}
	said := err.Error()
	// Now it would answer, and is not asked yet: for no ref, but for whom it is
	// urgent.
	revived := revive(t, web, url)
	defer revived.Close()
	req.Branch = "other"
	if got := again(req); got != said {
		t.Errorf("it says %q, then %q", said, got)
	}
	req.Branch, req.Now = "main", true
	req.Auth.CA = web.ca
	if got := again(req); got != "fetched" {
		t.Errorf("asked all the same, it says %q", got)
	}
	req.Now = false
	if got := again(req); got != "fetched" {
		t.Errorf("after a success it says %q", got)
	}
	if _, err := os.Stat(filepath.Join(r.bare, "HEAD")); err != nil {
		t.Error(err)
	}
}
