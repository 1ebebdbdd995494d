// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/sync/source"
)

const password, token = "pass-phrase-4711", "token-0815-secret"

// repo is a bare repository with a working copy to push from.
type repo struct {
	t          *testing.T
	bare, work string
}

func newRepo(t *testing.T) *repo {
	t.Helper()
	dir := t.TempDir()
	r := &repo{t: t, bare: filepath.Join(dir, "shop.git"), work: filepath.Join(dir, "work")}
	r.run(dir, "init", "-q", "--bare", "-b", "main", r.bare)
	r.run(dir, "clone", "-q", r.bare, r.work)
	r.git("checkout", "-q", "-b", "main")
	return r
}

func (r *repo) run(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=alice@example.org", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z",
		"GIT_COMMITTER_NAME=Bob", "GIT_COMMITTER_EMAIL=bob@example.org", "GIT_COMMITTER_DATE=2026-01-02T04:05:06Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	return r.run(r.work, args...)
}

func (r *repo) write(name, content string) {
	r.t.Helper()
	name = filepath.Join(r.work, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// push commits everything, pushes all branches and tags, returns the commit.
func (r *repo) push(subject string) string {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", subject, "-m", "Body.")
	r.git("push", "-q", "--force", "--all", "origin")
	r.git("push", "-q", "--force", "--tags", "origin")
	return r.git("rev-parse", "HEAD")
}

func (r *repo) fileURL() string { return "file://" + r.bare }

// server is git's own HTTP server behind TLS.
type server struct {
	*httptest.Server
	ca []byte
	// packs counts transfers, bytes what they carried, looks the listings.
	packs, bytes, looks atomic.Int64
	// cut closes the connection after so many bytes of a pack.
	cut atomic.Int64
}

type counting struct {
	http.ResponseWriter
	s    *server
	sent int64
}

func (c *counting) Write(p []byte) (int, error) {
	if limit := c.s.cut.Load(); limit > 0 && c.sent+int64(len(p)) > limit {
		_, _ = c.ResponseWriter.Write(p[:limit-c.sent])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.sent += int64(len(p))
	c.s.bytes.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

func serve(t *testing.T, r *repo, authorized func(*http.Request) bool) *server {
	t.Helper()
	execPath := r.run(r.work, "--exec-path")
	backend := &cgi.Handler{
		Path: filepath.Join(execPath, "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + filepath.Dir(r.bare), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"},
	}
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if authorized != nil && !authorized(req) {
			w.Header().Set("WWW-Authenticate", `Basic realm="shop"`)
			http.Error(w, "no: "+req.Header.Get("Authorization")+" "+password, http.StatusUnauthorized)
			return
		}
		if strings.HasSuffix(req.URL.Path, "/git-upload-pack") {
			asked, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			req.Body = io.NopCloser(bytes.NewReader(asked))
			if bytes.Contains(asked, []byte("want ")) {
				s.packs.Add(1)
				w = &counting{ResponseWriter: w, s: s}
			} else {
				s.looks.Add(1)
			}
		}
		backend.ServeHTTP(w, req)
	}))
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	s.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return s
}

func (s *server) url() string { return s.URL + "/shop.git" }

func newStore(t *testing.T, dir string) *source.Store {
	t.Helper()
	s, err := source.New(source.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustFetch(t *testing.T, s *source.Store, req source.Request) source.Snapshot {
	t.Helper()
	snapshot, err := s.Fetch(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

func read(t *testing.T, fsys fs.FS, name string) string {
	t.Helper()
	content, err := fs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestFetch runs the same story over both transports.
func TestFetch(t *testing.T) {
	basic := func(req *http.Request) bool {
		user, pass, _ := req.BasicAuth()
		return user == "shop" && pass == password
	}
	bearer := func(req *http.Request) bool { return req.Header.Get("Authorization") == "Bearer "+token }
	tests := map[string]func(*testing.T, *repo) source.Request{
		"a folder": func(_ *testing.T, r *repo) source.Request { return source.Request{URL: r.fileURL()} },
		"https with a password": func(t *testing.T, r *repo) source.Request {
			s := serve(t, r, basic)
			return source.Request{URL: s.url(), Auth: source.Auth{Username: "shop", Password: password, CA: s.ca}}
		},
		"https with a password in the URL": func(t *testing.T, r *repo) source.Request {
			s := serve(t, r, basic)
			return source.Request{URL: strings.Replace(s.url(), "https://", "https://shop:"+password+"@", 1), Auth: source.Auth{CA: s.ca}}
		},
		"https with a bearer token": func(t *testing.T, r *repo) source.Request {
			s := serve(t, r, bearer)
			return source.Request{URL: s.url(), Auth: source.Auth{BearerToken: token, CA: s.ca}}
		},
	}
	for name, setup := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t)
			r.write("prod/web.yaml", "one")
			r.write("prod/db.yaml", "db")
			first := r.push("Add the shop")
			r.git("tag", "light")
			r.git("tag", "-a", "-m", "Release", "v1")
			r.write("prod/web.yaml", "two")
			second := r.push("Change the web")
			req, dir := setup(t, r), t.TempDir()
			s := newStore(t, dir)

			branch := req
			branch.Branch = "main"
			got := mustFetch(t, s, branch)
			if !got.Changed || read(t, got.FS, "prod/web.yaml") != "two" {
				t.Errorf("branch: changed %v, web.yaml %q", got.Changed, read(t, got.FS, "prod/web.yaml"))
			}
			rev := got.Revision
			if rev.Time.UTC().Format("15:04:05") != "04:05:06" {
				t.Errorf("time is %s", rev.Time)
			}
			want := source.Revision{
				Name: "main@sha1:" + second, Commit: second, Time: rev.Time,
				Author: "Alice <alice@example.org>", Subject: "Change the web",
			}
			if diff := cmp.Diff(want, rev); diff != "" {
				t.Errorf("revision (-want +got):\n%s", diff)
			}
			if err := fstest.TestFS(got.FS, "prod/web.yaml", "prod/db.yaml"); err != nil {
				t.Error(err)
			}

			for _, tag := range []string{"light", "v1"} {
				tagged := req
				tagged.Tag = tag
				snapshot := mustFetch(t, s, tagged)
				if snapshot.Revision.Name != tag+"@sha1:"+first || read(t, snapshot.FS, "prod/web.yaml") != "one" {
					t.Errorf("tag %s: %+v", tag, snapshot.Revision)
				}
				tagged.LastCommit = first
				if mustFetch(t, s, tagged).Changed {
					t.Errorf("tag %s has not moved", tag)
				}
			}

			commit := req
			commit.Commit = first
			snapshot := mustFetch(t, newStore(t, t.TempDir()), commit)
			if snapshot.Revision.Name != "sha1:"+first || read(t, snapshot.FS, "prod/web.yaml") != "one" {
				t.Errorf("commit: %+v", snapshot.Revision)
			}
			commit.Commit = strings.Repeat("0123456789", 4)
			if _, err := s.Fetch(t.Context(), commit); source.Reason(err) != source.ReasonRefNotFound {
				t.Errorf("missing commit: %v", err)
			}

			branch.LastCommit = second
			if same := mustFetch(t, s, branch); same.Changed || same.FS != nil || same.Revision.Commit != second {
				t.Errorf("unchanged branch: %+v", same)
			}
			r.write("prod/web.yaml", "three")
			third := r.push("Change the web again")
			newer := mustFetch(t, s, branch)
			if !newer.Changed || newer.Revision.Commit != third || read(t, newer.FS, "prod/web.yaml") != "three" || read(t, newer.FS, "prod/db.yaml") != "db" {
				t.Errorf("incremental: %+v", newer)
			}
			if read(t, got.FS, "prod/web.yaml") != "two" || read(t, got.FS, "prod/db.yaml") != "db" {
				t.Error("the earlier snapshot cannot be read any more")
			}

			// The ref is rewound, and the clone of an earlier process used.
			r.git("reset", "-q", "--hard", first)
			rewound := r.push("Another history")
			branch.LastCommit = third
			if again := mustFetch(t, newStore(t, dir), branch); again.Revision.Commit != rewound || read(t, again.FS, "prod/web.yaml") != "one" {
				t.Errorf("rewound: %+v", again.Revision)
			}
		})
	}
}

func TestFetchErrors(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "a")
	r.push("Add")
	for _, branch := range []string{"b1", "b2", "b3", "b4", "b5"} {
		r.git("branch", branch)
	}
	r.push("Branches")
	open := serve(t, r, nil)
	closed := serve(t, r, func(*http.Request) bool { return false })
	down := serve(t, r, nil)
	down.Close()
	broken := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "oops", http.StatusBadGateway)
	}))
	t.Cleanup(broken.Close)
	brokenCA := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: broken.Certificate().Raw})
	empty := newRepo(t)
	dir := t.TempDir()

	tests := map[string]struct {
		req    source.Request
		reason string
		says   string
	}{
		"a wrong password": {
			source.Request{URL: closed.url(), Branch: "main", Auth: source.Auth{Username: "shop", Password: password, CA: closed.ca}},
			source.ReasonAuthFailed, "spec.source.secretRef",
		},
		"a wrong password in the URL": {
			source.Request{URL: strings.Replace(closed.url(), "https://", "https://shop:"+password+"@", 1), Branch: "main", Auth: source.Auth{CA: closed.ca}},
			source.ReasonAuthFailed, "spec.source.secretRef",
		},
		"a wrong token": {
			source.Request{URL: closed.url(), Branch: "main", Auth: source.Auth{BearerToken: token, CA: closed.ca}},
			source.ReasonAuthFailed, "spec.source.secretRef",
		},
		"a repository that is not there": {
			source.Request{URL: open.URL + "/none.git", Branch: "main", Auth: source.Auth{CA: open.ca}},
			source.ReasonRepositoryNotFound, "spec.source.url",
		},
		"a folder that is not there": {
			source.Request{URL: "file:///does/not/exist", Branch: "main"},
			source.ReasonRepositoryNotFound, "no git repository",
		},
		"a folder that is someone's clone": {
			source.Request{URL: "file://" + dir, Branch: "main"},
			source.ReasonRepositoryNotFound, "no git repository",
		},
		"a branch that is not there": {
			source.Request{URL: open.url(), Branch: "mian", Auth: source.Auth{CA: open.ca}},
			source.ReasonRefNotFound, `branch "mian" does not exist: the repository has the branches main, b1, b2, b3, b4 and 1 more`,
		},
		"a tag that is not there": {
			source.Request{URL: r.fileURL(), Tag: "v9"},
			source.ReasonRefNotFound, `tag "v9" does not exist: the repository has no tags`,
		},
		"an empty repository": {
			source.Request{URL: empty.fileURL(), Branch: "main"},
			source.ReasonRefNotFound, "has no branches",
		},
		"a short commit id": {
			source.Request{URL: r.fileURL(), Commit: "abc123"},
			source.ReasonRefNotFound, "40 hexadecimal digits",
		},
		"two refs": {
			source.Request{URL: r.fileURL(), Branch: "main", Tag: "v1"},
			source.ReasonFetchFailed, "exactly one",
		},
		"a server that is down": {
			source.Request{URL: down.url(), Branch: "main", Auth: source.Auth{CA: down.ca}},
			source.ReasonUnreachable, "cannot be reached",
		},
		"a server with an error": {
			source.Request{URL: broken.URL + "/shop.git", Branch: "main", Auth: source.Auth{CA: brokenCA}},
			source.ReasonUnreachable, "HTTP status 502",
		},
		"a certificate that nobody trusts": {
			source.Request{URL: open.url(), Branch: "main"},
			source.ReasonTLSFailed, "ca.crt",
		},
		"a CA that is none": {
			source.Request{URL: open.url(), Branch: "main", Auth: source.Auth{CA: []byte("hello")}},
			source.ReasonTLSFailed, "no certificate in PEM",
		},
		"plain http": {
			source.Request{URL: "http://shop:" + password + "@localhost/shop.git", Branch: "main"},
			source.ReasonFetchFailed, "only https://",
		},
		"a URL that does not parse": {
			source.Request{URL: "https://shop:" + password + "@local host/%zz", Branch: "main"},
			source.ReasonFetchFailed, "cannot be parsed",
		},
	}
	s := newStore(t, dir)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := s.Fetch(t.Context(), test.req)
			if err == nil {
				t.Fatal("no error")
			}
			if got := source.Reason(err); got != test.reason {
				t.Errorf("reason %s, want %s", got, test.reason)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("%q does not say %q", err, test.says)
			}
			if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), token) {
				t.Errorf("%q tells a credential", err)
			}
		})
	}
}

func TestFetchIncrementalIsSmall(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	for i := range 2000 {
		r.write(fmt.Sprintf("d%d/f%d.yaml", i%40, i), fmt.Sprintf("content of %d: %x\n", i, i*i*7919))
	}
	r.push("Many files")
	web := serve(t, r, nil)
	s := newStore(t, t.TempDir())
	req := source.Request{URL: web.url(), Branch: "main", Auth: source.Auth{CA: web.ca}}
	first := mustFetch(t, s, req)
	files := 0
	err := fs.WalkDir(first.FS, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		_, err = fs.ReadFile(first.FS, p)
		return err
	})
	if err != nil || files != 2000 {
		t.Fatalf("%d files, %v", files, err)
	}

	whole := web.bytes.Swap(0)
	r.write("d7/f7.yaml", "changed")
	r.push("One file")
	second := mustFetch(t, s, req)
	if read(t, second.FS, "d7/f7.yaml") != "changed" || read(t, second.FS, "d8/f8.yaml") != read(t, first.FS, "d8/f8.yaml") {
		t.Error("wrong content")
	}
	if part := web.bytes.Load(); part*10 > whole {
		t.Errorf("%d bytes for one file, %d for all", part, whole)
	}
	packs := web.packs.Load()
	req.LastCommit = second.Revision.Commit
	mustFetch(t, s, req)
	req.LastCommit = ""
	if !mustFetch(t, s, req).Changed {
		t.Error("without LastCommit everything is new")
	}
	if web.packs.Load() != packs {
		t.Error("what was there already was transferred again")
	}
}

func TestFetchConcurrently(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "main")
	r.push("Main")
	r.git("checkout", "-q", "-b", "next")
	r.write("a.yaml", "next")
	r.push("Next")
	web := serve(t, r, nil)
	for name, req := range map[string]source.Request{
		"https":    {URL: web.url(), Auth: source.Auth{CA: web.ca}},
		"a folder": {URL: r.fileURL()},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, t.TempDir())
			var wg sync.WaitGroup
			for i := range 16 {
				req := req
				req.Branch = []string{"main", "next"}[i%2]
				wg.Go(func() {
					snapshot, err := s.Fetch(t.Context(), req)
					if err != nil {
						t.Error(err)
						return
					}
					if content, err := fs.ReadFile(snapshot.FS, "a.yaml"); err != nil || string(content) != req.Branch {
						t.Errorf("%s: %q, %v", req.Branch, content, err)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestFetchKeepsTenantsApart(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "a")
	r.push("Add")
	web := serve(t, r, func(req *http.Request) bool {
		_, pass, _ := req.BasicAuth()
		return pass == "right" || pass == "also right"
	})
	dir := t.TempDir()
	s := newStore(t, dir)
	req := source.Request{URL: web.url(), Branch: "main", Auth: source.Auth{Username: "a", Password: "right", CA: web.ca}}
	mustFetch(t, s, req)
	req.Auth.Password = "wrong"
	if _, err := s.Fetch(t.Context(), req); source.Reason(err) != source.ReasonAuthFailed {
		t.Errorf("wrong password: %v", err)
	}
	req.Auth.Password = "also right"
	mustFetch(t, s, req)
	if web.packs.Load() != 2 {
		t.Errorf("%d transfers, want one for each set of credentials", web.packs.Load())
	}
	clones, err := filepath.Glob(filepath.Join(dir, "*", "1"))
	if err != nil || len(clones) != 2 {
		t.Fatalf("clones %v, %v", clones, err)
	}
	other := source.Request{URL: "file://" + clones[0], Branch: "main"}
	if _, err := s.Fetch(t.Context(), other); source.Reason(err) != source.ReasonRepositoryNotFound {
		t.Errorf("a clone as a repository: %v", err)
	}
}

func TestFetchReplacesADamagedClone(t *testing.T) {
	r := newRepo(t)
	r.write("a.yaml", strings.Repeat("some content ", 100))
	r.push("Add")
	damages := map[string]func(*testing.T, string){
		"a changed byte in a pack":   func(t *testing.T, clone string) { change(t, clone, "*.pack") },
		"a changed byte in an index": func(t *testing.T, clone string) { change(t, clone, "*.idx") },
		"a missing index": func(t *testing.T, clone string) {
			for _, name := range glob(t, clone, "*.idx") {
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
		},
		"an index and half a pack of a crash": func(t *testing.T, clone string) {
			for _, name := range []string{"pack-0123.idx", "tmp_pack_1"} {
				if err := os.WriteFile(filepath.Join(clone, "objects", "pack", name), []byte("half"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		},
		"no HEAD": func(t *testing.T, clone string) {
			if err := os.Remove(filepath.Join(clone, "HEAD")); err != nil {
				t.Fatal(err)
			}
		},
		"no objects": func(t *testing.T, clone string) {
			if err := os.RemoveAll(filepath.Join(clone, "objects")); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			req := source.Request{URL: r.fileURL(), Branch: "main"}
			mustFetch(t, newStore(t, dir), req)
			damage(t, filepath.Dir(glob(t, dir, "*/*/HEAD")[0]))
			s := newStore(t, dir)
			got := mustFetch(t, s, req)
			if !strings.HasPrefix(read(t, got.FS, "a.yaml"), "some content") {
				t.Error("wrong content")
			}
		})
	}
	t.Run("while in use", func(t *testing.T) {
		dir := t.TempDir()
		req := source.Request{URL: r.fileURL(), Branch: "main"}
		s := newStore(t, dir)
		mustFetch(t, s, req)
		change(t, filepath.Dir(glob(t, dir, "*/*/HEAD")[0]), "*.pack")
		// The first attempt may find out only when the file is read.
		if got, err := s.Fetch(t.Context(), req); err == nil {
			_, _ = fs.ReadFile(got.FS, "a.yaml")
		}
		got := mustFetch(t, s, req)
		if !strings.HasPrefix(read(t, got.FS, "a.yaml"), "some content") {
			t.Error("wrong content")
		}
	})
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	if !strings.Contains(pattern, "/") {
		pattern = "objects/pack/" + pattern
	}
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, dir, err)
	}
	return names
}

// change inverts the bytes from the middle of each file on, but for the last.
func change(t *testing.T, clone, pattern string) {
	t.Helper()
	for _, name := range glob(t, clone, pattern) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 13; i < len(content)-20; i++ {
			content[i] ^= 0xff
		}
		if err := errors.Join(os.Chmod(name, 0o600), os.WriteFile(name, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFetchCutOff(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	for i := range 50 {
		r.write(fmt.Sprintf("f%d.yaml", i), fmt.Sprintf("%x", i*7919))
	}
	r.push("Add")
	web := serve(t, r, nil)
	s := newStore(t, t.TempDir())
	req := source.Request{URL: web.url(), Branch: "main", Auth: source.Auth{CA: web.ca}}
	web.cut.Store(1000)
	if _, err := s.Fetch(t.Context(), req); err == nil {
		t.Fatal("half a pack is no error")
	}
	web.cut.Store(0)
	if got := mustFetch(t, s, req); read(t, got.FS, "f1.yaml") != "1eef" {
		t.Errorf("f1.yaml is %q", read(t, got.FS, "f1.yaml"))
	}
}

func TestFetchInterrupted(t *testing.T) {
	t.Parallel()
	hangs := make(chan struct{})
	web := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-hangs:
		case <-req.Context().Done():
		}
	}))
	t.Cleanup(web.Close)
	t.Cleanup(func() { close(hangs) })
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	ctx, cancel := context.WithTimeout(t.Context(), 100_000_000)
	defer cancel()
	_, err := newStore(t, t.TempDir()).Fetch(ctx, source.Request{URL: web.URL, Branch: "main", Auth: source.Auth{CA: ca}})
	if source.Reason(err) != source.ReasonUnreachable || !strings.Contains(err.Error(), "in time") {
		t.Errorf("%s: %v", source.Reason(err), err)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v hides the deadline", err)
	}
}

func TestSnapshotRefusesSymlinks(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("real/a.yaml", "a")
	for name, target := range map[string]string{"out.yaml": "/etc/passwd", "up.yaml": "../../x", "in.yaml": "real/a.yaml", "dir": "real"} {
		if err := os.Symlink(target, filepath.Join(r.work, name)); err != nil {
			t.Fatal(err)
		}
	}
	r.push("Links")
	got := mustFetch(t, newStore(t, t.TempDir()), source.Request{URL: r.fileURL(), Branch: "main"})
	for _, name := range []string{"out.yaml", "up.yaml", "in.yaml", "dir", "dir/a.yaml"} {
		if _, err := fs.ReadFile(got.FS, name); !errors.Is(err, source.ErrSymlink) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"none.yaml", "real/a.yaml/b", "real/none"} {
		if _, err := fs.ReadFile(got.FS, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFetchStartsAnewWhenTheCloneHasGrown(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	dir := t.TempDir()
	s := newStore(t, dir)
	req := source.Request{URL: r.fileURL(), Branch: "main"}
	r.write("a.yaml", "first")
	r.push("First")
	first := mustFetch(t, s, req)
	packs := filepath.Dir(glob(t, dir, "*/1/objects/pack/*.pack")[0])
	// The clone counts packs; that these are empty is found at the next start.
	for i := range 256 {
		if err := os.WriteFile(filepath.Join(packs, fmt.Sprintf("pack-%040x.pack", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.write("a.yaml", "second")
	r.push("Second")
	second := mustFetch(t, s, req)
	if read(t, second.FS, "a.yaml") != "second" {
		t.Error("wrong content")
	}
	if got := len(glob(t, dir, "*/2/objects/pack/*.pack")); got != 1 {
		t.Errorf("the new clone has %d packs", got)
	}
	if read(t, first.FS, "a.yaml") != "first" {
		t.Error("the snapshot of the clone before cannot be read any more")
	}
	if read(t, mustFetch(t, newStore(t, dir), req).FS, "a.yaml") != "second" {
		t.Error("wrong content after a restart")
	}
	if _, err := os.Stat(filepath.Dir(filepath.Dir(packs))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old clone is still there: %v", err)
	}
}
