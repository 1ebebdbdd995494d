// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// regoFiles are the built-in policies, their tests and the library.
//
//go:embed rego/*.rego rego/plain/*.rego
var regoFiles embed.FS

// libraryFiles are compiled into every source.
var libraryFiles = []string{"rego/lib.rego", "rego/testing.rego"}

// builtinModules are the built-in policies without those that are switched off.
func builtinModules(disabled []string) (map[string]string, error) {
	files, err := fs.Glob(regoFiles, "rego/*.rego")
	if err != nil {
		return nil, err
	}
	modules := map[string]string{}
	known := map[string]bool{}
	for _, file := range files {
		// Tests run with those of this package, not at every start.
		if testFile(file) || slices.Contains(libraryFiles, file) {
			continue
		}
		name := strings.TrimSuffix(strings.TrimPrefix(file, "rego/"), ".rego")
		known[name] = true
		if slices.Contains(disabled, name) {
			continue
		}
		text, err := regoFiles.ReadFile(file)
		if err != nil {
			return nil, err
		}
		modules[file] = string(text)
	}
	for _, name := range disabled {
		if !known[name] {
			return nil, fmt.Errorf("there is no built-in policy %q", name)
		}
	}
	return modules, nil
}

// libraryModules parses data.mainstay.lib and data.mainstay.testing.
func libraryModules() (map[string]*ast.Module, error) {
	modules := map[string]*ast.Module{}
	for _, file := range libraryFiles {
		text, err := regoFiles.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m, err := ast.ParseModuleWithOpts(internal+file, string(text), ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, err
		}
		modules[internal+file] = m
	}
	return modules, nil
}
