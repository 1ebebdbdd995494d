// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/agnivade/levenshtein"
	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// Load reads and checks the file at path.
func Load(path string) (*Config, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	config, err := Parse(content)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return config, nil
}

// Parse is Load for what a file contains.
func Parse(content []byte) (*Config, error) {
	root, err := document(content)
	if err != nil {
		return nil, err
	}
	if problems := unknownKeys(root, reflect.TypeFor[Config](), ""); len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	config := base()
	// A file has to say what it is.
	config.APIVersion, config.Kind = "", ""
	if err := yaml.UnmarshalStrict(content, config); err != nil {
		return nil, err
	}
	config.complete()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return config, nil
}

// document returns the root of the one YAML document in content.
func document(content []byte) (*yamlv3.Node, error) {
	decoder := yamlv3.NewDecoder(bytes.NewReader(content))
	var first, second yamlv3.Node
	switch err := decoder.Decode(&first); {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("the file is empty; it has to begin with apiVersion: %s and kind: %s", APIVersion, Kind)
	case err != nil:
		return nil, err
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file has to hold exactly one document")
	}
	if len(first.Content) != 1 || first.Content[0].Kind != yamlv3.MappingNode {
		return nil, errors.New("the file has to hold a mapping of keys to values")
	}
	return first.Content[0], nil
}

// unknownKeys compares a mapping with the struct that it will be read into.
func unknownKeys(node *yamlv3.Node, target reflect.Type, path string) []error {
	if target.Kind() == reflect.Pointer {
		target = target.Elem()
	}
	if node.Kind == yamlv3.AliasNode {
		node = node.Alias
	}
	if node.Kind == yamlv3.SequenceNode && target.Kind() == reflect.Slice {
		var problems []error
		for i, item := range node.Content {
			problems = append(problems, unknownKeys(item, target.Elem(), fmt.Sprintf("%s[%d]", path, i))...)
		}
		return problems
	}
	reads := reflect.PointerTo(target).Implements(reflect.TypeFor[json.Unmarshaler]())
	if node.Kind != yamlv3.MappingNode || target.Kind() != reflect.Struct || reads {
		return nil
	}
	known := map[string]reflect.Type{}
	var names []string
	for field := range target.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		known[name] = field.Type
		names = append(names, name)
	}

	var problems []error
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		next, ok := known[key.Value]
		if !ok {
			problems = append(problems, fmt.Errorf("line %d: %s: unknown key; did you mean %s?", key.Line, at, nearest(key.Value, names)))
			continue
		}
		problems = append(problems, unknownKeys(node.Content[i+1], next, at)...)
	}
	return problems
}

// nearest returns the name with the fewest edits between them, the first of
// equals.
func nearest(key string, names []string) string {
	best, distance := "", -1
	for _, name := range names {
		d := levenshtein.ComputeDistance(strings.ToLower(key), strings.ToLower(name))
		if distance < 0 || d < distance {
			best, distance = name, d
		}
	}
	return best
}
