// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"github.com/valyala/fastjson"
)

// Own gives the field at path in the FieldsV1 into to whoever owns into, with
// all below it, as from has it. A path that is not in from changes nothing. The
// arena owns what is made; what is copied still belongs to from's parser.
func Own(arena *fastjson.Arena, into, from *fastjson.Value, path Path) {
	if !Touches(from, path) {
		return
	}
	for i, s := range path {
		key, child := memberAt(from, s)
		if child == nil {
			return // an atomic value above, which into has by now
		}
		if i == len(path)-1 || childless(child) {
			into.Set(key, child)
			return
		}
		next := into.Get(key)
		if next == nil {
			next = arena.NewObject()
			if dot := child.Get("."); dot != nil {
				next.Set(".", dot)
			}
			into.Set(key, next)
		}
		into, from = next, child
	}
}

// Disown takes the field at path and all below it from the owner of FieldsV1,
// and the parents that are empty then.
func Disown(fields *fastjson.Value, path Path) {
	if len(path) == 0 {
		return
	}
	key, child := memberAt(fields, path[0])
	if child == nil {
		return
	}
	if len(path) > 1 {
		if childless(child) {
			return // an atomic value above is owned as a whole
		}
		Disown(child, path[1:])
		if child.GetObject().Len() > 0 {
			return
		}
	}
	fields.Del(key)
}

// memberAt finds one member of a node of FieldsV1 and its key.
func memberAt(v *fastjson.Value, s Segment) (string, *fastjson.Value) {
	child := childAt(v, s)
	if child == nil {
		return "", nil
	}
	var key string
	v.GetObject().Visit(func(raw []byte, c *fastjson.Value) {
		if c == child {
			key = string(raw)
		}
	})
	return key, child
}
