// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
)

// parametered is what the policies of one source see of data: the cluster, and
// their own parameters.
type parametered struct {
	storage.Store
	parameters ast.Object
}

// withParameters puts data.parameters of a source beside the rest of data.
func (s Source) withParameters(below storage.Store) (storage.Store, error) {
	parameters, err := parametersOf(s)
	if err != nil {
		return nil, err
	}
	// Hashing and sorting happen here, once, and not in evaluations.
	parameters.Foreach(func(*ast.Term, *ast.Term) {})
	return &parametered{below, parameters}, nil
}

// Read implements storage.Store.
func (p *parametered) Read(ctx context.Context, t storage.Transaction, path storage.Path) (any, error) {
	switch {
	case len(path) > 0 && path[0] == "parameters":
		return find(p.parameters, path[1:], path)
	case len(path) > 0:
		return p.Store.Read(ctx, t, path)
	}
	v, err := p.Store.Read(ctx, t, path)
	if err != nil {
		return nil, err
	}
	whole, ok := v.(ast.Object)
	if !ok {
		return nil, notFound(path)
	}
	out := replaced(whole, "parameters", nil)
	out.Insert(ast.InternedTerm("parameters"), ast.NewTerm(p.parameters))
	return out, nil
}
