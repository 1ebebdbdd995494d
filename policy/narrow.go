// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"
)

// entry is one kind of rule of a source, as OPA's index of rules knows it. So a
// request is told beforehand which rules can match at all: if none can, nobody
// is asked, and what only others read of input is not converted.
type entry struct {
	index ast.RuleIndex
	// rules are what each rule reads of input, itself and by what it calls, as
	// positions in reads; a rule that is missing here may read anything that
	// its source does.
	rules map[*ast.Rule]int
	reads []*reads
}

// newEntry looks at the rules at ref. It is nil where nothing is known.
func newEntry(compiler *ast.Compiler, ref ast.Ref) *entry {
	index := compiler.RuleIndex(ref)
	if index == nil {
		return nil
	}
	e := &entry{index: index, rules: map[*ast.Rule]int{}}
	for _, rule := range compiler.GetRulesExact(ref) {
		read, ok := readsOf(compiler.Graph, rule)
		if !ok {
			continue
		}
		at := slices.IndexFunc(e.reads, func(r *reads) bool { return r.equal(read) })
		if at < 0 {
			at = len(e.reads)
			e.reads = append(e.reads, read)
		}
		e.rules[rule] = at
	}
	return e
}

// readsOf collects what a rule reads of input with all that it depends on. It
// reports false where that does not show, since input is replaced.
func readsOf(graph *ast.Graph, rule *ast.Rule) (*reads, bool) {
	l, ok := linter{}, true
	seen := map[util.T]bool{}
	var visit func(node util.T)
	visit = func(node util.T) {
		if seen[node] {
			return
		}
		seen[node] = true
		ast.WalkWiths(node, func(*ast.With) bool { ok = false; return true })
		ast.WalkRefs(node, func(ref ast.Ref) bool {
			if ref[0].Value.String() == "input" {
				l.reads(ref)
			}
			return false
		})
		for next := range graph.Dependencies(node) {
			visit(next)
		}
	}
	visit(rule)
	return &l.input, ok
}

// candidates tells whether any rule can match, and adds what those that can
// read, as positions; whole tells that it may be anything.
func (e *entry) candidates(input ast.Value, read []int) (_ []int, any, whole bool) {
	if e == nil {
		return read, true, true
	}
	result, err := e.index.Lookup(earlyResolver{input})
	if err != nil {
		return read, true, true
	}
	defer ast.IndexResultPool.Put(result)
	for _, rule := range result.Rules {
		at, ok := e.rules[rule]
		if !ok {
			return read, true, true
		}
		if !slices.Contains(read, at) {
			read = append(read, at)
		}
	}
	return read, !result.Empty(), false
}

// earlyResolver tells the index what is known of input already, which counts as
// it stands. All else may be anything.
type earlyResolver struct{ input ast.Value }

// Resolve implements ast.ValueResolver.
func (r earlyResolver) Resolve(ref ast.Ref) (ast.Value, error) {
	if len(ref) < 2 || !ref[0].Equal(ast.InputRootDocument) {
		return nil, ast.UnknownValueErr{}
	}
	if key, ok := ref[1].Value.(ast.String); !ok || !early(string(key)) {
		return nil, ast.UnknownValueErr{}
	}
	v, err := r.input.Find(ref[1:])
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // what is not there is undefined, as for OPA itself
	}
	return v, nil
}

// asked is a source that speaks of a change, and which of its rules can match.
type asked struct {
	*source
	denials, exceptions bool
}

// narrow finds out which rules can match, and what they read. The input that it
// is given has its early members; those that it returns are all that is read.
func (s *snapshot) narrow(sources []asked, positions []int, input ast.Value) *reads {
	key, one, n := make([]byte, 0, 64), (*reads)(nil), 0
	var all []*reads
	read := make([]int, 0, 16)
	for i := range sources {
		source := &sources[i]
		for kind, e := range [...]*entry{source.entries.deny, source.entries.exception} {
			exists := source.source.denials != nil
			if kind == 1 {
				exists = source.source.exceptions != nil
			}
			if !exists {
				continue
			}
			var matches, whole bool
			read, matches, whole = e.candidates(input, read[:0])
			if kind == 0 {
				source.denials = matches
			} else {
				source.exceptions = matches
			}
			if whole {
				// What the source reads as a whole stands for its rules.
				key = binary.AppendUvarint(append(key, 'w'), uint64(positions[i]))
				one, n, all = &source.input, n+1, append(all, &source.input)
				continue
			}
			slices.Sort(read)
			for _, at := range read {
				key = binary.AppendUvarint(append(key, byte('0'+kind)), uint64(positions[i]))
				key = binary.AppendUvarint(key, uint64(at))
				one, n, all = e.reads[at], n+1, append(all, e.reads[at])
			}
		}
	}
	if n == 1 {
		return one
	}
	return s.unions.of(key, all)
}

// unions caches what several rules read together.
type unions struct {
	known sync.Map
	size  atomic.Int64
}

// maxUnions bounds the cache, since any set of rules can match together.
const maxUnions = 4096

func (u *unions) of(key []byte, all []*reads) *reads {
	if known, ok := u.known.Load(string(key)); ok {
		return known.(*reads)
	}
	union := &reads{}
	for _, r := range all {
		union.union(r)
	}
	if u.size.Load() < maxUnions {
		if _, loaded := u.known.LoadOrStore(string(key), union); !loaded {
			u.size.Add(1)
		}
	}
	return union
}
