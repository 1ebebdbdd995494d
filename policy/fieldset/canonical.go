// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"slices"
	"strings"

	"github.com/valyala/fastjson"
)

// Canonical appends a JSON value to dst with the keys of every object sorted,
// so that equal values have equal bytes. A nil value appends nothing.
//
// Unlike fastjson's MarshalTo, which writes control characters as Go does, what
// it appends is always JSON.
func Canonical(dst []byte, v *fastjson.Value) []byte {
	if v == nil {
		return dst
	}
	switch v.Type() {
	case fastjson.TypeObject:
		var pairs []pair
		v.GetObject().Visit(func(key []byte, value *fastjson.Value) {
			pairs = append(pairs, pair{string(key), value})
		})
		slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
		dst = append(dst, '{')
		for i, p := range pairs {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, quote(p.key)...)
			dst = append(dst, ':')
			dst = Canonical(dst, p.value)
		}
		return append(dst, '}')
	case fastjson.TypeArray:
		dst = append(dst, '[')
		for i, e := range v.GetArray() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = Canonical(dst, e)
		}
		return append(dst, ']')
	case fastjson.TypeString:
		return append(dst, quote(string(v.GetStringBytes()))...)
	default:
		return v.MarshalTo(dst)
	}
}

// raw is a value as it stands in a path that selects it from a set.
func raw(v *fastjson.Value) string { return string(Canonical(nil, v)) }
