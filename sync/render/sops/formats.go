// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sops

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// fromJSON reads the next value, with the keys of objects in their order: the
// MAC depends on it.
func fromJSON(decoder *json.Decoder) (*yamlv3.Node, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return scalarNode(token)
	}
	node := &yamlv3.Node{Kind: yamlv3.SequenceNode, Tag: "!!seq"}
	if delim == '{' {
		node = &yamlv3.Node{Kind: yamlv3.MappingNode, Tag: "!!map"}
	}
	for decoder.More() {
		// In an object a key comes first, and is a value as well.
		child, err := fromJSON(decoder)
		if err != nil {
			return nil, err
		}
		node.Content = append(node.Content, child)
	}
	_, err = decoder.Token()
	return node, err
}

func scalarNode(token json.Token) (*yamlv3.Node, error) {
	node := &yamlv3.Node{}
	if number, ok := token.(json.Number); ok {
		value, err := number.Float64()
		if err != nil {
			return nil, err
		}
		token = value // as SOPS reads numbers of JSON
	}
	if err := node.Encode(token); err != nil {
		return nil, err
	}
	return node, nil
}

// dotenv decrypts lines of key=value.
func (k *Keys) dotenv(content []byte) (Plain, error) {
	const prefix = "sops_"
	meta := map[string]any{}
	lines := strings.Split(string(content), "\n")
	for _, line := range lines {
		if key, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(key, prefix) {
			flattened(meta, strings.TrimPrefix(key, prefix), strings.ReplaceAll(value, `\n`, "\n"))
		}
	}
	text, err := json.Marshal(nested(meta))
	if err != nil {
		return Plain{}, errors.New("its sops metadata can't be read")
	}
	w, err := k.walker(text)
	if err != nil {
		return Plain{}, err
	}
	var out strings.Builder
	for _, line := range lines {
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(key, prefix) {
			continue
		}
		value = strings.ReplaceAll(value, `\n`, "\n")
		plain, err := w.leaf(value, []string{key})
		if err != nil {
			return Plain{}, err
		}
		if s, ok := plain.(string); ok {
			value = s
		}
		out.WriteString(key + "=" + strings.ReplaceAll(value, "\n", `\n`) + "\n")
	}
	if err := w.check(); err != nil {
		return Plain{}, err
	}
	return Plain{Content: []byte(out.String()), Values: w.values}, nil
}

// flattened puts a value at a path of metadata that was written in one line:
// age__list_0__map_enc.
func flattened(into map[string]any, key, value string) {
	first, rest, deeper := strings.Cut(key, "__")
	if !deeper {
		switch value {
		case "true", "false":
			into[key] = value == "true"
		default:
			into[key] = value
		}
		return
	}
	child, ok := into[first].(map[string]any)
	if !ok {
		child = map[string]any{}
		into[first] = child
	}
	flattened(child, rest, value)
}

// nested makes lists and maps of the steps list_0 and map_enc.
func nested(value any) any {
	m, ok := value.(map[string]any)
	if !ok {
		return value
	}
	var list []any
	out := map[string]any{}
	for i := 0; ; i++ {
		child, ok := m["list_"+strconv.Itoa(i)]
		if !ok {
			break
		}
		list = append(list, nested(child))
	}
	if list != nil {
		return list
	}
	for key, child := range m {
		if key == "shamir_threshold" {
			continue // a number, and 0 or 1 for all that is supported
		}
		out[strings.TrimPrefix(key, "map_")] = nested(child)
	}
	return out
}
