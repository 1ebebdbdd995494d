// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Builtin is one policy that is built in.
type Builtin struct {
	// Name by which it can be switched off.
	Name string `json:"name"`
	// Title of its first rule.
	Title string `json:"title"`
	// Rego it is made of.
	Rego string `json:"-"`
}

// Builtins are all policies that are built in, by name.
func Builtins() ([]Builtin, error) {
	texts, err := builtinModules(nil)
	if err != nil {
		return nil, err
	}
	modules, err := parse(texts)
	if err != nil {
		return nil, err
	}
	var out []Builtin
	for _, file := range slices.Sorted(maps.Keys(texts)) {
		b := Builtin{Name: strings.TrimSuffix(path.Base(file), ".rego"), Rego: texts[file]}
		for _, r := range rules(map[string]*ast.Module{file: modules[file]}) {
			if b.Title = r.Title; b.Title != "" {
				break
			}
		}
		out = append(out, b)
	}
	return out, nil
}
