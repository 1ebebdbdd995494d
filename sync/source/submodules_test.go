// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/sync/source"
)

// beside makes another bare repository in the folder of r, with one commit.
func (r *repo) beside(name string, files map[string]string) (commit string) {
	r.t.Helper()
	bare, work := filepath.Join(filepath.Dir(r.bare), name), filepath.Join(r.t.TempDir(), "work")
	r.run(filepath.Dir(r.bare), "init", "-q", "--bare", "-b", "main", bare)
	r.run(filepath.Dir(r.bare), "clone", "-q", bare, work)
	other := &repo{t: r.t, bare: bare, work: work}
	other.git("checkout", "-q", "-b", "main")
	for file, content := range files {
		other.write(file, content)
	}
	return other.push("First of " + name)
}

// pin has the next commit of r have a submodule, and pushes it.
func (r *repo) pin(name, url, commit string) {
	r.t.Helper()
	r.write(".gitmodules", fmt.Sprintf("[submodule %q]\n\tpath = %s\n\turl = %s\n", name, name, url))
	r.git("add", ".gitmodules")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+commit+","+name)
	r.git("commit", "-q", "-m", "Pin "+name)
	r.git("push", "-q", "origin", "HEAD")
}

func follow(r *repo, s *server) source.Request {
	if s == nil {
		return source.Request{URL: r.fileURL(), Branch: "main", Submodules: true}
	}
	return source.Request{
		URL: s.url(), Branch: "main", Submodules: true,
		Auth: source.Auth{CA: s.ca, Username: "shop", Password: password},
	}
}

func TestSubmodulesAreReadAtTheCommitThatIsPinned(t *testing.T) {
	basic := func(req *http.Request) bool {
		user, pass, _ := req.BasicAuth()
		return user == "shop" && pass == password
	}
	for name, web := range map[string]bool{"from a folder": false, "over https with the repository's credentials": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepo(t)
			var s *server
			if web {
				s = serve(t, r, basic)
			}
			// A submodule in a submodule, whose own url is relative to that one.
			deep := r.beside("deep.git", map[string]string{"deep.yaml": "deep"})
			lib := r.beside("lib.git", map[string]string{"base/a.yaml": "one"})
			work := &repo{t: t, bare: filepath.Join(filepath.Dir(r.bare), "lib.git"), work: filepath.Join(t.TempDir(), "lib")}
			work.run(filepath.Dir(r.bare), "clone", "-q", work.bare, work.work)
			work.pin("more", "../deep.git", deep)
			nested := work.git("rev-parse", "HEAD")
			r.write("own.yaml", "own")
			r.push("First")
			r.pin("vendor/lib", "../lib.git", nested)

			store := newStore(t, t.TempDir())
			got := mustFetch(t, store, follow(r, s))
			var files []string
			if err := fs.WalkDir(got.FS, ".", func(name string, entry fs.DirEntry, err error) error {
				if err == nil && !entry.IsDir() {
					files = append(files, name+": "+strings.Split(read(t, got.FS, name), "\n")[0])
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			want := []string{
				`.gitmodules: [submodule "vendor/lib"]`, "own.yaml: own", `vendor/lib/.gitmodules: [submodule "more"]`,
				"vendor/lib/base/a.yaml: one", "vendor/lib/more/deep.yaml: deep",
			}
			if diff := cmp.Diff(want, files); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if _, err := fs.Stat(got.FS, "vendor/lib/none.yaml"); err == nil || !strings.Contains(err.Error(), "vendor/lib/none.yaml") {
				t.Errorf("what is not there: %v, want its whole name", err)
			}
			reads := source.Watch(got.FS)
			read(t, reads, "vendor/lib/base/a.yaml")
			if _, err := fs.ReadDir(reads, "vendor/lib"); err != nil {
				t.Fatal(err)
			}

			// Another commit of it, without the one in it.
			r.pin("vendor/lib", "../lib.git", lib)
			next := mustFetch(t, store, follow(r, s))
			if !next.Changed {
				t.Error("another commit of a submodule is no change")
			}
			if _, err := fs.Stat(next.FS, "vendor/lib/more"); err == nil {
				t.Error("the submodule is still at the commit of before")
			}
			if reads.Seen().In(next.FS) || !reads.Seen().In(got.FS) {
				t.Error("what was read of a submodule is not told from what is there now")
			}
		})
	}
}

func TestSubmodulesStayWhereTheyMay(t *testing.T) {
	t.Parallel()
	outside := newRepo(t)
	outside.write("secret.yaml", "secret")
	elsewhere := outside.push("Elsewhere")
	var authorized []string
	other := serve(t, outside, func(req *http.Request) bool {
		authorized = append(authorized, req.Header.Get("Authorization"))
		return true
	})
	tests := map[string]struct {
		url, reason, says string
		web               bool
		commit            string
	}{
		"on another server":              {url: other.url(), web: true, reason: source.ReasonSubmoduleNotAllowed, says: "submodule lib: fetch https://"},
		"with a password for its own":    {url: strings.Replace(other.url(), "https://", "https://a:b@", 1), web: true, reason: source.ReasonSubmoduleNotAllowed},
		"over another protocol":          {url: "git@git.example.org:lib.git", web: true, reason: source.ReasonSubmoduleNotAllowed, says: "sync.submodules"},
		"on Mainstay's own disk":         {url: outside.fileURL(), web: true, reason: source.ReasonSubmoduleNotAllowed},
		"in another folder of the disk":  {url: outside.fileURL(), reason: source.ReasonSubmoduleNotAllowed},
		"by going up out of the folder":  {url: "../../x/lib.git", reason: source.ReasonSubmoduleNotAllowed},
		"by hiding that":                 {url: "../%2e%2e/lib.git", reason: source.ReasonFetchFailed, says: ".."},
		"that do not exist":              {url: "../none.git", reason: source.ReasonRepositoryNotFound, says: "submodule lib"},
		"at a commit that does not":      {url: "../lib.git", commit: strings.Repeat("1", 40), reason: source.ReasonRefNotFound, says: strings.Repeat("1", 40)},
		"at a commit, over https":        {url: "../lib.git", web: true, commit: strings.Repeat("1", 40), reason: source.ReasonRefNotFound},
		"that lead to themselves for us": {url: "../shop.git", reason: source.ReasonFetchFailed, says: "none is followed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRepo(t)
			r.beside("lib.git", map[string]string{"a.yaml": "one"})
			var s *server
			if test.web {
				s = serve(t, r, nil)
			}
			commit := test.commit
			if commit == "" {
				commit = elsewhere
			}
			if strings.Contains(test.url, "shop.git") && strings.HasPrefix(test.url, "..") {
				// A commit can't name itself, so each has the one before.
				commit = r.push("Zero")
				for range 4 {
					r.pin("lib", test.url, commit)
					commit = r.git("rev-parse", "HEAD")
				}
			}
			r.pin("lib", test.url, commit)
			_, err := newStore(t, t.TempDir()).Fetch(t.Context(), follow(r, s))
			refused(t, err, test.reason, test.says)
		})
	}
	if len(authorized) > 0 {
		t.Errorf("the other server was asked, with %q", authorized)
	}
}

func TestSubmodulesFromWhereTheOperatorAllowsGetNoCredentials(t *testing.T) {
	t.Parallel()
	shared := newRepo(t)
	shared.write("a.yaml", "shared")
	commit := shared.push("Shared")
	asked := make(chan string, 100)
	other := serve(t, shared, func(req *http.Request) bool { asked <- req.Header.Get("Authorization"); return true })
	r := newRepo(t)
	s := serve(t, r, nil)
	r.pin("lib", other.url(), commit)
	store, err := source.New(source.Options{Dir: t.TempDir(), Submodules: []string{other.URL}})
	if err != nil {
		t.Fatal(err)
	}
	got := mustFetch(t, store, follow(r, s))
	if content := read(t, got.FS, "lib/a.yaml"); content != "shared" {
		t.Errorf("read %q", content)
	}
	close(asked)
	for header := range asked {
		if header != "" {
			t.Errorf("it was asked with %q", header)
		}
	}
	r.pin("lib", strings.Replace(other.URL, "127.0.0.1", "127.0.0.1.example", 1)+"/shop.git", commit)
	_, err = store.Fetch(t.Context(), follow(r, s))
	refused(t, err, source.ReasonSubmoduleNotAllowed, "submodule lib")
}

func TestASubmoduleWithoutAURLIsNamed(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "one")
	id := r.push("First")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+id+",vendor/lib")
	r.git("commit", "-q", "-m", "A submodule")
	r.git("push", "-q", "origin", "main")
	got := mustFetch(t, newStore(t, t.TempDir()), follow(r, nil))
	if _, err := fs.ReadDir(got.FS, "vendor/lib"); err == nil || !strings.Contains(err.Error(), ".gitmodules") {
		t.Errorf("got %v", err)
	}
}
