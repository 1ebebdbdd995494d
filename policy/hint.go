// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/library"
)

// hint names the policies of the library that are made for what is refused, by
// who asks, and are not switched on for the object. It costs nothing where a
// person asks.
func (j *judgement) hint(uncovered []Field) []string {
	w := library.Write{Group: j.change.Kind.Group, Kind: j.change.Kind.Kind}
	switch user := j.change.User; user {
	case nil:
		for _, f := range uncovered {
			w.Manager = f.Manager
		}
	default:
		if namespace, name, ok := user.ServiceAccount(); ok {
			w.Account = namespace + ":" + name
		}
	}
	if w.Account == "" && w.Manager == "" || len(uncovered) == 0 {
		return nil
	}
	w.Paths = make([]fieldset.Path, len(uncovered))
	for i, f := range uncovered {
		w.Paths[i] = f.Path
	}
	return slices.DeleteFunc(j.engine.shipped.Known(w), func(name string) bool {
		return slices.ContainsFunc(j.sources, func(s asked) bool { return slices.Contains(s.switchedOn, name) })
	})
}
