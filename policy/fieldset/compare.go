// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"bytes"
	"strings"
	"sync"
	"unsafe"

	"github.com/valyala/fastjson"
)

// Op says how a field differs.
type Op string

// The values of Op, named as in JSON Patch.
const (
	OpAdd     Op = "add"
	OpRemove  Op = "remove"
	OpReplace Op = "replace"
)

// Difference is one field or element that differs between two documents.
type Difference struct {
	Path Path
	Op   Op
	// From and To are the values; nil where there is none. They belong to the
	// parsers of the documents.
	From, To *fastjson.Value
	// Order are the merge keys of a list of which only the order differs here:
	// From and To are the lists, and the elements that both have stand in
	// another order. Nil for every other difference.
	Order []string
}

// Compare returns the fields in which two objects differ, in document order.
//
// structure tells which lists have merge keys and which are sets; where it
// says nothing of a list that differs, more is asked once (it may be nil) for
// the field sets of other writers. A list that neither knows is atomic.
// Objects are compared key by key, down to the value that differs; an element
// that only one side has is one difference, and so is the order of the
// elements that both have.
//
// Never a difference: apiVersion and kind, status, the API server's own
// bookkeeping in metadata (managedFields, resourceVersion, generation, uid and
// timestamps), and the annotation of client-side apply.
func Compare(from, to *fastjson.Value, structure *Set, more func() *Set) []Difference {
	c := newComparer()
	c.more = more
	var root *node
	if structure != nil {
		root = &structure.root
	}
	c.objects(from, to, root, 0)
	out := c.out
	c.release()
	return out
}

type comparer struct {
	more  func() *Set
	extra *Set
	asked bool
	path  Path
	// pairs is a stack of the keys and values of the objects being compared,
	// so that comparing allocates once, not once for each object.
	pairs []pair
	// visit puts a member on that stack.
	visit func(key []byte, value *fastjson.Value)
	// text is where numbers are written to be compared.
	text []byte
	out  []Difference
}

// comparers keeps the memory of comparers, nothing else.
var comparers sync.Pool

// maxKept is the largest stack that is kept.
const maxKept = 4096

func newComparer() *comparer {
	if c, ok := comparers.Get().(*comparer); ok {
		return c
	}
	c := &comparer{pairs: make([]pair, 0, 256)}
	c.visit = func(key []byte, value *fastjson.Value) {
		// The key lives as long as the document does.
		c.pairs = append(c.pairs, pair{unsafe.String(unsafe.SliceData(key), len(key)), value})
	}
	return c
}

func (c *comparer) release() {
	if cap(c.pairs) > maxKept {
		return
	}
	clear(c.pairs[:cap(c.pairs)]) // lets go of the documents
	c.more, c.extra, c.asked, c.out = nil, nil, false, nil
	c.pairs, c.path, c.text = c.pairs[:0], c.path[:0], c.text[:0]
	comparers.Put(c)
}

type pair struct {
	key   string
	value *fastjson.Value
}

func (c *comparer) push(v *fastjson.Value) (start, end int) {
	start = len(c.pairs)
	if v != nil {
		if o := v.GetObject(); o != nil {
			o.Visit(c.visit)
		}
	}
	return start, len(c.pairs)
}

// objects compares two objects, either of which may be nil, key by key.
func (c *comparer) objects(from, to *fastjson.Value, n *node, depth int) {
	base := len(c.pairs)
	fs, fe := c.push(from)
	ts, te := c.push(to)
	var index map[string]int
	find := func(key string, hint int) *fastjson.Value {
		if hint < te && c.pairs[hint].key == key {
			return c.pairs[hint].value
		}
		if te-ts > 32 {
			if index == nil {
				index = make(map[string]int, te-ts)
				for i := ts; i < te; i++ {
					index[c.pairs[i].key] = i
				}
			}
			if i, ok := index[key]; ok {
				return c.pairs[i].value
			}
			return nil
		}
		for i := ts; i < te; i++ {
			if c.pairs[i].key == key {
				return c.pairs[i].value
			}
		}
		return nil
	}
	matched := 0
	for i := fs; i < fe; i++ {
		p := c.pairs[i]
		other := find(p.key, ts+(i-fs))
		if other != nil {
			matched++
		}
		c.field(p.key, p.value, other, n, depth)
	}
	if matched < te-ts {
		for i := ts; i < te; i++ {
			p := c.pairs[i]
			if !c.has(fs, fe, p.key) {
				c.field(p.key, nil, p.value, n, depth)
			}
		}
	}
	c.pairs = c.pairs[:base]
}

func (c *comparer) has(start, end int, key string) bool {
	for i := start; i < end; i++ {
		if c.pairs[i].key == key {
			return true
		}
	}
	return false
}

func (c *comparer) field(key string, from, to *fastjson.Value, n *node, depth int) {
	if bookkeeping(c.path, key, depth) {
		return
	}
	var child *node
	if n != nil {
		child = n.fields[key]
	}
	c.path = append(c.path, Segment{Field: key})
	c.values(from, to, child, depth+1)
	c.path = c.path[:len(c.path)-1]
}

func (c *comparer) values(from, to *fastjson.Value, n *node, depth int) {
	switch {
	case is(from, fastjson.TypeObject) && is(to, fastjson.TypeObject):
		c.objects(from, to, n, depth)
	case is(from, fastjson.TypeArray) && is(to, fastjson.TypeArray):
		c.lists(from, to, n, depth)
	case from == nil && is(to, fastjson.TypeObject) && to.GetObject().Len() > 0,
		to == nil && is(from, fastjson.TypeObject) && from.GetObject().Len() > 0:
		c.objects(from, to, n, depth)
	case from == nil && is(to, fastjson.TypeArray) && len(to.GetArray()) > 0,
		to == nil && is(from, fastjson.TypeArray) && len(from.GetArray()) > 0:
		c.lists(from, to, n, depth)
	case !c.equal(from, to):
		c.report(from, to)
	}
}

func (c *comparer) lists(from, to *fastjson.Value, n *node, depth int) {
	if from != nil && to != nil && c.equal(from, to) {
		return
	}
	n = c.listNode(n)
	switch {
	case n != nil && n.keyNames != nil && c.keyed(from, to, n, depth):
	case n != nil && len(n.values) > 0 && c.sets(from, to):
	default:
		c.report(from, to)
	}
}

// listNode finds the node that tells the type of the list at c.path.
func (c *comparer) listNode(n *node) *node {
	if n != nil && (n.keyNames != nil || len(n.values) > 0) {
		return n
	}
	if !c.asked && c.more != nil {
		c.asked = true
		c.extra = c.more()
	}
	if c.extra == nil {
		return n
	}
	at := &c.extra.root
	for _, s := range c.path {
		if at = at.at(s); at == nil {
			return n
		}
	}
	return at
}

// keyed compares lists by merge key. It reports false, and nothing else, where
// an element lacks a key or two have the same one: such a list is atomic.
func (c *comparer) keyed(from, to *fastjson.Value, n *node, depth int) bool {
	fromItems, ok := index(from, n.keyNames)
	if !ok {
		return false
	}
	toItems, ok := index(to, n.keyNames)
	if !ok {
		return false
	}
	byKey := make(map[string]int, len(toItems))
	for i, item := range toItems {
		byKey[item.name] = i
	}
	seen, last, ordered := make(map[string]bool, len(fromItems)), -1, true
	for _, item := range fromItems {
		seen[item.name] = true
		i, both := byKey[item.name]
		c.path = append(c.path, item.segment)
		if both {
			ordered = ordered && i > last
			last = i
			c.values(item.value, toItems[i].value, n.items[item.name], depth+1)
		} else {
			c.report(item.value, nil)
		}
		c.path = c.path[:len(c.path)-1]
	}
	for _, item := range toItems {
		if !seen[item.name] {
			c.path = append(c.path, item.segment)
			c.report(nil, item.value)
			c.path = c.path[:len(c.path)-1]
		}
	}
	if !ordered {
		c.report(from, to)
		c.out[len(c.out)-1].Order = n.keyNames
	}
	return true
}

type item struct {
	name    string
	segment Segment
	value   *fastjson.Value
}

func index(list *fastjson.Value, keyNames []string) ([]item, bool) {
	if list == nil {
		return nil, true
	}
	elements := list.GetArray()
	items := make([]item, 0, len(elements))
	seen := make(map[string]bool, len(elements))
	for _, e := range elements {
		keys := make([]Key, 0, len(keyNames))
		for _, name := range keyNames {
			v := e.Get(name)
			if v == nil {
				return nil, false
			}
			keys = append(keys, Key{Name: name, Value: keyValue(v)})
		}
		s := Segment{Keys: keys}
		name := s.String()
		if seen[name] {
			return nil, false
		}
		seen[name] = true
		items = append(items, item{name, s, e})
	}
	return items, true
}

// sets compares lists of scalars as sets.
func (c *comparer) sets(from, to *fastjson.Value) bool {
	members := func(list *fastjson.Value) ([]string, map[string]*fastjson.Value, bool) {
		if list == nil {
			return nil, nil, true
		}
		var order []string
		set := map[string]*fastjson.Value{}
		for _, e := range list.GetArray() {
			key := raw(e)
			if set[key] != nil {
				return nil, nil, false
			}
			set[key] = e
			order = append(order, key)
		}
		return order, set, true
	}
	fromOrder, fromSet, ok := members(from)
	if !ok {
		return false
	}
	toOrder, toSet, ok := members(to)
	if !ok {
		return false
	}
	for _, key := range fromOrder {
		if toSet[key] == nil {
			c.path = append(c.path, Segment{Value: key})
			c.report(fromSet[key], nil)
			c.path = c.path[:len(c.path)-1]
		}
	}
	for _, key := range toOrder {
		if fromSet[key] == nil {
			c.path = append(c.path, Segment{Value: key})
			c.report(nil, toSet[key])
			c.path = c.path[:len(c.path)-1]
		}
	}
	return true
}

func (c *comparer) report(from, to *fastjson.Value) {
	op := OpReplace
	switch {
	case from == nil:
		op = OpAdd
	case to == nil:
		op = OpRemove
	}
	path := append(Path(nil), c.path...)
	for i := range path {
		// Fields are views into the documents, and a path outlives those.
		path[i].Field = strings.Clone(path[i].Field)
	}
	c.out = append(c.out, Difference{Path: path, Op: op, From: from, To: to})
}

func bookkeeping(path Path, key string, depth int) bool {
	switch {
	case depth == 0:
		return key == "apiVersion" || key == "kind" || key == "status"
	case depth == 1 && path[0].Field == "metadata":
		switch key {
		case "managedFields", "resourceVersion", "generation", "uid", "selfLink",
			"creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds":
			return true
		}
	case depth == 2 && path[0].Field == "metadata" && path[1].Field == "annotations":
		return key == "kubectl.kubernetes.io/last-applied-configuration"
	}
	return false
}

func is(v *fastjson.Value, t fastjson.Type) bool {
	return v != nil && v.Type() == t
}

// Equal tells whether two JSON values are the same, whatever the order of keys.
// Either may be nil, which equals only nil.
func Equal(a, b *fastjson.Value) bool {
	if a == nil || b == nil || a.Type() != b.Type() {
		return a == nil && b == nil
	}
	c := newComparer()
	same := c.equal(a, b)
	c.release()
	return same
}

func (c *comparer) equal(a, b *fastjson.Value) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.Type() != b.Type() {
		return false
	}
	switch a.Type() {
	case fastjson.TypeObject:
		return c.equalObjects(a, b)
	case fastjson.TypeArray:
		aa, ba := a.GetArray(), b.GetArray()
		if len(aa) != len(ba) {
			return false
		}
		for i := range aa {
			if !c.equal(aa[i], ba[i]) {
				return false
			}
		}
		return true
	case fastjson.TypeString:
		return bytes.Equal(a.GetStringBytes(), b.GetStringBytes())
	case fastjson.TypeNumber:
		c.text = a.MarshalTo(c.text[:0])
		n := len(c.text)
		c.text = b.MarshalTo(c.text)
		return bytes.Equal(c.text[:n], c.text[n:])
	default:
		return true
	}
}

// equalObjects expects the keys in the same order, as they are in documents
// that the same server wrote, and looks for those that are elsewhere.
func (c *comparer) equalObjects(a, b *fastjson.Value) bool {
	if a.GetObject().Len() != b.GetObject().Len() {
		return false
	}
	as, ae := c.push(a)
	bs, be := c.push(b)
	same := true
	for i := as; same && i < ae; i++ {
		p, at := c.pairs[i], bs+(i-as)
		if c.pairs[at].key != p.key {
			at = bs
			for at < be && c.pairs[at].key != p.key {
				at++
			}
		}
		same = at < be && c.equal(p.value, c.pairs[at].value)
	}
	c.pairs = c.pairs[:as]
	return same
}

// At returns the value at a path, or nil.
func At(v *fastjson.Value, path Path) *fastjson.Value {
	for _, s := range path {
		if v == nil {
			return nil
		}
		switch {
		case s.Keys != nil:
			v = element(v, s.Keys)
		case s.Value != "":
			v = member(v, s.Value)
		default:
			v = v.Get(s.Field)
		}
	}
	return v
}

func element(list *fastjson.Value, keys []Key) *fastjson.Value {
	for _, e := range list.GetArray() {
		match := true
		for _, k := range keys {
			v := e.Get(k.Name)
			if v == nil || keyValue(v) != k.Value {
				match = false
				break
			}
		}
		if match {
			return e
		}
	}
	return nil
}

func member(list *fastjson.Value, value string) *fastjson.Value {
	for _, e := range list.GetArray() {
		if raw(e) == value {
			return e
		}
	}
	return nil
}
