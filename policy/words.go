// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
)

const (
	// wordSlots bounds what a vocabulary holds: a power of two.
	wordSlots = 1 << 12
	// maxWord is the longest text that is worth keeping.
	maxWord = 128
)

// vocabulary keeps OPA's terms for texts that come again with every request:
// keys, names, accounts, groups. It is bounded, since texts that meet in a slot
// take turns, and safe for concurrent use without a lock. Terms are never
// changed once they are made. Nil keeps nothing.
type vocabulary struct {
	seed  maphash.Seed
	slots [wordSlots]atomic.Pointer[ast.Term]
}

func newVocabulary() *vocabulary { return &vocabulary{seed: maphash.MakeSeed()} }

// term of a text.
func (v *vocabulary) term(text string) *ast.Term {
	if v == nil || len(text) > maxWord {
		return ast.StringTerm(text)
	}
	slot := &v.slots[maphash.String(v.seed, text)&(wordSlots-1)]
	if known := slot.Load(); known != nil && known.Value.(ast.String) == ast.String(text) {
		return known
	}
	// A part of a review must not keep all of it in memory.
	made := ast.StringTerm(strings.Clone(text))
	slot.Store(made)
	return made
}

// key is term for bytes that belong to somebody else.
func (v *vocabulary) key(text []byte) *ast.Term {
	if v == nil || len(text) > maxWord {
		return ast.StringTerm(string(text))
	}
	slot := &v.slots[maphash.Bytes(v.seed, text)&(wordSlots-1)]
	if known := slot.Load(); known != nil && string(known.Value.(ast.String)) == string(text) {
		return known
	}
	made := ast.StringTerm(string(text))
	slot.Store(made)
	return made
}
