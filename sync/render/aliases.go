// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	yamlv3 "go.yaml.in/yaml/v3"
)

// checkAliases refuses YAML that would be too large with its aliases written
// out, for parsers that write them out without asking. What is no YAML passes.
func checkAliases(content []byte) error {
	if bytes.IndexByte(content, '&') < 0 || bytes.IndexByte(content, '*') < 0 {
		return nil
	}
	decoder := yamlv3.NewDecoder(bytes.NewReader(content))
	for {
		var doc yamlv3.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) || err != nil && doc.Kind == 0 {
			return nil
		}
		sizes := map[*yamlv3.Node]int{}
		if size(&doc, sizes) > maxNodes {
			return fmt.Errorf("has more than %d values once its aliases are written out", maxNodes)
		}
		if err != nil {
			return nil //nolint:nilerr // who reads the text for its values says what is wrong with it
		}
	}
}

// size counts the nodes below one, those behind aliases each time; at most a
// little over maxNodes. An alias to what it is in counts as too large.
func size(node *yamlv3.Node, known map[*yamlv3.Node]int) int {
	if n, ok := known[node]; ok {
		return n
	}
	known[node] = maxNodes + 1 // until it is known: a cycle
	n := 1
	if node.Kind == yamlv3.AliasNode {
		n = size(node.Alias, known)
	}
	for _, child := range node.Content {
		if n += size(child, known); n > maxNodes {
			n = maxNodes + 1
			break
		}
	}
	known[node] = n
	return n
}
