// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fastjson"
)

// FuzzCompareFindsEveryChange changes leaves of an object, and looks whether
// each is in a difference and nothing else is.
func FuzzCompareFindsEveryChange(f *testing.F) {
	f.Add(`{"metadata":{"labels":{"a":"b"}},"spec":{"replicas":2,"containers":[{"name":"web","image":"a","env":[1,2]},{"name":"db"}]}}`, uint64(1))
	f.Add(`{"spec":{"a":{},"b":[],"c":[[1],[2]],"d":null,"e":true}}`, uint64(2))
	set, err := ParseSet([]byte(structure))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		var object map[string]any
		if json.Unmarshal([]byte(text), &object) != nil {
			return
		}
		before, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // the fuzzer chooses the seed
		var changed []Path
		mutate(object, nil, random, &changed)
		after, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		from, err := fastjson.ParseBytes(before)
		if err != nil {
			return // deeper than any object
		}
		to, err := fastjson.ParseBytes(after)
		if err != nil {
			t.Fatal(err)
		}
		differences := Compare(from, to, set, nil)
		for _, path := range changed {
			if !slices.ContainsFunc(differences, func(d Difference) bool { return path.HasPrefix(d.Path) }) {
				t.Errorf("%s was changed and is not found among %v\nbefore %s\nafter  %s", path, differences, before, after)
			}
		}
		for _, d := range differences {
			if !slices.ContainsFunc(changed, func(p Path) bool { return p.HasPrefix(d.Path) || d.Path.HasPrefix(p) }) {
				t.Errorf("%s is found and was not changed", d.Path)
			}
		}
	})
}

// mutate changes some members of an object that are no bookkeeping, and notes
// their paths. Below a list it changes the list as a whole, since which element
// a path means depends on its keys.
func mutate(object map[string]any, at Path, random *rand.Rand, changed *[]Path) {
	keys := make([]string, 0, len(object))
	for key := range object {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if bookkeeping(at, key, len(at)) {
			continue
		}
		path := at.With(Segment{Field: key})
		switch value := object[key].(type) {
		case map[string]any:
			if len(value) > 0 {
				mutate(value, path, random, changed)
				continue
			}
		case []any:
			if random.IntN(4) == 0 {
				// A list that differs in a scalar that has no key is atomic.
				object[key] = append(slices.Clone(value), []any{"changed"})
				*changed = append(*changed, path)
			}
			continue
		}
		if random.IntN(3) == 0 {
			object[key] = fmt.Sprintf("changed from %v", object[key])
			*changed = append(*changed, path)
		}
	}
}

// FuzzPattern holds the matcher of patterns to one that tries everything, and
// writing a path to reading it.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"**.image", "spec.containers[name=web].image"},
		{"spec.*.a.**.b", "spec.x.a.y.z.b.c"},
		{"**.a.**.a", "a.b.a"},
		{"a[*].b", `a["*"].b`},
		{"**", "a"},
		{`metadata.annotations["a/b"]`, `metadata.annotations["a/b"].c`},
		{`metadata.finalizers[="x"]`, `metadata.finalizers[="x"]`},
		{"**.**", "a.b"},
		{"a.**", "a"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > 64 || len(path) > 64 || strings.Count(pattern, "**") > 4 {
			return // the other matcher tries all ways
		}
		p, err := ParsePattern(pattern)
		if err != nil {
			return
		}
		q, err := Parse(path)
		if err != nil {
			return
		}
		if got, want := p.Covers(q), naive(p, q); got != want {
			t.Errorf("%s covers %s = %t, want %t", pattern, path, got, want)
		}
		again, err := Parse(q.String())
		if err != nil || !again.Equal(q) {
			t.Errorf("%s is written as %s and read as %s: %v", path, q, again, err)
		}
	})
}

// naive tells whether a pattern matches a path or one of its parents.
func naive(p Pattern, path Path) bool {
	switch {
	case len(p) == 0:
		return true
	case p[0].any:
		for i := range len(path) + 1 {
			if naive(p[1:], path[i:]) {
				return true
			}
		}
		return false
	case len(path) == 0:
		return false
	}
	return (p[0].one || p[0].segment.equal(path[0])) && naive(p[1:], path[1:])
}
