// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/agnivade/levenshtein"
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/mainstay-gitops/mainstay/sync/source/wire"
)

// namedRefs is how many existing names a message has.
const namedRefs = 5

// found is what a ref points to.
type found struct {
	// ref is its full name; empty for a commit by id.
	ref string
	// want is the object, commit the same unless want is an annotated tag.
	want, commit plumbing.Hash
}

// find returns what the target's ref points to; false if it is not listed.
func (t *target) find(refs *wire.Refs) (found, bool) {
	if t.kind == "commit" {
		return found{want: t.commit, commit: t.commit}, true
	}
	ref := t.ref.String()
	if t.kind == "semver" {
		ref = t.highest(refs)
	}
	want, ok := refs.Hashes[ref]
	if !ok {
		return found{}, false
	}
	f := found{ref: ref, want: want, commit: want}
	if peeled, ok := refs.Peeled[ref]; ok {
		f.commit = peeled
	}
	return f, true
}

// highest is the tag with the highest version in the range. Of two that differ
// in build metadata only, which no order tells apart, it is the one whose name
// sorts last.
func (t *target) highest(refs *wire.Refs) string {
	var best *semver.Version
	name := ""
	for _, ref := range slices.Sorted(maps.Keys(refs.Hashes)) {
		v := tagVersion(ref)
		if v == nil || !t.versions.Check(v) {
			continue
		}
		if best == nil || !v.LessThan(best) {
			best, name = v, ref
		}
	}
	return name
}

// tagVersion is a tag's version, or nil. It needs all three numbers: 2024-06 is
// a date.
func tagVersion(ref string) *semver.Version {
	tag, ok := strings.CutPrefix(ref, "refs/tags/")
	if !ok {
		return nil
	}
	v, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
	if err != nil {
		return nil
	}
	return v
}

// missing says that a ref does not exist, and which do.
func (t *target) missing(refs *wire.Refs) error {
	kinds := map[string]string{"branch": "branches", "tag": "tags", "semver": "tags", "ref": "refs"}[t.kind]
	var names []string
	for ref := range refs.Hashes {
		if t.kind == "ref" {
			names = append(names, ref)
		} else if name, ok := strings.CutPrefix(ref, t.wide()); ok {
			names = append(names, name)
		}
	}
	if t.kind == "semver" {
		return t.noVersion(names)
	}
	if len(names) == 0 {
		return fail(ReasonRefNotFound, nil, "%s %q does not exist: the repository has no %s; check spec.source.ref", t.kind, t.name, kinds)
	}
	return fail(ReasonRefNotFound, nil, "%s %q does not exist: the repository has the %s %s; check spec.source.ref",
		t.kind, t.name, kinds, near(t.name, names))
}

func (t *target) noVersion(tags []string) error {
	slices.SortFunc(tags, func(a, b string) int {
		va, vb := tagVersion("refs/tags/"+a), tagVersion("refs/tags/"+b)
		switch {
		case va == nil && vb == nil:
			return strings.Compare(a, b)
		case va == nil:
			return 1
		case vb == nil:
			return -1
		}
		return vb.Compare(va)
	})
	versions := tags
	for i, tag := range tags {
		if tagVersion("refs/tags/"+tag) == nil {
			versions = tags[:i]
			break
		}
	}
	if len(versions) == 0 {
		return fail(ReasonRefNotFound, nil, "no tag has a version in the range %q: none is a version like v1.2.3; check spec.source.ref", t.name)
	}
	return fail(ReasonRefNotFound, nil, "no tag has a version in the range %q: the newest are %s; check spec.source.ref", t.name, some(versions))
}

// near lists the names most like one, the likest first where some are alike.
func near(name string, names []string) string {
	slices.Sort(names)
	distance := map[string]int{}
	for _, n := range names {
		// Beyond a third it is another word.
		if d := levenshtein.ComputeDistance(name, n); d <= max(2, len(name)/3) {
			distance[n] = d + 1
		}
	}
	slices.SortStableFunc(names, func(a, b string) int {
		da, db := distance[a], distance[b]
		switch {
		case da == db:
			return 0
		case da == 0:
			return 1
		case db == 0:
			return -1
		}
		return da - db
	})
	return some(names)
}

// some lists the first few.
func some(names []string) string {
	more := ""
	if len(names) > namedRefs {
		more = fmt.Sprintf(" and %d more", len(names)-namedRefs)
		names = names[:namedRefs]
	}
	return strings.Join(names, ", ") + more
}

func commitNotFound(commit plumbing.Hash) error {
	return fail(ReasonRefNotFound, nil, "commit %s is in none of the repository's branches and tags; check spec.source.ref", commit)
}
