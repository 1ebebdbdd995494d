// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package edit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// Object names a manifest in a file.
type Object struct {
	Kind, Namespace, Name string
}

// Set gives the field of an object its value, as JSON; an empty value removes
// it.
func Set(content []byte, object Object, path fieldset.Path, value []byte) ([]byte, error) {
	node, err := find(content, object)
	if err != nil {
		return nil, err
	}
	e := &editor{lines: split(content)}
	if err := e.set(node, path, value); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return e.bytes(), nil
}

// Append adds a value, as JSON, to a list at the top of a file's only document,
// which is made if need be.
func Append(content []byte, list string, value []byte) ([]byte, error) {
	docs, err := documents(content)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 || docs[0].Kind != yamlv3.MappingNode {
		return nil, errors.New("it is not one document")
	}
	item, err := fromJSON(value)
	if err != nil {
		return nil, err
	}
	e := &editor{lines: split(content)}
	_, found := child(docs[0], list)
	if found == nil || found.Kind != yamlv3.SequenceNode || len(found.Content) == 0 {
		if found != nil {
			return nil, fmt.Errorf("%s is no list with an entry", list)
		}
		err = e.insert(docs[0], list, &yamlv3.Node{Kind: yamlv3.SequenceNode, Content: []*yamlv3.Node{item}})
	} else {
		err = e.appendItem(found, item)
	}
	return e.bytes(), err
}

func documents(content []byte) ([]*yamlv3.Node, error) {
	var docs []*yamlv3.Node
	decoder := yamlv3.NewDecoder(bytes.NewReader(content))
	for {
		var doc yamlv3.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("parse: %w", err)
		}
		if len(doc.Content) == 1 {
			docs = append(docs, doc.Content[0])
		}
	}
}

// find looks for the object, in Lists as well.
func find(content []byte, o Object) (*yamlv3.Node, error) {
	docs, err := documents(content)
	if err != nil {
		return nil, err
	}
	var found []*yamlv3.Node
	for i := 0; i < len(docs); i++ {
		if _, items := child(docs[i], "items"); items != nil && strings.HasSuffix(text(docs[i], "kind"), "List") {
			docs = append(docs, items.Content...)
			continue
		}
		_, metadata := child(docs[i], "metadata")
		if text(docs[i], "kind") != o.Kind || text(metadata, "name") != o.Name {
			continue
		}
		if ns := text(metadata, "namespace"); ns == "" || ns == o.Namespace {
			found = append(found, docs[i])
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d manifests in the file could be the object", len(found))
	}
	return found[0], nil
}

func child(node *yamlv3.Node, key string) (k, v *yamlv3.Node) {
	if node == nil || node.Kind != yamlv3.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i], node.Content[i+1]
		}
	}
	return nil, nil
}

func text(node *yamlv3.Node, key string) string {
	if _, v := child(node, key); v != nil && v.Kind == yamlv3.ScalarNode {
		return v.Value
	}
	return ""
}

// element finds the list's element that a segment names; -1 for none.
func element(list *yamlv3.Node, s fieldset.Segment) int {
	return slices.IndexFunc(list.Content, func(item *yamlv3.Node) bool {
		if s.Keys == nil {
			return item.Kind == yamlv3.ScalarNode && item.Value == strings.Trim(s.Value, `"`)
		}
		return !slices.ContainsFunc(s.Keys, func(k fieldset.Key) bool {
			_, v := child(item, k.Name)
			want := strings.Trim(k.Value, `"`)
			// The API server fills in the protocol of a port.
			if v == nil {
				return k.Name != "protocol" || want != "TCP"
			}
			return v.Value != want
		})
	})
}

func isElement(s fieldset.Segment) bool { return s.Keys != nil || s.Value != "" }

// set walks down to the last field that is there.
func (e *editor) set(at *yamlv3.Node, path fieldset.Path, value []byte) error {
	for i, s := range path {
		last := i == len(path)-1
		if at.Kind == yamlv3.AliasNode || at.Anchor != "" {
			return errors.New("it is shared by a YAML anchor")
		}
		if isElement(s) {
			if at.Kind != yamlv3.SequenceNode {
				return fmt.Errorf("%s is no list", path[:i])
			}
			n := element(at, s)
			switch {
			case n < 0 && value == nil:
				return nil
			case n < 0:
				item, err := build(path[i:], value)
				if err != nil {
					return err
				}
				return e.appendItem(at, item.Content[0])
			case last && value == nil:
				return e.removeItem(at, n)
			case last:
				return errors.New("a whole element of a list is not written anew")
			}
			at = at.Content[n]
			continue
		}
		if at.Kind != yamlv3.MappingNode {
			return fmt.Errorf("%s is no object", path[:i])
		}
		key, v := child(at, s.Field)
		switch {
		case v == nil && value == nil:
			return nil
		case v == nil:
			node, err := build(path[i+1:], value)
			if err != nil {
				return err
			}
			return e.insert(at, s.Field, node)
		case last && value == nil:
			return e.remove(at, key, v)
		case last:
			node, err := fromJSON(value)
			if err != nil {
				return err
			}
			return e.replace(at, key, v, node)
		}
		at = v
	}
	return errors.New("the path is empty")
}

// build makes what is missing on the way to a value.
func build(path fieldset.Path, value []byte) (*yamlv3.Node, error) {
	if len(path) == 0 {
		return fromJSON(value)
	}
	inner, err := build(path[1:], value)
	if err != nil {
		return nil, err
	}
	s := path[0]
	if !isElement(s) {
		return mapping(s.Field, inner), nil
	}
	if s.Keys == nil {
		return &yamlv3.Node{Kind: yamlv3.SequenceNode, Content: []*yamlv3.Node{inner}}, nil
	}
	item := &yamlv3.Node{Kind: yamlv3.MappingNode}
	for _, k := range s.Keys {
		v, err := fromJSON([]byte(k.Value))
		if err != nil {
			v = &yamlv3.Node{Kind: yamlv3.ScalarNode, Value: k.Value}
		}
		if _, has := child(inner, k.Name); has == nil {
			item.Content = append(item.Content, &yamlv3.Node{Kind: yamlv3.ScalarNode, Value: k.Name}, v)
		}
	}
	if inner.Kind == yamlv3.MappingNode {
		item.Content = append(item.Content, inner.Content...)
	}
	return &yamlv3.Node{Kind: yamlv3.SequenceNode, Content: []*yamlv3.Node{item}}, nil
}

func mapping(key string, value *yamlv3.Node) *yamlv3.Node {
	return &yamlv3.Node{Kind: yamlv3.MappingNode, Content: []*yamlv3.Node{{Kind: yamlv3.ScalarNode, Value: key}, value}}
}

// bare tells whether a string needs no quotes. kubectl reads YAML 1.1, in which
// yes, on and 012 are no strings.
func bare(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return false
	}
	for i, r := range s {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', r == '/':
		case i > 0 && strings.ContainsRune("0123456789._:@-", r) && !strings.HasSuffix(s, ":"):
		default:
			return false
		}
	}
	return s != ""
}

// fromJSON is a value as YAML would be written by hand.
func fromJSON(value []byte) (*yamlv3.Node, error) {
	var doc yamlv3.Node
	if err := yamlv3.Unmarshal(value, &doc); err != nil || len(doc.Content) != 1 {
		return nil, fmt.Errorf("read the value: %w", err)
	}
	var plain func(n *yamlv3.Node)
	plain = func(n *yamlv3.Node) {
		n.Style &^= yamlv3.FlowStyle
		if n.Kind == yamlv3.ScalarNode && n.Tag == "!!str" {
			n.Style = yamlv3.DoubleQuotedStyle
			if bare(n.Value) {
				n.Style = 0
			}
		}
		n.Line, n.Column = 0, 0
		for _, c := range n.Content {
			plain(c)
		}
	}
	plain(doc.Content[0])
	return doc.Content[0], nil
}

// YAML writes a new file of one document.
func YAML(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := yamlv3.NewEncoder(&out)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("write the value: %w", err)
	}
	return out.Bytes(), nil
}
