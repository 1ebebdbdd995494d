// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"fmt"
	"strings"

	"github.com/valyala/fastjson"
)

// Put sets the value at path in object, making what is missing on the way;
// a nil value removes it. The arena owns what is made. A path through something
// that is neither an object nor a list is an error, and object may then be
// half changed.
func Put(arena *fastjson.Arena, object *fastjson.Value, path Path, value *fastjson.Value) error {
	if len(path) == 0 {
		return fmt.Errorf("path is empty")
	}
	at := object
	for i, s := range path {
		last := i == len(path)-1
		switch {
		case s.Keys != nil || s.Value != "":
			if at.Type() != fastjson.TypeArray {
				return fmt.Errorf("%s is not a list", path[:i])
			}
			if last {
				putElement(at, s, value)
				return nil
			}
			next := element(at, s.Keys)
			if next == nil {
				if value == nil {
					return nil
				}
				next = arena.NewObject()
				for _, k := range s.Keys {
					next.Set(k.Name, keyJSON(arena, k.Value))
				}
				at.SetArrayItem(len(at.GetArray()), next)
			}
			at = next
		default:
			if at.Type() != fastjson.TypeObject {
				return fmt.Errorf("%s is not an object", path[:i])
			}
			if last {
				if value == nil {
					at.Del(s.Field)
				} else {
					at.Set(s.Field, value)
				}
				return nil
			}
			next := at.Get(s.Field)
			if next == nil || next.Type() == fastjson.TypeNull {
				if value == nil {
					return nil
				}
				if after := path[i+1]; after.Keys != nil || after.Value != "" {
					next = arena.NewArray()
				} else {
					next = arena.NewObject()
				}
				at.Set(s.Field, next)
			}
			at = next
		}
	}
	return nil
}

func putElement(list *fastjson.Value, s Segment, value *fastjson.Value) {
	items := list.GetArray()
	for i, e := range items {
		if s.Keys != nil && element(list, s.Keys) == e || s.Value != "" && raw(e) == s.Value {
			if value == nil {
				list.Del(fmt.Sprint(i))
			} else {
				list.SetArrayItem(i, value)
			}
			return
		}
	}
	if value != nil {
		list.SetArrayItem(len(items), value)
	}
}

// Reorder puts the elements that list has in common with like, by the merge
// keys, in the order of like; every other element stays where it is. It changes
// nothing where an element has no key or two have the same.
func Reorder(list, like *fastjson.Value, keys []string) {
	items, ok := index(list, keys)
	if !ok {
		return
	}
	order, ok := index(like, keys)
	if !ok {
		return
	}
	byName := make(map[string]*fastjson.Value, len(items))
	for _, i := range items {
		byName[i.name] = i.value
	}
	var common []*fastjson.Value
	known := make(map[string]bool, len(order))
	for _, o := range order {
		if v := byName[o.name]; v != nil {
			common, known[o.name] = append(common, v), true
		}
	}
	for at, i := range items {
		if known[i.name] {
			list.SetArrayItem(at, common[0])
			common = common[1:]
		}
	}
}

// keyJSON is the value of a merge key as JSON: what is written like a number or
// a boolean is one.
func keyJSON(arena *fastjson.Arena, text string) *fastjson.Value {
	if v, err := fastjson.Parse(text); err == nil {
		if v.Type() == fastjson.TypeString {
			return arena.NewString(string(v.GetStringBytes()))
		}
		if v.Type() == fastjson.TypeNumber {
			return arena.NewNumberString(text)
		}
		if v.Type() == fastjson.TypeTrue || v.Type() == fastjson.TypeFalse {
			return v
		}
	}
	return arena.NewString(text)
}

// Pointer is the path as a JSON Pointer (RFC 6901) into object, with lists by
// their present index; false where object has nothing there.
func Pointer(object *fastjson.Value, path Path) (string, bool) {
	var b strings.Builder
	at := object
	for _, s := range path {
		b.WriteByte('/')
		if s.Keys == nil && s.Value == "" {
			b.WriteString(EscapePointer(s.Field))
			at = at.Get(s.Field)
		} else {
			next := At(at, Path{s})
			found := false
			for i, e := range at.GetArray() {
				if e == next {
					fmt.Fprint(&b, i)
					found = true
					break
				}
			}
			if !found {
				return "", false
			}
			at = next
		}
		if at == nil {
			return "", false
		}
	}
	return b.String(), true
}

// EscapePointer writes one field as a reference token of a JSON Pointer.
func EscapePointer(field string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(field)
}
