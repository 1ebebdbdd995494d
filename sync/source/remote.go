// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// namedRefs is how many existing branches or tags a message names.
const namedRefs = 5

// remote is a repository to fetch from. Both fetches leave the clone as it was
// when they return an error.
type remote interface {
	// list asks where the refs point to.
	list(ctx context.Context) (*listing, error)
	// fetch brings the object that a listed ref points to, and what is below
	// it, without history.
	fetch(ctx context.Context, refs *listing, into *clone, want plumbing.Hash) error
	// fetchCommit brings a commit that perhaps no ref points to.
	fetchCommit(ctx context.Context, refs *listing, into *clone, commit plumbing.Hash) error
}

var (
	_ remote = (*httpsRemote)(nil)
	_ remote = (*folderRemote)(nil)
)

func newRemote(t *target, clones string) (remote, error) {
	if t.url.Scheme == "file" {
		return newFolderRemote(t.url.Path, clones)
	}
	return newHTTPSRemote(t)
}

// listing is an ls-remote's answer.
type listing struct {
	refs map[string]plumbing.Hash
	// peeled has the commits of annotated tags, where the server tells.
	peeled map[string]plumbing.Hash
	// capabilities of the server; nil for a folder.
	capabilities *capability.List
}

// find returns the object that the target's ref points to, and the commit: the
// same unless the ref is an annotated tag.
func (l *listing) find(t *target) (want, commit plumbing.Hash, err error) {
	if t.kind == "commit" {
		return t.commit, t.commit, nil
	}
	want, ok := l.refs[t.ref.String()]
	if !ok {
		return want, commit, fail(ReasonRefNotFound, nil, "%s", l.missing(t))
	}
	if peeled, ok := l.peeled[t.ref.String()]; ok {
		return want, peeled, nil
	}
	return want, want, nil
}

func (l *listing) missing(t *target) string {
	prefix, kinds := "refs/heads/", "branches"
	if t.kind == "tag" {
		prefix, kinds = "refs/tags/", "tags"
	}
	var names []string
	for _, ref := range slices.Sorted(maps.Keys(l.refs)) {
		if name, ok := strings.CutPrefix(ref, prefix); ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return fmt.Sprintf("%s %q does not exist: the repository has no %s; check spec.source.ref", t.kind, t.name, kinds)
	}
	more := ""
	if len(names) > namedRefs {
		more = fmt.Sprintf(" and %d more", len(names)-namedRefs)
		names = names[:namedRefs]
	}
	return fmt.Sprintf("%s %q does not exist: the repository has the %s %s%s; check spec.source.ref",
		t.kind, t.name, kinds, strings.Join(names, ", "), more)
}

// tips are the objects that branches and tags point to.
func (l *listing) tips() []plumbing.Hash {
	var tips []plumbing.Hash
	for ref, h := range l.refs {
		if strings.HasPrefix(ref, "refs/heads/") || strings.HasPrefix(ref, "refs/tags/") {
			tips = append(tips, h)
		}
	}
	plumbing.HashesSort(tips)
	return slices.Compact(tips)
}

func commitNotFound(commit plumbing.Hash) error {
	return fail(ReasonRefNotFound, nil, "commit %s is in none of the repository's branches and tags; check spec.source.ref", commit)
}
