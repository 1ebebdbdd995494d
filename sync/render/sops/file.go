// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sops

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// Plain is a file's content as it was before it was encrypted.
type Plain struct {
	Content []byte
	// Values are the strings that were encrypted, to keep them out of texts.
	Values []string
}

// Encrypted tells that SOPS has encrypted a file, by what is in it.
func Encrypted(file string, content []byte) bool {
	if !bytes.Contains(content, []byte("sops")) || !bytes.Contains(content, []byte("mac")) {
		return false
	}
	if path.Ext(file) == ".env" {
		return bytes.HasPrefix(content, []byte("sops_")) || bytes.Contains(content, []byte("\nsops_mac="))
	}
	docs, err := parse(file, content)
	return err == nil && slices.ContainsFunc(docs, func(d *yamlv3.Node) bool { return under(d) != nil })
}

// Decrypt returns the file's content without SOPS's metadata. Documents of a
// YAML file stay as many. The error says what is wrong, and nothing of what is
// in the file.
func (k *Keys) Decrypt(file string, content []byte) (Plain, error) {
	if path.Ext(file) == ".env" {
		return k.dotenv(content)
	}
	docs, err := parse(file, content)
	if err != nil {
		return Plain{}, errors.New("is not well formed")
	}
	out := Plain{}
	for len(docs) > 0 {
		n := group(docs)
		values, err := k.documents(docs[:n])
		if err != nil {
			return Plain{}, err
		}
		out.Values = append(out.Values, values...)
		if out.Content, err = write(out.Content, file, docs[:n]); err != nil {
			return Plain{}, err
		}
		docs = docs[n:]
	}
	return out, nil
}

// group is the number of documents at the beginning that were encrypted
// together: they have the same MAC.
func group(docs []*yamlv3.Node) int {
	mac := func(d *yamlv3.Node) string {
		if m := under(d); m != nil {
			if v := field(m, "mac"); v != nil {
				return v.Value
			}
		}
		return ""
	}
	n := 1
	for n < len(docs) && mac(docs[n]) == mac(docs[0]) {
		n++
	}
	return n
}

// documents decrypts documents that were encrypted together.
func (k *Keys) documents(docs []*yamlv3.Node) ([]string, error) {
	meta := under(docs[0])
	if meta == nil {
		return nil, nil // beside encrypted ones, one that is not
	}
	text, err := yamlv3.Marshal(meta)
	if err != nil {
		return nil, errors.New("its sops metadata can't be read")
	}
	w, err := k.walker(text)
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		root := d.Content[0]
		for i := 0; i+1 < len(root.Content); {
			if root.Content[i].Value == "sops" {
				root.Content = slices.Delete(root.Content, i, i+2)
				continue
			}
			if err := w.walk(root.Content[i+1], []string{root.Content[i].Value}); err != nil {
				return nil, err
			}
			i += 2
		}
	}
	return w.values, w.check()
}

// walker decrypts values, and adds up what the MAC is over.
type walker struct {
	meta   *metadata
	key    []byte
	sum    hash.Hash
	values []string
}

func (k *Keys) walker(text []byte) (*walker, error) {
	meta, err := parseMetadata(text)
	if err != nil {
		return nil, err
	}
	key, err := k.dataKey(meta)
	if err != nil {
		return nil, err
	}
	w := &walker{meta: meta, key: key, sum: sha512.New()}
	if meta.MACOnlyEncrypted {
		start := sha256.Sum256([]byte("sops"))
		w.sum.Write(start[:])
	}
	return w, nil
}

func (w *walker) walk(node *yamlv3.Node, at []string) error {
	switch node.Kind {
	case yamlv3.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if err := w.walk(node.Content[i+1], append(slices.Clip(at), node.Content[i].Value)); err != nil {
				return err
			}
		}
	case yamlv3.SequenceNode:
		for _, child := range node.Content {
			if err := w.walk(child, at); err != nil {
				return err
			}
		}
		node.Content = slices.DeleteFunc(node.Content, func(n *yamlv3.Node) bool { return n.Kind == 0 })
	case yamlv3.ScalarNode:
		var value any
		if err := node.Decode(&value); err != nil {
			return errors.New("is not well formed")
		}
		value, err := w.leaf(value, at)
		if err != nil || value == nil {
			return err
		}
		if value == any(comment{}) {
			*node = yamlv3.Node{}
			return nil
		}
		return set(node, value)
	case yamlv3.AliasNode, yamlv3.DocumentNode:
		return errors.New("has aliases, which are not supported in an encrypted file")
	}
	return nil
}

// leaf returns the decrypted value, or nil for one that was not encrypted.
func (w *walker) leaf(value any, at []string) (any, error) {
	if value == nil {
		return nil, nil //nolint:nilnil // SOPS leaves null as it is
	}
	covered := w.meta.covers(at)
	plain := value
	if covered {
		text, ok := value.(string)
		if !ok {
			return nil, errors.New("a value that has to be encrypted is not")
		}
		var err error
		if plain, err = open(text, w.key, strings.Join(at, ":")+":"); err != nil {
			return nil, err
		}
		if s, ok := plain.(string); ok && s != "" {
			w.values = append(w.values, s)
		}
	}
	if _, ok := plain.(comment); !ok && (covered || !w.meta.MACOnlyEncrypted) {
		text, err := canonical(plain)
		if err != nil {
			return nil, err
		}
		w.sum.Write(text)
	}
	if !covered {
		return nil, nil //nolint:nilnil // see above
	}
	return plain, nil
}

// check compares the MAC.
func (w *walker) check() error {
	mac, err := open(w.meta.MAC, w.key, w.meta.LastModified)
	if err != nil {
		return errors.New("its MAC can't be read")
	}
	if text, ok := mac.(string); !ok || !hmac.Equal([]byte(text), fmt.Appendf(nil, "%X", w.sum.Sum(nil))) {
		return errors.New("its MAC is not that of its content: it was changed after it was encrypted")
	}
	return nil
}

// set writes a decrypted value into its node.
func set(node *yamlv3.Node, value any) error {
	if err := node.Encode(value); err != nil {
		return errors.New("a value can't be written")
	}
	if _, ok := value.(string); ok {
		// YAML 1.1 would read some plain scalars otherwise.
		node.Style = yamlv3.DoubleQuotedStyle
	}
	return nil
}

// under is the node under the document's key sops; nil if it has none.
func under(doc *yamlv3.Node) *yamlv3.Node {
	if len(doc.Content) == 0 {
		return nil
	}
	if m := field(doc.Content[0], "sops"); m != nil && m.Kind == yamlv3.MappingNode {
		return m
	}
	return nil
}

func field(node *yamlv3.Node, key string) *yamlv3.Node {
	for i := 0; node.Kind == yamlv3.MappingNode && i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// parse reads the documents of a file by what its name ends in: YAML, or else
// one JSON value, as SOPS writes for all other files.
func parse(file string, content []byte) ([]*yamlv3.Node, error) {
	if ext := path.Ext(file); ext != ".yaml" && ext != ".yml" {
		decoder := json.NewDecoder(bytes.NewReader(content))
		decoder.UseNumber()
		node, err := fromJSON(decoder)
		if err != nil {
			return nil, err
		}
		return []*yamlv3.Node{{Kind: yamlv3.DocumentNode, Content: []*yamlv3.Node{node}}}, nil
	}
	var docs []*yamlv3.Node
	decoder := yamlv3.NewDecoder(bytes.NewReader(content))
	for {
		doc := &yamlv3.Node{}
		if err := decoder.Decode(doc); errors.Is(err, io.EOF) {
			return docs, nil
		} else if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
}

// write appends documents in the file's format.
func write(out []byte, file string, docs []*yamlv3.Node) ([]byte, error) {
	for _, d := range docs {
		switch path.Ext(file) {
		case ".yaml", ".yml":
			text, err := yamlv3.Marshal(d)
			if err != nil {
				return nil, errors.New("can't be written")
			}
			if len(out) > 0 {
				out = append(out, "---\n"...)
			}
			out = append(out, text...)
		case ".json":
			var value any
			if err := d.Decode(&value); err != nil {
				return nil, errors.New("can't be written")
			}
			text, err := json.Marshal(value)
			if err != nil {
				return nil, errors.New("can't be written")
			}
			out = append(out, text...)
		default:
			data := field(d.Content[0], "data")
			if data == nil {
				return nil, errors.New("is of a kind that is not supported: encrypt YAML, JSON, .env or, for others, as binary")
			}
			out = append(out, data.Value...)
		}
	}
	return out, nil
}
