// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"encoding/json"
	"maps"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// reads is the tree of what policies read of input: converting a whole object
// costs more than judging it. The zero value reads nothing.
type reads struct {
	all   bool
	below map[string]*reads
}

// add puts a path into the tree: everything at and below it is read.
func (r *reads) add(path ...string) {
	for _, key := range path {
		if r.all {
			return
		}
		if r.below == nil {
			r.below = map[string]*reads{}
		}
		next := r.below[key]
		if next == nil {
			next = &reads{}
			r.below[key] = next
		}
		r = next
	}
	r.all, r.below = true, nil
}

// union puts all of o into the tree, and shares nothing with it.
func (r *reads) union(o *reads) {
	switch {
	case r.all:
	case o.all:
		r.all, r.below = true, nil
	default:
		for key, child := range o.below {
			if r.below == nil {
				r.below = map[string]*reads{}
			}
			if r.below[key] == nil {
				r.below[key] = &reads{}
			}
			r.below[key].union(child)
		}
	}
}

// equal tells whether two trees are the same.
func (r *reads) equal(o *reads) bool {
	return r.all == o.all && maps.EqualFunc(r.below, o.below, (*reads).equal)
}

// at is what is read of one member; nil for nothing.
func (r *reads) at(key string) *reads {
	if r.all {
		return r
	}
	return r.below[key]
}

// early tells whether a member of input costs next to nothing to make, so that
// rules can be chosen by it.
func early(key string) bool {
	switch key {
	case "operation", "subResource", "dryRun", "origin", "namespace", "name", "kind", "resource",
		"userInfo", "actor", "sync", "pod", "cluster":
		return true
	}
	return false
}

// input builds what policies see of a change, as far as they read it. paths are
// those of c.Fields, written out.
func (e *Engine) input(c *Change, paths []string, want *reads) ast.Object {
	out := e.earlyInput(c, want)
	e.lateInput(out, c, paths, want)
	return out
}

// members puts members into an object, those that are read.
func (e *Engine) members(out ast.Object, want *reads) func(key string, make func() *ast.Term) {
	return func(key string, make func() *ast.Term) {
		if want.at(key) != nil {
			if t := make(); t != nil {
				out.Insert(e.words.term(key), t)
			}
		}
	}
}

// earlyInput makes the members of input that early names.
func (e *Engine) earlyInput(c *Change, want *reads) ast.Object {
	out := ast.NewObjectWithCapacity(20)
	put := e.members(out, want)
	id := c.ID()
	word := e.words.term
	put("operation", func() *ast.Term { return word(string(c.Operation)) })
	put("subResource", func() *ast.Term { return word(c.SubResource) })
	put("dryRun", func() *ast.Term { return ast.InternedTerm(c.DryRun) })
	put("origin", func() *ast.Term { return word(string(c.Origin)) })
	put("namespace", func() *ast.Term { return word(id.Namespace) })
	put("name", func() *ast.Term { return word(id.Name) })
	put("kind", func() *ast.Term {
		return e.texts(want.at("kind"), "group", c.Kind.Group, "version", c.Kind.Version, "kind", c.Kind.Kind)
	})
	put("resource", func() *ast.Term {
		return e.texts(want.at("resource"), "group", c.Resource.Group, "version", c.Resource.Version, "resource", c.Resource.Resource)
	})
	put("userInfo", func() *ast.Term { return e.userTerm(c.User, want.at("userInfo")) })
	put("actor", func() *ast.Term { return e.actor(c) })
	put("sync", func() *ast.Term { return e.syncTerm(c, want.at("sync")) })
	put("pod", func() *ast.Term {
		if c.Pod == "" {
			return nil
		}
		return e.texts(everything(), "name", c.Pod)
	})
	put("cluster", func() *ast.Term { return e.clusterTerm })
	return out
}

// lateInput adds all other members of input.
func (e *Engine) lateInput(out ast.Object, c *Change, paths []string, want *reads) {
	secret := c.Kind.Group == "" && c.Kind.Kind == "Secret"
	conv := converter{mask: e.options.MaskSecret, words: e.words}
	put := e.members(out, want)
	put("time", func() *ast.Term { return ast.StringTerm(c.Time.UTC().Format(time.RFC3339)) })
	put("object", func() *ast.Term { return conv.object(c.Object, secret, want.at("object")) })
	put("oldObject", func() *ast.Term { return conv.object(c.OldObject, secret, want.at("oldObject")) })
	put("options", func() *ast.Term { return conv.value(c.Options) })
	put("changes", func() *ast.Term { return e.changes(c, paths, secret, conv) })
	put("source", func() *ast.Term { return sourceTerm(c) })
	put("namespaceObject", func() *ast.Term {
		if c.NamespaceLabels == nil && c.NamespaceAnnotations == nil {
			return nil
		}
		return ast.ObjectTerm(
			ast.Item(e.words.term("labels"), e.stringMap(c.NamespaceLabels)),
			ast.Item(e.words.term("annotations"), e.stringMap(c.NamespaceAnnotations)),
		)
	})
}

// actor is who made the change, as far as is known.
func (e *Engine) actor(c *Change) *ast.Term {
	out := ast.NewObjectWithCapacity(3)
	person, confidence := c.User.Person(), "request"
	if c.OfGit() {
		person, confidence = false, "record" // the commit
	}
	if c.User == nil {
		person, confidence = false, "none"
		for _, f := range c.Fields {
			if f.Manager != "" {
				confidence = "manager"
				person = person || e.personManager(f.Manager)
			}
		}
	} else if namespace, name, ok := c.User.ServiceAccount(); ok {
		out.Insert(e.words.term("serviceAccount"), e.texts(everything(), "namespace", namespace, "name", name))
	}
	out.Insert(e.words.term("person"), ast.InternedTerm(person))
	out.Insert(e.words.term("confidence"), e.words.term(confidence))
	return ast.NewTerm(out)
}

func (e *Engine) personManager(manager string) bool {
	for _, m := range e.options.PersonManagers {
		if prefix, ok := strings.CutSuffix(m, "*"); m == manager || ok && strings.HasPrefix(manager, prefix) {
			return true
		}
	}
	return false
}

func (e *Engine) changes(c *Change, paths []string, secret bool, conv converter) *ast.Term {
	out, word := make([]*ast.Term, len(c.Fields)), e.words.term
	for i, f := range c.Fields {
		value := conv.value
		if secret && hidden(f.Path) {
			value = conv.masked
		}
		o := ast.NewObjectWithCapacity(9)
		o.Insert(word("op"), word(string(f.Op)))
		o.Insert(word("path"), word(paths[i]))
		segments := make([]*ast.Term, len(f.Path))
		for j, s := range f.Path {
			segments[j] = word(segmentText(s))
		}
		o.Insert(word("segments"), ast.ArrayTerm(segments...))
		if f.From != nil {
			o.Insert(word("from"), value(f.From))
		}
		if f.To != nil {
			o.Insert(word("to"), value(f.To))
		}
		o.Insert(word("declared"), ast.InternedTerm(f.Declared))
		if f.Manager != "" {
			o.Insert(word("manager"), word(f.Manager))
		}
		// For the built-in policies: whether a person made this very change, and
		// of a request, whether its trace would be mistaken for a person's.
		person := c.User.Person()
		if c.User == nil {
			person = e.personManager(f.Manager)
		}
		o.Insert(word("person"), ast.InternedTerm(person))
		if c.User != nil && e.personManager(cmp.Or(f.Manager, requestManager(c))) {
			o.Insert(word("mistakable"), ast.InternedTerm(true))
		}
		out[i] = ast.NewTerm(o)
	}
	return ast.ArrayTerm(out...)
}

// requestManager is the field manager that a request names for itself.
func requestManager(c *Change) string {
	return string(c.Options.GetStringBytes("fieldManager"))
}

// segmentText is a segment of input.changes[i].segments: a field's plain name,
// or what selects an element as it stands in a path.
func segmentText(s fieldset.Segment) string {
	if s.Keys == nil && s.Value == "" {
		return s.Field
	}
	return s.String()
}

// Hidden tells whether a path of a Secret holds, or contains, what must not be
// shown.
func Hidden(path fieldset.Path) bool { return hidden(path) }

// hidden tells whether a path of a Secret holds, or contains, what must not be
// shown.
func hidden(path fieldset.Path) bool {
	if len(path) == 0 {
		return true
	}
	switch path[0].Field {
	case "data", "stringData":
		return true
	case "metadata":
		return len(path) == 1 || path[1].Field == "annotations"
	}
	return false
}

func (e *Engine) userTerm(u *User, want *reads) *ast.Term {
	if u == nil {
		return nil
	}
	out := ast.NewObjectWithCapacity(4)
	put := e.members(out, want)
	put("username", func() *ast.Term { return e.words.term(u.Username) })
	put("uid", func() *ast.Term { return e.words.term(u.UID) })
	put("groups", func() *ast.Term { return e.stringList(u.Groups) })
	put("extra", func() *ast.Term {
		extra := ast.NewObjectWithCapacity(len(u.Extra))
		for key, values := range u.Extra {
			extra.Insert(e.words.term(key), e.stringList(values))
		}
		return ast.NewTerm(extra)
	})
	return ast.NewTerm(out)
}

func (e *Engine) syncTerm(c *Change, want *reads) *ast.Term {
	s := c.Record.Sync
	out := ast.NewObjectWithCapacity(5)
	put := e.members(out, want)
	put("namespace", func() *ast.Term { return e.words.term(s.Namespace) })
	put("name", func() *ast.Term { return e.words.term(s.Name) })
	put("labels", func() *ast.Term { return e.stringMap(s.Labels) })
	put("mode", func() *ast.Term { return e.words.term(string(s.Mode)) })
	// For the built-in policies.
	put("undeclared", func() *ast.Term { return e.words.term(string(s.Undeclared)) })
	return ast.NewTerm(out)
}

func sourceTerm(c *Change) *ast.Term {
	content := c.Record.Current()
	if content == nil {
		return nil
	}
	return ast.ObjectTerm(
		ast.Item(ast.InternedTerm("repo"), ast.StringTerm(c.Record.Sync.URL)),
		ast.Item(ast.InternedTerm("path"), ast.StringTerm(content.File)),
		ast.Item(ast.InternedTerm("line"), ast.InternedTerm(content.Line)),
		ast.Item(ast.InternedTerm("revision"), ast.StringTerm(content.Revision.Name)),
		ast.Item(ast.InternedTerm("author"), ast.StringTerm(content.Revision.Author)),
		ast.Item(ast.InternedTerm("committedAt"), ast.StringTerm(content.Revision.Time.UTC().Format(time.RFC3339))),
	)
}

// texts is an object of strings, from key, value, key, value, of those that are
// read.
func (e *Engine) texts(want *reads, pairs ...string) *ast.Term {
	o := ast.NewObjectWithCapacity(len(pairs) / 2)
	for i := 0; i+1 < len(pairs); i += 2 {
		if want.at(pairs[i]) != nil {
			o.Insert(e.words.term(pairs[i]), e.words.term(pairs[i+1]))
		}
	}
	return ast.NewTerm(o)
}

func (e *Engine) stringMap(m map[string]string) *ast.Term {
	o := ast.NewObjectWithCapacity(len(m))
	for k, v := range m {
		o.Insert(e.words.term(k), e.words.term(v))
	}
	return ast.NewTerm(o)
}

func (e *Engine) stringList(list []string) *ast.Term {
	out := make([]*ast.Term, len(list))
	for i, s := range list {
		out[i] = e.words.term(s)
	}
	return ast.ArrayTerm(out...)
}

// converter turns JSON into OPA's values without a detour.
type converter struct {
	mask func([]byte) string
	// words for the keys of objects; nil where what is made lasts.
	words *vocabulary
}

// value converts v; nil stays nil.
func (c converter) value(v *fastjson.Value) *ast.Term {
	if v == nil {
		return nil
	}
	switch v.Type() {
	case fastjson.TypeObject:
		return c.whole(v)
	case fastjson.TypeArray:
		items := v.GetArray()
		out := make([]*ast.Term, len(items))
		for i, item := range items {
			out[i] = c.value(item)
		}
		return ast.ArrayTerm(out...)
	case fastjson.TypeString:
		return ast.StringTerm(string(v.GetStringBytes()))
	case fastjson.TypeNumber:
		return ast.NumberTerm(json.Number(v.MarshalTo(nil)))
	case fastjson.TypeTrue:
		return ast.InternedTerm(true)
	case fastjson.TypeFalse:
		return ast.InternedTerm(false)
	default:
		return ast.NullTerm()
	}
}

// whole converts an object with all of its members.
func (c converter) whole(v *fastjson.Value) *ast.Term {
	o := v.GetObject()
	out := ast.NewObjectWithCapacity(o.Len())
	o.Visit(func(raw []byte, child *fastjson.Value) {
		out.Insert(c.words.key(raw), c.value(child))
	})
	return ast.NewTerm(out)
}

// object converts what is read of a Kubernetes object: without managedFields,
// and the values of a Secret masked.
func (c converter) object(v *fastjson.Value, secret bool, want *reads) *ast.Term {
	if v == nil || v.Type() != fastjson.TypeObject {
		return c.value(v)
	}
	return c.members(v, want, func(key string, child *fastjson.Value, want *reads) *ast.Term {
		switch {
		case key == "metadata" && child.Type() == fastjson.TypeObject:
			return c.members(child, want, func(key string, child *fastjson.Value, want *reads) *ast.Term {
				switch {
				case key == "managedFields":
					return nil
				case key == "annotations" && secret:
					return c.eachMasked(child)
				}
				return c.partly(child, want)
			})
		case secret && (key == "data" || key == "stringData"):
			return c.eachMasked(child)
		}
		return c.partly(child, want)
	})
}

// partly converts what is read of a value.
func (c converter) partly(v *fastjson.Value, want *reads) *ast.Term {
	if want.all || v.Type() != fastjson.TypeObject {
		return c.value(v)
	}
	return c.members(v, want, func(_ string, child *fastjson.Value, want *reads) *ast.Term { return c.partly(child, want) })
}

// members converts those members of an object that are read; nil leaves one
// out.
func (c converter) members(v *fastjson.Value, want *reads, convert func(string, *fastjson.Value, *reads) *ast.Term) *ast.Term {
	o := v.GetObject()
	size := o.Len()
	if !want.all {
		size = min(size, len(want.below))
	}
	out := ast.NewObjectWithCapacity(size)
	o.Visit(func(raw []byte, child *fastjson.Value) {
		below := want
		if !want.all {
			if below = want.below[string(raw)]; below == nil {
				return
			}
		}
		key := c.words.key(raw)
		if t := convert(string(key.Value.(ast.String)), child, below); t != nil {
			out.Insert(key, t)
		}
	})
	return ast.NewTerm(out)
}

// everything is what is read where nothing is left out.
func everything() *reads { return &reads{all: true} }

func (c converter) eachMasked(v *fastjson.Value) *ast.Term {
	if v.Type() != fastjson.TypeObject {
		return c.masked(v)
	}
	return c.members(v, everything(), func(_ string, child *fastjson.Value, _ *reads) *ast.Term { return c.masked(child) })
}

// masked is the keyed hash of a value.
func (c converter) masked(v *fastjson.Value) *ast.Term {
	if v.Type() == fastjson.TypeString {
		return ast.StringTerm(c.mask(v.GetStringBytes()))
	}
	return ast.StringTerm(c.mask(fieldset.Canonical(nil, v)))
}
