// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package pitfall

import (
	"slices"
	"strings"
)

// unreachable finds helpers that no entry rule uses, directly or not.
func unreachable(f *finder) {
	used := map[*view]bool{}
	for _, v := range f.views {
		if v.entry != "" && !v.test {
			f.search(v, used, func(read) bool { return false })
		}
	}
	names := map[string]bool{}
	for v := range used {
		names[v.name] = true
	}
	for _, v := range f.views {
		if !v.test && v.entry == "" && !used[v] && !names[v.name] {
			f.add(v, nil, "delete it, or use it", "no exception and no deny uses %s", strings.TrimPrefix(v.name, "data."))
		}
	}
}

func notIndexable(f *finder) {
	for _, at := range f.options.Unindexed {
		for _, v := range f.views {
			if v.file == at.File && v.rule.Location.Row == at.Row {
				f.add(v, nil, `begin with a comparison such as input.kind.kind == "Deployment" or input.namespace == "shop"`,
					"nothing lets it be skipped, so it is asked about every change")
				break
			}
		}
	}
}

func missingTitle(f *finder, v *view) {
	for _, a := range v.rule.Annotations {
		if a.Title != "" {
			return
		}
	}
	f.add(v, nil, `add "# METADATA" and "# title: …" above it`, "%s has no title, which lists and reviews show", v.entry)
}

func untested(f *finder) {
	for i, v := range f.views {
		if v.entry == "" || v.test {
			continue
		}
		pkg := v.module.Package.Path.String()
		first := slices.IndexFunc(f.views, func(o *view) bool { return o.entry != "" && !o.test && o.module.Package.Path.String() == pkg }) == i
		tested := slices.ContainsFunc(f.views, func(o *view) bool {
			return o.test && slices.ContainsFunc(o.reads, func(r read) bool { return below(r.name, pkg) })
		})
		if first && !tested {
			f.add(v, nil, "mainstay policy new shows how a test is written", "no test asks package %s", strings.TrimPrefix(pkg, "data."))
		}
	}
}
