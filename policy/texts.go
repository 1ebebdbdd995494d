// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/mainstay-gitops/mainstay/policy/library"
)

const (
	// shippedPrefix starts the file names of modules of the library, which no
	// source contains.
	shippedPrefix = "library:"
	// parametersFile stands for the parameters in what a digest is made of.
	parametersFile = "parameters.json"
)

// shippedFile tells whether a module is one of the library's.
func shippedFile(file string) bool { return strings.HasPrefix(file, shippedPrefix) }

// shippedRule tells whether a rule is one of the library's: no other source may
// have such a package.
func shippedRule(name string) bool { return strings.HasPrefix(name, library.Prefix) }

// regoOf is all that a source is made of, by file name: its own Rego, that of
// the library's policies which it switches on, and its parameters.
func (e *Engine) regoOf(s Source) (map[string]string, error) {
	texts := map[string]string{}
	var items []Problem
	for file, text := range s.Modules {
		if strings.HasPrefix(file, internal) || shippedFile(file) {
			items = append(items, Problem{File: file, Message: "the name of the file is reserved", Hint: "choose another name"})
		}
		if !helper(text) { // compiled into every source
			texts[file] = text
		}
	}
	if len(items) > 0 {
		slices.SortFunc(items, compareProblems)
		return nil, &LoadError{Items: items}
	}
	if len(s.Exceptions) > 0 {
		text, err := CompileExceptions(s.Key, s.Exceptions)
		if err != nil {
			return nil, err
		}
		texts[exceptions] = text
	}
	shipped, err := e.shippedTexts(s)
	if err != nil {
		return nil, err
	}
	maps.Copy(texts, shipped)
	return texts, nil
}

// shippedTexts are the library's part of a source, with its parameters.
func (e *Engine) shippedTexts(s Source) (map[string]string, error) {
	texts := map[string]string{}
	var items []Problem
	for _, name := range s.Library {
		p, err := e.shipped.Policy(name)
		if err != nil {
			items = append(items, Problem{Message: err.Error()})
			continue
		}
		if err := p.Check(s.Parameters[name].Raw); err != nil {
			items = append(items, Problem{Message: err.Error()})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Parameters)) {
		// Rego of the source's own may read what it likes.
		if len(s.Modules) == 0 && !slices.Contains(s.Library, name) {
			items = append(items, Problem{
				Message: fmt.Sprintf("parameters.%s are for no policy that is switched on", name),
				Hint:    nearest(name, s.Library),
			})
		}
	}
	if len(items) > 0 {
		return nil, &LoadError{Items: items}
	}
	modules, err := e.shipped.Modules(s.Library)
	if err != nil {
		return nil, &LoadError{Items: []Problem{{Message: err.Error()}}}
	}
	for file, text := range modules {
		texts[shippedPrefix+file] = text
	}
	values, err := s.Parameters.Values()
	if err != nil {
		return nil, &LoadError{Items: []Problem{{Message: err.Error()}}}
	}
	if len(values) > 0 {
		text, err := json.Marshal(values)
		if err != nil {
			return nil, &LoadError{Items: []Problem{{Message: err.Error()}}}
		}
		texts[parametersFile] = string(text)
	}
	return texts, nil
}

// parametersOf are data.parameters, always an object.
func parametersOf(s Source) (ast.Object, error) {
	values, err := s.Parameters.Values()
	if err != nil {
		return nil, &LoadError{Items: []Problem{{Message: err.Error()}}}
	}
	v, err := ast.InterfaceToValue(values)
	if err != nil {
		return nil, &LoadError{Items: []Problem{{Message: err.Error()}}}
	}
	object, ok := v.(ast.Object)
	if !ok {
		return ast.NewObject(), nil
	}
	return object, nil
}
