// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/valyala/fastjson"
)

// cluster is data.cluster[group][Kind][namespace][name], as a read-only store
// for OPA. Writes cost the same however many objects there are; the value of a
// namespace, kind or group is put together when a policy first reads it after a
// write, and is immutable from then on.
//
// What one evaluation has read stays as it was for that evaluation (OPA keeps
// it); two different references may see two states.
type cluster struct {
	storage.WritesNotSupported
	storage.PolicyNotSupported
	storage.TriggersNotSupported

	mask func([]byte) string
	// grants in force; data.grants is read from the same place as judgements.
	grants atomic.Pointer[grants]

	mu   sync.Mutex
	root branch
}

// branch is one level of the tree above objects.
type branch struct {
	below map[string]*branch
	// leaf is the object; nil for the levels above objects.
	leaf ast.Value
	// value is leaf or all of below; nil when a write made it stale.
	value ast.Value
}

type readTransaction struct{}

func (readTransaction) ID() uint64 { return 0 }

func newCluster(mask func([]byte) string) *cluster { return &cluster{mask: mask} }

// groupKey is a group's name in data.cluster.
func groupKey(group string) string {
	if group == "" {
		return "core"
	}
	return group
}

func (c *cluster) set(group, kind, namespace, name string, object map[string]any) {
	value, err := objectValue(group, kind, object, c.mask)
	if err != nil {
		c.delete(group, kind, namespace, name)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := &c.root
	at.value = nil
	for _, key := range [...]string{groupKey(group), kind, namespace, name} {
		next := at.below[key]
		if next == nil {
			next = &branch{}
			if at.below == nil {
				at.below = map[string]*branch{}
			}
			at.below[key] = next
		}
		next.value = nil
		at = next
	}
	at.leaf, at.value = value, value
}

func (c *cluster) delete(group, kind, namespace, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.root.delete([]string{groupKey(group), kind, namespace, name})
}

// delete removes what is at keys and reports whether the branch is empty now.
func (b *branch) delete(keys []string) bool {
	next := b.below[keys[0]]
	if next == nil {
		return len(b.below) == 0
	}
	b.value = nil
	if len(keys) == 1 || next.delete(keys[1:]) {
		delete(b.below, keys[0])
	}
	return len(b.below) == 0
}

func (b *branch) read() ast.Value {
	if b.value == nil {
		object := ast.NewObjectWithCapacity(len(b.below))
		for key, child := range b.below {
			object.Insert(ast.InternedTerm(key), ast.NewTerm(child.read()))
		}
		// Hashing and sorting happen here, once, and not in evaluations.
		object.Foreach(func(*ast.Term, *ast.Term) {})
		b.value = object
	}
	return b.value
}

// NewTransaction implements storage.Store.
func (c *cluster) NewTransaction(context.Context, ...storage.TransactionParams) (storage.Transaction, error) {
	return readTransaction{}, nil
}

// Read implements storage.Store.
func (c *cluster) Read(_ context.Context, _ storage.Transaction, path storage.Path) (any, error) {
	if len(path) == 0 {
		return ast.NewObject(ast.Item(ast.InternedTerm("cluster"), ast.NewTerm(c.all())),
			ast.Item(ast.InternedTerm("grants"), ast.NewTerm(c.granted()))), nil
	}
	if path[0] == "grants" {
		return find(c.granted(), path[1:], path)
	}
	if path[0] != "cluster" {
		return nil, notFound(path)
	}
	c.mu.Lock()
	at := &c.root
	rest := path[1:]
	for len(rest) > 0 && at.leaf == nil {
		if at = at.below[rest[0]]; at == nil {
			c.mu.Unlock()
			return nil, notFound(path)
		}
		rest = rest[1:]
	}
	value := at.read()
	c.mu.Unlock()
	return find(value, rest, path)
}

// find reads what lies below a value.
func find(value ast.Value, rest, path storage.Path) (ast.Value, error) {
	if len(rest) == 0 {
		return value, nil
	}
	ref := make(ast.Ref, len(rest))
	for i, key := range rest {
		ref[i] = ast.InternedTerm(key)
	}
	value, err := value.Find(ref)
	if err != nil {
		return nil, notFound(path)
	}
	return value, nil
}

func (c *cluster) granted() ast.Value {
	if now := c.grants.Load(); now != nil {
		return now.data
	}
	return ast.NewObject()
}

func (c *cluster) all() ast.Value {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.root.read()
}

// Commit implements storage.Store.
func (c *cluster) Commit(context.Context, storage.Transaction) error { return nil }

// Abort implements storage.Store.
func (c *cluster) Abort(context.Context, storage.Transaction) {}

// Truncate implements storage.Store; it is not supported.
func (c *cluster) Truncate(context.Context, storage.Transaction, storage.TransactionParams, storage.Iterator) error {
	return &storage.Error{Code: storage.WritesNotSupportedErr, Message: "data.cluster is read-only"}
}

func notFound(path storage.Path) error {
	return &storage.Error{Code: storage.NotFoundErr, Message: path.String()}
}

// objectValue converts an object as policies see it.
func objectValue(group, kind string, object map[string]any, mask func([]byte) string) (ast.Value, error) {
	if group == "" && kind == "Secret" {
		text, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		parsed, err := fastjson.ParseBytes(text)
		if err != nil {
			return nil, err
		}
		return converter{mask: mask}.object(parsed, true, &reads{all: true}).Value, nil
	}
	v, err := ast.InterfaceToValue(object)
	if err != nil {
		return nil, err
	}
	whole, ok := v.(ast.Object)
	if !ok {
		return v, nil
	}
	metadata, ok := get(whole, "metadata").(ast.Object)
	if !ok || get(metadata, "managedFields") == nil {
		return v, nil
	}
	return replaced(whole, "metadata", ast.NewTerm(replaced(metadata, "managedFields", nil))), nil
}

// get returns a member of an object, or nil.
func get(o ast.Object, key string) ast.Value {
	if t := o.Get(ast.InternedTerm(key)); t != nil {
		return t.Value
	}
	return nil
}

// replaced is o with another value at key, or without it.
func replaced(o ast.Object, key string, with *ast.Term) ast.Object {
	out := ast.NewObjectWithCapacity(o.Len())
	o.Foreach(func(k, v *ast.Term) {
		switch s, ok := k.Value.(ast.String); {
		case !ok || string(s) != key:
			out.Insert(k, v)
		case with != nil:
			out.Insert(k, with)
		}
	})
	return out
}
