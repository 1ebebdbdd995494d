// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
)

// within is what policies of one namespace see of data.cluster: the objects of
// that namespace, and no object without one. The empty namespace sees all.
func (c *cluster) within(namespace string) storage.Store {
	if namespace == "" {
		return c
	}
	return &window{cluster: c, namespace: namespace}
}

// window is data.cluster with the objects of one namespace alone.
type window struct {
	*cluster
	namespace string
}

// levels of a path: cluster, group, kind, namespace.
const namespaceLevel = 3

// Read implements storage.Store.
func (w *window) Read(ctx context.Context, t storage.Transaction, path storage.Path) (any, error) {
	if len(path) > namespaceLevel {
		if path[namespaceLevel] != w.namespace {
			return nil, notFound(path)
		}
		return w.cluster.Read(ctx, t, path)
	}
	value, err := w.cluster.Read(ctx, t, path)
	if err != nil {
		return nil, err
	}
	object, ok := value.(ast.Object)
	if !ok {
		return nil, notFound(path)
	}
	return w.only(object, namespaceLevel-len(path)), nil
}

// only is an object without what is of other namespaces, whose names are the
// keys so many levels below.
func (w *window) only(object ast.Object, below int) ast.Object {
	out := ast.NewObject()
	object.Foreach(func(k, v *ast.Term) {
		if below == 0 {
			if name, ok := k.Value.(ast.String); ok && string(name) == w.namespace {
				out.Insert(k, v)
			}
			return
		}
		if child, ok := v.Value.(ast.Object); ok {
			out.Insert(k, ast.NewTerm(w.only(child, below-1)))
		}
	})
	return out
}
