// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"strings"

	"github.com/valyala/fastjson"
)

// Relieve takes from the FieldsV1 theirs what ours has, so that ours alone owns
// it. An element of a list that ours has is taken with all that is in it: it
// comes and goes as a whole. Both must be of the same version of the same
// object. It tells whether it took anything.
func Relieve(theirs, ours *fastjson.Value) bool {
	owned := ours.GetObject()
	if owned == nil || theirs.GetObject() == nil {
		return false
	}
	taken := false
	owned.Visit(func(raw []byte, mine *fastjson.Value) {
		key := string(raw)
		child := theirs.Get(key)
		if child == nil || key == "." {
			return
		}
		element := strings.HasPrefix(key, "k:") || strings.HasPrefix(key, "v:")
		if element || childless(mine) || childless(child) {
			theirs.Del(key)
			taken = true
			return
		}
		if Relieve(child, mine) {
			taken = true
		}
		if childless(child) {
			theirs.Del(key)
			taken = true
		}
	})
	return taken
}
