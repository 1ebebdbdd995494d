// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// leaves lists the paths of a tree of reads.
func (r *reads) leaves(prefix string) []string {
	if r.all {
		return []string{strings.TrimPrefix(prefix, ".")}
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(r.below)) {
		out = append(out, r.below[key].leaves(prefix+"."+key)...)
	}
	return out
}

func TestWhatIsReadOfInput(t *testing.T) {
	library := []string{"actor.person", "actor.serviceAccount.name", "actor.serviceAccount.namespace", "time", "userInfo.extra.authentication.kubernetes.io/credential-id", "userInfo.groups", "userInfo.username"}
	for name, tt := range map[string]struct {
		rego string
		want []string
	}{
		"members of members":       {`input.object.spec.replicas == 1`, []string{"object.spec.replicas"}},
		"up to what is computed":   {"some k in [\"a\"]\n\tinput.object.metadata.labels[k].x == 1", []string{"object.metadata.labels"}},
		"the shorter wins":         {"input.object.spec.a == 1\n\tinput.object.spec == {}", []string{"object.spec"}},
		"as an argument":           {`object.get(input.object, "spec", {}) == {}`, []string{"object"}},
		"through a variable":       {"x := input.oldObject\n\tx.spec == 1", []string{"oldObject"}},
		"as an index":              {`data.cluster.core.ConfigMap[input.namespace][input.object.metadata.name]`, []string{"namespace", "object.metadata.name"}},
		"in a comprehension":       {`count([c | some c in input.changes]) == 1`, []string{"changes"}},
		"all of it":                {`count(input) == 1`, []string{""}},
		"all of it, in a variable": {"x := input\n\tx.name == \"1\"", []string{""}},
		"a computed member":        {"some k in [\"a\"]\n\tinput[k] == 1", []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, module("package p\n\ndeny contains {\"reason\": \"r\"} if {\n\t"+tt.rego+"\n}"))
			for _, s := range e.sources.Load().list {
				if s.builtin() {
					continue
				}
				got := slices.DeleteFunc(s.input.leaves(""), func(p string) bool { return slices.Contains(library, p) })
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("reads (-want +got):\n%s", diff)
				}
			}
			e.Decide(t.Context(), imageChange())
		})
	}
}

func TestReadsUnion(t *testing.T) {
	var a, b reads
	a.add("object", "spec", "x")
	a.add("name")
	b.add("object", "spec")
	b.add("name", "never below what is read whole")
	a.union(&b)
	if diff := cmp.Diff([]string{"name", "object.spec"}, a.leaves("")); diff != "" {
		t.Errorf("union (-want +got):\n%s", diff)
	}
	b.add()
	a.union(&b)
	if !a.all {
		t.Error("a union with everything is not everything")
	}
	if a.at("anything") == nil || (&reads{}).at("anything") != nil {
		t.Error("at is wrong")
	}
}
