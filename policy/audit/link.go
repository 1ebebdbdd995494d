// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// Link leads a person to a line of the repository that declares an object: by
// the GitSync's template, by the form of the known forges, or as
// file:line in <repository>. It never shows credentials of the repository's URL.
func Link(sync *ownership.Sync, content *ownership.Content, at int) string {
	line := strconv.Itoa(max(at, 1))
	place := content.File + ":" + line
	if sync.WebURL != "" {
		return strings.NewReplacer(
			"{commit}", content.Revision.Commit, "{file}", escape(content.File), "{line}", line,
		).Replace(sync.WebURL)
	}
	u, err := url.Parse(sync.URL)
	if err != nil {
		return place
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	if u.Scheme != "https" {
		return place + " in " + u.String()
	}
	base := strings.TrimSuffix(strings.TrimSuffix(u.String(), "/"), ".git")
	ref, kind := sync.Applied.Commit, "commit"
	if name, _, ok := strings.Cut(sync.Applied.Name, "@"); ok && name != "" && name != sync.Applied.Commit {
		ref, kind = name, "branch"
	}
	if ref == "" {
		ref = content.Revision.Commit
	}
	ref = escape(ref)
	file := escape(content.File)
	switch host := u.Hostname(); {
	case strings.Contains(host, "gitlab"):
		return base + "/-/blob/" + ref + "/" + file + "#L" + line
	case strings.Contains(host, "bitbucket"):
		return base + "/src/" + ref + "/" + file + "#lines-" + line
	case strings.Contains(host, "gitea"), strings.Contains(host, "forgejo"), host == "codeberg.org":
		return base + "/src/" + kind + "/" + ref + "/" + file + "#L" + line
	default:
		return base + "/blob/" + ref + "/" + file + "#L" + line
	}
}

// Repository is a GitSync's repository without the credentials of its URL.
func Repository(sync *ownership.Sync) string {
	u, err := url.Parse(sync.URL)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// escape escapes a path's segments, not its slashes.
func escape(path string) string {
	return (&url.URL{Path: path}).EscapedPath()
}

// blame is for example (a1b2c3d, Bo, 3 days ago).
func blame(r ownership.Revision, now time.Time) string {
	parts := make([]string, 0, 3)
	if len(r.Commit) >= 7 {
		parts = append(parts, r.Commit[:7])
	}
	if r.Author != "" {
		parts = append(parts, cutRunes(r.Author, maxValue))
	}
	if !r.Time.IsZero() {
		parts = append(parts, ago(now, r.Time))
	}
	if len(parts) == 0 {
		return ""
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
