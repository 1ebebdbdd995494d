// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"
)

// Request says what to fetch. Exactly one of Branch, Tag, SemVer, Commit and
// Name is set.
type Request struct {
	// URL of the repository: https://, ssh:// or file:///.
	URL string
	// Branch is a branch's name, without refs/heads/.
	Branch string
	// Tag is a tag's name, without refs/tags/; lightweight or annotated.
	Tag string
	// SemVer is a range of versions: the tag with the highest version in it is
	// followed. Tags may begin with a v. A version with a prerelease counts
	// only where the range names one.
	SemVer string
	// Commit is a full commit id.
	Commit string
	// Name is a full ref, for example refs/pull/7/head.
	Name string
	Auth Auth
	// Submodules brings the submodules of the commit, too, at the commits that it
	// pins.
	Submodules bool
	// LastCommit is the commit that the caller has already. While the ref
	// points to it, nothing is fetched and the Snapshot is not Changed.
	LastCommit string
	// Base is a commit whose relation to the new one will be asked for, by
	// Store.Since; BaseTime is its committer's time, where it is known. Its
	// descendants come along with the first transfer then.
	Base     string
	BaseTime time.Time
	// MaxAge is how old an earlier look at the server may be to count.
	MaxAge time.Duration
	// Now asks also a server that is left alone for a while because it failed.
	Now bool
}

// target is a checked Request.
type target struct {
	url *url.URL // without credentials, but for the user of ssh
	// kind is branch, tag, semver, commit or ref; name is what the user wrote.
	kind, name string
	// ref is empty for a commit and for a range.
	ref      plumbing.ReferenceName
	commit   plumbing.Hash
	versions *semver.Constraints
	auth     Auth
}

// scpForm is how ssh itself lets people write an address.
var scpForm = regexp.MustCompile(`^([^/@:]+@)?([^/:@]+):([^/].*|/.*)$`)

func newTarget(req Request) (*target, error) {
	if m := scpForm.FindStringSubmatch(req.URL); m != nil && !strings.Contains(req.URL, "://") {
		return nil, fail(ReasonFetchFailed, nil, "this form of URL is not taken: write ssh://%s%s/%s", m[1], m[2], strings.TrimPrefix(m[3], "/"))
	}
	u, err := url.Parse(req.URL)
	if err != nil {
		// The parser's message repeats the URL, and perhaps a password in it.
		return nil, fail(ReasonFetchFailed, nil, "the URL cannot be parsed: write https://host/path.git or ssh://git@host/path.git")
	}
	t := &target{url: u, auth: req.Auth}
	if u.User != nil && u.Scheme == "https" {
		if t.auth.Username == "" && t.auth.Password == "" {
			t.auth.Username = u.User.Username()
			t.auth.Password, _ = u.User.Password()
		}
		u.User = nil
	}
	switch {
	case u.Scheme == "https" && u.Host != "":
		u.Path = strings.TrimRight(u.Path, "/")
	case u.Scheme == "ssh" && u.Host != "" && u.Path != "":
		if _, ok := u.User.Password(); ok {
			return nil, fail(ReasonFetchFailed, nil, "a password in an ssh URL is not used: write ssh://git@host/path.git and give a key")
		}
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path):
	default:
		return nil, fail(ReasonFetchFailed, nil, "only https://, ssh:// and file:/// URLs can be fetched: write https://host/path.git")
	}
	u.RawQuery, u.Fragment = "", ""
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
	if req.Name != "" {
		set++
		t.kind, t.name, t.ref = "ref", req.Name, plumbing.ReferenceName(req.Name)
		if !strings.HasPrefix(req.Name, "refs/") {
			return fail(ReasonRefNotFound, nil, "ref %q is not a full ref: write refs/heads/… or refs/tags/…", req.Name)
		}
	}
	if req.SemVer != "" {
		set++
		t.kind, t.name = "semver", req.SemVer
		var err error
		if t.versions, err = semver.NewConstraint(req.SemVer); err != nil {
			return fail(ReasonRefNotFound, err, "semver %q is no range of versions: write for example ~1.4 or >=1.2.0 <2.0.0", req.SemVer)
		}
	}
	if req.Commit != "" {
		set++
		t.kind, t.name, t.commit = "commit", strings.ToLower(req.Commit), plumbing.NewHash(req.Commit)
		if !plumbing.IsHash(req.Commit) || len(req.Commit) != 40 {
			return fail(ReasonRefNotFound, nil, "commit %q is not a full commit id: write its 40 hexadecimal digits", req.Commit)
		}
	}
	if set != 1 {
		return fail(ReasonFetchFailed, errRefs, "exactly one of branch, tag, semver, commit and name must be set")
	}
	return nil
}

var errRefs = errors.New("no ref, or more than one")

// prefix is what to list to find the ref; empty for a commit.
func (t *target) prefix() string {
	if t.kind == "semver" {
		return "refs/tags/"
	}
	return t.ref.String()
}

// wide is what to list to find names like it.
func (t *target) wide() string {
	switch t.kind {
	case "branch":
		return "refs/heads/"
	case "tag", "semver":
		return "refs/tags/"
	}
	return "refs/"
}

// revisionName is main@sha1:<commit>, or sha1:<commit> for a commit by id. A
// range is named by the tag that was found.
func (t *target) revisionName(ref string, commit plumbing.Hash) string {
	switch t.kind {
	case "commit":
		return "sha1:" + commit.String()
	case "semver":
		return strings.TrimPrefix(ref, "refs/tags/") + "@sha1:" + commit.String()
	}
	return t.name + "@sha1:" + commit.String()
}

// key names the clone: the same for equal URLs and equal credentials only.
func (t *target) key() string {
	h := sha256.New()
	for _, s := range append([]string{t.url.String()}, t.auth.parts()...) {
		// The length keeps the parts apart.
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
