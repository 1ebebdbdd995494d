// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/regal"
)

const starter = `package NAME

import data.mainstay.lib

# METADATA
# title: The group NAME may scale the shop
# description: Say who may change what, and why it is right.
exception contains {
	"reason": "the group NAME scales the shop",
	"paths": ["spec.replicas"],
} if {
	input.operation == "UPDATE"
	input.kind.kind == "Deployment"
	input.namespace == "shop"
	lib.by_group("NAME")
}
`

const starterTest = `package NAME_test

import data.NAME
import data.mainstay.testing

scaled := {"changes": [testing.change("spec.replicas", 2, 5)]}

member := testing.user("bo", ["NAME"])

test_the_group_may_scale if {
	some e in NAME.exception with input as testing.request(object.union(member, scaled))
	e.paths == ["spec.replicas"]
}

test_others_may_not if {
	count(NAME.exception) == 0 with input as testing.request(scaled)
}

test_not_elsewhere if {
	elsewhere := {"namespace": "payments"}
	count(NAME.exception) == 0 with input as testing.request(object.union_n([member, scaled, elsewhere]))
}
`

// first are the files of a policy to start from.
func first(ctx context.Context, name string) (map[string]string, error) {
	input, err := fixture(ctx, name)
	if err != nil {
		return nil, err
	}
	var rule, test string
	// The order of imports depends on the name.
	err = errors.Join(formatted(strings.ReplaceAll(starter, "NAME", name), &rule), formatted(strings.ReplaceAll(starterTest, "NAME", name), &test))
	return map[string]string{name + ".rego": rule, name + "_test.rego": test, "input.json": input}, err
}

// fixture is an input for which the policy was written, as the test builders
// make it.
func fixture(ctx context.Context, name string) (string, error) {
	files, err := policy.Helpers()
	if err != nil {
		return "", err
	}
	const query = `data.mainstay.testing.request(object.union(
		data.mainstay.testing.user("bo", [input]),
		{"changes": [data.mainstay.testing.change("spec.replicas", 2, 5)]},
	))`
	options := []func(*rego.Rego){rego.Query(query), rego.Input(name)}
	for _, file := range sortedKeys(files) {
		options = append(options, rego.Module(file, files[file]))
	}
	results, err := rego.New(options...).Eval(ctx)
	if err != nil || len(results) != 1 {
		return "", fmt.Errorf("make the fixture: %w", err)
	}
	text, err := json.MarshalIndent(results[0].Expressions[0].Value, "", "  ")
	return string(text) + "\n", err
}

// toolFiles are the settings of Regal and Visual Studio Code, and Mainstay's rules
// for Regal; the second list is what an update writes again.
func toolFiles(dir string) (settings, rules map[string]string, err error) {
	pack, err := regal.Rules()
	if err != nil {
		return nil, nil, fmt.Errorf("read the rules for Regal: %w", err)
	}
	rules = map[string]string{}
	for file, text := range pack {
		rules[".regal/rules/mainstay/"+file] = text
	}
	return map[string]string{
		".regal/config.yaml": fmt.Sprintf(`# Settings of Regal, the linter and language server for Rego.
project:
  roots:
    - %[1]s
rules:
  imports:
    # Objects of the cluster, grants and parameters are data that no file holds.
    unresolved-reference:
      except-paths:
        - "data.{cluster,grants,parameters}"
        - "data.{cluster,grants,parameters}.**"
  performance:
    # A test asks a policy with an input of its own, in helpers as well.
    with-outside-test-context:
      ignore: {files: ["*_test.rego"]}
  idiomatic:
    # Mainstay asks the rules exception and deny.
    no-defined-entrypoint:
      level: ignore
    # The helpers are Mainstay's.
    ambiguous-scope:
      ignore: {files: [%[1]s/mainstay/**]}
    use-object-union-n:
      ignore: {files: [%[1]s/mainstay/**]}
  style:
    external-reference:
      ignore: {files: ["*_test.rego"]}
    line-length:
      ignore: {files: [%[1]s/mainstay/**]}
`, dir),
		".vscode/settings.json": fmt.Sprintf(`{
  "opa.languageServers": ["regal"],
  "opa.roots": ["${workspaceFolder}/%[1]s"],
  "json.schemas": [{"fileMatch": ["/%[1]s/**/input.json"], "url": "./%[1]s/%[2]s"}],
  "[rego]": {"editor.formatOnSave": true, "editor.insertSpaces": false}
}
`, dir, schemaFile),
	}, rules, nil
}

// schemaFile below a policy folder describes input: for editors of fixtures, and
// for opa check --schema.
const schemaFile = "mainstay/input.schema.json"

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
