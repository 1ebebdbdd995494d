// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// InputSchema is the JSON schema of input. Policies are type-checked against
// it, so that a misspelt member is an error and not something that is never
// true.
//
//go:embed schema/input.json
var InputSchema []byte

// inputSchema is what a compiler checks types by.
func inputSchema() (*ast.SchemaSet, error) {
	var raw any
	if err := json.Unmarshal(InputSchema, &raw); err != nil {
		return nil, fmt.Errorf("read the schema of input: %w", err)
	}
	set := ast.NewSchemaSet()
	set.Put(ast.SchemaRootRef, raw)
	return set, nil
}

// typeProblem words a reference to a member that there is none of. It reports
// false for any other error.
func typeProblem(err *ast.Error) (message, hint string, ok bool) {
	detail, is := err.Details.(*ast.RefErrInvalidDetail)
	if !is || detail.Pos < 1 || detail.Pos >= len(detail.Ref) || detail.Ref[0].Value.String() != "input" {
		return "", "", false
	}
	key, is := detail.Ref[detail.Pos].Value.(ast.String)
	if !is {
		return "", "", false
	}
	parent := detail.Ref[:detail.Pos].String()
	if len(detail.OneOf) == 0 {
		return fmt.Sprintf("%s is no object: it has no %q", parent, string(key)), "", true
	}
	var known []string
	for _, v := range detail.OneOf {
		if s, is := v.(ast.String); is {
			known = append(known, string(s))
		}
	}
	hint = nearest(string(key), known)
	if meant, is := renamed[strings.TrimPrefix(detail.Ref[:detail.Pos+1].String(), "input.")]; is {
		hint = "did you mean " + meant + "?"
	}
	return fmt.Sprintf("%s has no %q", parent, string(key)), hint, true
}

// renamed are members as other tools call them.
var renamed = map[string]string{
	"user": "input.userInfo", "userInfo.user": "input.userInfo.username", "userInfo.name": "input.userInfo.username",
	"request": "input itself: Mainstay has no envelope", "review": "input itself: Mainstay has no envelope",
	"gvk": "input.kind", "group": "input.kind.group", "labels": "input.object.metadata.labels", "parameters": "data.parameters",
	"metadata": "input.object.metadata", "spec": "input.object.spec", "old": "input.oldObject", "gitsync": "input.sync",
	"timestamp": "input.time", "now": "input.time", "paths": "input.changes[_].path", "subresource": "input.subResource",
}
