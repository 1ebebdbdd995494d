// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Request says what to fetch. Exactly one of Branch, Tag and Commit is set.
type Request struct {
	// URL of the repository: https:// or file:///.
	URL string
	// Branch is a branch's name, without refs/heads/.
	Branch string
	// Tag is a tag's name, without refs/tags/; lightweight or annotated.
	Tag string
	// Commit is a full commit id.
	Commit string
	Auth   Auth
	// LastCommit is the commit that the caller has already. While the ref
	// points to it, nothing is fetched and the Snapshot is not Changed.
	LastCommit string
}

// Auth holds the credentials for one repository; all fields are optional. A
// BearerToken is used rather than Username and Password.
type Auth struct {
	Username    string
	Password    string
	BearerToken string
	// CA holds certificates in PEM that are trusted beside the system's.
	CA []byte
}

// target is a checked Request.
type target struct {
	url *url.URL // without credentials
	// kind is branch, tag or commit; name is what the user wrote.
	kind, name string
	// ref is empty for a commit.
	ref    plumbing.ReferenceName
	commit plumbing.Hash
	auth   Auth
}

func newTarget(req Request) (*target, error) {
	u, err := url.Parse(req.URL)
	if err != nil {
		// The parser's message repeats the URL, and perhaps a password in it.
		return nil, fail(ReasonFetchFailed, nil, "the URL cannot be parsed: write https://host/path.git")
	}
	t := &target{url: u, auth: req.Auth}
	if u.User != nil {
		if t.auth.Username == "" && t.auth.Password == "" {
			t.auth.Username = u.User.Username()
			t.auth.Password, _ = u.User.Password()
		}
		u.User = nil
	}
	switch {
	case u.Scheme == "https" && u.Host != "":
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path):
	default:
		return nil, fail(ReasonFetchFailed, nil, "only https:// and file:/// URLs can be fetched: write https://host/path.git")
	}
	return t, t.setRef(req)
}

func (t *target) setRef(req Request) error {
	set := 0
	if req.Branch != "" {
		set++
		t.kind, t.name, t.ref = "branch", req.Branch, plumbing.NewBranchReferenceName(req.Branch)
	}
	if req.Tag != "" {
		set++
		t.kind, t.name, t.ref = "tag", req.Tag, plumbing.NewTagReferenceName(req.Tag)
	}
	if req.Commit != "" {
		set++
		t.kind, t.name, t.commit = "commit", strings.ToLower(req.Commit), plumbing.NewHash(req.Commit)
		if !plumbing.IsHash(req.Commit) || len(req.Commit) != 40 {
			return fail(ReasonRefNotFound, nil, "commit %q is not a full commit id: write its 40 hexadecimal digits", req.Commit)
		}
	}
	if set != 1 {
		return fail(ReasonFetchFailed, nil, "exactly one of branch, tag and commit must be set")
	}
	return nil
}

// revisionName is main@sha1:<commit>, or sha1:<commit> for a commit by id.
func (t *target) revisionName(commit plumbing.Hash) string {
	if t.kind == "commit" {
		return "sha1:" + commit.String()
	}
	return t.name + "@sha1:" + commit.String()
}

// key names the clone: the same for equal URLs and equal credentials only.
func (t *target) key() string {
	h := sha256.New()
	for _, s := range []string{t.url.String(), t.auth.Username, t.auth.Password, t.auth.BearerToken, string(t.auth.CA)} {
		// The length keeps the parts apart.
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
