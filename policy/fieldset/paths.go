// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"maps"
	"slices"
)

// Paths are the fields and elements of the set that have nothing below them, in
// the order of their names.
func (s *Set) Paths() []Path {
	if s == nil {
		return nil
	}
	return s.root.paths(nil, nil)
}

func (n *node) paths(at Path, out []Path) []Path {
	if n.leaf() {
		if len(at) > 0 {
			out = append(out, slices.Clone(at))
		}
		return out
	}
	for _, name := range slices.Sorted(maps.Keys(n.fields)) {
		out = n.fields[name].paths(at.With(Segment{Field: name}), out)
	}
	for _, key := range slices.Sorted(maps.Keys(n.items)) {
		if p, err := Parse("list" + key); err == nil && len(p) == 2 {
			out = n.items[key].paths(at.With(p[1]), out)
		}
	}
	for _, value := range slices.Sorted(maps.Keys(n.values)) {
		out = n.values[value].paths(at.With(Segment{Value: value}), out)
	}
	return out
}
