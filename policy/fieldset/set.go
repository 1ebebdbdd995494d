// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"fmt"
	"strings"

	"github.com/valyala/fastjson"
)

// Set is the set of fields that one manager owns, as managedFields has it
// (FieldsV1, KEP-555). The zero value is not useful; a nil *Set is empty.
type Set struct {
	root node
}

// node is a field or element of a Set.
type node struct {
	fields map[string]*node
	// items are a list's elements by their canonical key; keyNames are the
	// names of that key.
	items    map[string]*node
	keyNames []string
	// values are a set's elements as raw JSON.
	values map[string]*node
	// member tells that the node itself is in the set, not only what is below.
	member bool
}

// ParseSet reads FieldsV1.
func ParseSet(fieldsV1 []byte) (*Set, error) {
	v, err := fastjson.ParseBytes(fieldsV1)
	if err != nil {
		return nil, fmt.Errorf("parse field set: %w", err)
	}
	return SetOf(v)
}

// SetOf reads FieldsV1 that is parsed already. It keeps nothing of v.
func SetOf(v *fastjson.Value) (*Set, error) {
	s := &Set{}
	if err := s.root.read(v); err != nil {
		return nil, fmt.Errorf("parse field set: %w", err)
	}
	return s, nil
}

func (n *node) read(v *fastjson.Value) error {
	o, err := v.Object()
	if err != nil {
		return err
	}
	if o.Len() == 0 {
		n.member = true
		return nil
	}
	o.Visit(func(rawKey []byte, child *fastjson.Value) {
		if err != nil {
			return
		}
		key := string(rawKey)
		if key == "." {
			n.member = true
			return
		}
		var c *node
		if c, err = n.child(key); err == nil && c != nil {
			err = c.read(child)
		}
	})
	return err
}

// child finds or makes the node for one key of FieldsV1; nil for index
// elements, which no manager can own across writes.
func (n *node) child(key string) (*node, error) {
	kind, rest, ok := strings.Cut(key, ":")
	if !ok {
		return nil, fmt.Errorf("unknown key %q", key)
	}
	var in *map[string]*node
	switch kind {
	case "f":
		in = &n.fields
	case "v":
		value, ok := canonicalText(rest)
		if !ok {
			return nil, fmt.Errorf("value %q is not JSON", rest)
		}
		in, rest = &n.values, value
	case "k":
		keys, err := parseKeys(rest)
		if err != nil {
			return nil, err
		}
		if n.keyNames == nil {
			for _, k := range keys {
				n.keyNames = append(n.keyNames, k.Name)
			}
		}
		in, rest = &n.items, Segment{Keys: keys}.String()
	case "i":
		return nil, nil //nolint:nilnil // no node, and nothing wrong
	default:
		return nil, fmt.Errorf("unknown key %q", key)
	}
	if *in == nil {
		*in = map[string]*node{}
	}
	c := (*in)[rest]
	if c == nil {
		c = &node{}
		(*in)[rest] = c
	}
	return c, nil
}

func parseKeys(raw string) ([]Key, error) {
	v, err := fastjson.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", raw, err)
	}
	o, err := v.Object()
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", raw, err)
	}
	var keys []Key
	o.Visit(func(name []byte, value *fastjson.Value) {
		keys = append(keys, Key{Name: string(name), Value: keyValue(value)})
	})
	sortKeys(keys)
	return keys, nil
}

// keyValue writes a merge key's value as it stands in a path.
func keyValue(v *fastjson.Value) string {
	if v.Type() == fastjson.TypeString {
		return bare(string(v.GetStringBytes()))
	}
	return raw(v)
}

func (n *node) leaf() bool {
	return len(n.fields) == 0 && len(n.items) == 0 && len(n.values) == 0
}

func (n *node) at(s Segment) *node {
	switch {
	case n == nil:
		return nil
	case s.Keys != nil:
		return n.items[s.String()]
	case s.Value != "":
		return n.values[s.Value]
	default:
		return n.fields[s.Field]
	}
}

// Touches tells whether a change at path touches the set: the path is in it,
// something below is, or an atomic value above is.
func (s *Set) Touches(path Path) bool {
	if s == nil {
		return false
	}
	n := &s.root
	for _, seg := range path {
		next := n.at(seg)
		if next == nil {
			return n != &s.root && n.leaf()
		}
		n = next
	}
	return true
}

// Touches is Set.Touches for FieldsV1 that is parsed as JSON only: where one
// path is asked for, reading the whole set costs more than the answer. Keys
// that can't be read are in no set.
func Touches(fieldsV1 *fastjson.Value, path Path) bool {
	v := fieldsV1
	for depth, s := range path {
		next := childAt(v, s)
		if next == nil {
			return depth > 0 && childless(v)
		}
		v = next
	}
	return v != nil
}

// childAt finds one member of a node of FieldsV1, or nil.
func childAt(v *fastjson.Value, s Segment) *fastjson.Value {
	if s.Keys == nil && s.Value == "" {
		return v.Get("f:" + s.Field)
	}
	o := v.GetObject()
	if o == nil {
		return nil
	}
	var found *fastjson.Value
	o.Visit(func(raw []byte, child *fastjson.Value) {
		if found != nil {
			return
		}
		kind, rest, _ := strings.Cut(string(raw), ":")
		switch {
		case kind == "k" && s.Keys != nil:
			if keys, err := parseKeys(rest); err == nil && s.equal(Segment{Keys: keys}) {
				found = child
			}
		case kind == "v" && s.Value != "":
			if value, ok := canonicalText(rest); ok && value == s.Value {
				found = child
			}
		}
	})
	return found
}

// childless tells that a node of FieldsV1 has nothing below it.
func childless(v *fastjson.Value) bool {
	empty := true
	if o := v.GetObject(); o != nil {
		o.Visit(func(raw []byte, _ *fastjson.Value) {
			empty = empty && (string(raw) == "." || strings.HasPrefix(string(raw), "i:"))
		})
	}
	return empty
}

// Covers tells whether every member of other is a member of s.
func (s *Set) Covers(other *Set) bool {
	if other == nil {
		return true
	}
	if s == nil {
		return false
	}
	return s.root.covers(&other.root)
}

func (n *node) covers(o *node) bool {
	if o.member && !n.member && n.leaf() {
		return false
	}
	below := func(mine, others map[string]*node) bool {
		for key, child := range others {
			c := mine[key]
			if c == nil {
				if n.member && n.leaf() {
					continue // an atomic value covers what is below it
				}
				return false
			}
			if !c.covers(child) {
				return false
			}
		}
		return true
	}
	return below(n.fields, o.fields) && below(n.items, o.items) && below(n.values, o.values)
}

// Union returns the members of all sets. It shares nodes with none of them.
func Union(sets ...*Set) *Set {
	out := &Set{}
	for _, s := range sets {
		if s != nil {
			out.root.merge(&s.root)
		}
	}
	return out
}

func (n *node) merge(o *node) {
	n.member = n.member || o.member
	if n.keyNames == nil {
		n.keyNames = o.keyNames
	}
	into := func(mine *map[string]*node, others map[string]*node) {
		if len(others) > 0 && *mine == nil {
			*mine = make(map[string]*node, len(others))
		}
		for key, child := range others {
			c := (*mine)[key]
			if c == nil {
				c = &node{}
				(*mine)[key] = c
			}
			c.merge(child)
		}
	}
	into(&n.fields, o.fields)
	into(&n.items, o.items)
	into(&n.values, o.values)
}

// Manager is one entry of managedFields.
type Manager struct {
	Name        string
	Operation   string // Apply or Update
	Subresource string
	Fields      *Set
}

// Managers reads metadata.managedFields of an object. An entry that can't be
// read is an error: who wrote a field must not be guessed.
func Managers(object *fastjson.Value) ([]Manager, error) {
	entries := object.GetArray("metadata", "managedFields")
	out := make([]Manager, 0, len(entries))
	for _, e := range entries {
		fields := e.Get("fieldsV1")
		if fields == nil {
			continue
		}
		set, err := SetOf(fields)
		if err != nil {
			return nil, fmt.Errorf("managedFields of %s: %w", e.GetStringBytes("manager"), err)
		}
		out = append(out, Manager{
			Name:        string(e.GetStringBytes("manager")),
			Operation:   string(e.GetStringBytes("operation")),
			Subresource: string(e.GetStringBytes("subresource")),
			Fields:      set,
		})
	}
	return out, nil
}

// AppliedBy returns the FieldsV1 of the Apply entry of manager in an object's
// managedFields, or nil. The value belongs to object's parser.
func AppliedBy(object *fastjson.Value, manager string) *fastjson.Value {
	for _, e := range object.GetArray("metadata", "managedFields") {
		if string(e.GetStringBytes("manager")) == manager &&
			string(e.GetStringBytes("operation")) == "Apply" &&
			len(e.GetStringBytes("subresource")) == 0 {
			return e.Get("fieldsV1")
		}
	}
	return nil
}
