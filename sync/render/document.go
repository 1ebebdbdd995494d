// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// document is one YAML document, or one value of a JSON file.
type document struct {
	file string
	// line on which text starts, and on which its first content is.
	offset, line int
	text         []byte
	value        map[string]any
	// node is the second parse, made when a position is wanted.
	node *yamlv3.Node
	// made is set where the text was made from others, which have the positions.
	made maker
}

// maker knows where the fields of a text come from that no file has as it is.
type maker interface {
	// place of the field at the path; line is its line in the text.
	place(d *document, steps []any, line int) (file string, at int)
	// sum changes whenever a place may.
	sum() uint64
}

// place of the value at a path of map keys and list indices; of the nearest
// value above where the second parse does not find it.
func (d *document) place(steps ...any) (file string, line int) {
	switch {
	case d.made != nil:
		line := d.line
		if len(steps) > 0 {
			_, line = d.find(steps...)
		}
		return d.made.place(d, steps, line)
	case len(steps) == 0:
		// A single object needs no second parse.
		return d.file, d.line
	}
	_, line = d.find(steps...)
	return d.file, line
}

// documents splits and parses a file. Those without content are left out.
func documents(file string, content []byte, problems *problems) []*document {
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	if path.Ext(file) == ".json" {
		return jsonDocuments(file, content, problems)
	}
	return yamlDocuments(file, content, problems)
}

func yamlDocuments(file string, content []byte, problems *problems) []*document {
	var docs []*document
	texts := splitYAML(file, content)
	if len(texts) > maxDocuments {
		problems.add(file, 0, "has %d documents, and more than %d are not read: split it", len(texts), maxDocuments)
		return nil
	}
	for _, doc := range texts {
		asJSON, err := yaml.YAMLToJSONStrict(doc.text)
		if err != nil {
			doc.addParseError(err, problems)
			continue
		}
		var value any
		if err := kjson.UnmarshalCaseSensitivePreserveInts(asJSON, &value); err != nil {
			problems.add(file, doc.line, "%s", oneLine(err))
			continue
		}
		if value == nil {
			continue
		}
		if doc.setValue(value, problems) {
			docs = append(docs, doc)
		}
	}
	return docs
}

// splitYAML cuts at the lines that begin a document. YAML forbids such a line
// inside any scalar, so this needs no parser.
func splitYAML(file string, content []byte) []*document {
	var docs []*document
	current := &document{file: file, offset: 1}
	number := 0
	for len(content) > 0 {
		number++
		end := bytes.IndexByte(content, '\n') + 1
		if end == 0 {
			end = len(content)
		}
		line := content[:end]
		content = content[end:]
		if begins(line, "---") && (current.line > 0 || !onlyDirectives(current.text)) {
			docs = append(docs, current)
			current = &document{file: file, offset: number}
		}
		if begins(line, "...") {
			docs = append(docs, current)
			current = &document{file: file, offset: number + 1}
			continue
		}
		if current.line == 0 && hasContent(line) {
			current.line = number
		}
		current.text = append(current.text, line...)
	}
	docs = append(docs, current)
	for _, doc := range docs {
		if doc.line == 0 {
			doc.line = doc.offset
		}
	}
	return docs
}

func begins(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}

// hasContent tells whether a line is more than space, a comment, a directive
// or the beginning of a document.
func hasContent(line []byte) bool {
	if begins(line, "---") {
		line = line[3:]
	}
	line = bytes.TrimSpace(line)
	return len(line) > 0 && line[0] != '#' && line[0] != '%'
}

// onlyDirectives: %YAML and comments before the first --- belong to it.
func onlyDirectives(text []byte) bool {
	for line := range bytes.Lines(text) {
		if begins(line, "---") {
			return false
		}
	}
	return true
}

func jsonDocuments(file string, content []byte, problems *problems) []*document {
	var docs []*document
	decoder := json.NewDecoder(bytes.NewReader(content))
	for {
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			at := decoder.InputOffset()
			if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
				at = max(at, syntax.Offset)
			}
			problems.add(file, lineAt(content, at), "%s", oneLine(err))
			return docs
		}
		line := lineAt(content, decoder.InputOffset()-int64(len(raw)))
		doc := &document{file: file, offset: line, line: line, text: raw}
		var value any
		strict, err := kjson.UnmarshalStrict(raw, &value)
		if err = errors.Join(append(strict, err)...); err != nil {
			problems.add(file, line, "%s", oneLine(err))
			continue
		}
		if value != nil && doc.setValue(value, problems) {
			docs = append(docs, doc)
		}
	}
}

func lineAt(content []byte, offset int64) int {
	offset = max(0, min(offset, int64(len(content))))
	return 1 + bytes.Count(content[:offset], []byte("\n"))
}

func (d *document) setValue(value any, problems *problems) bool {
	object, ok := value.(map[string]any)
	if !ok {
		problems.add(d.file, d.line, "is not a Kubernetes object: remove it, or list the file in %s", ignoreFile)
		return false
	}
	if deeper(value, maxDepth) {
		problems.add(d.file, d.line, "has more than %d maps and lists in each other", maxDepth)
		return false
	}
	d.value = object
	return true
}

// deeper tells that there are more than limit maps and lists in each other.
func deeper(value any, limit int) bool {
	if limit < 0 {
		return true
	}
	switch value := value.(type) {
	case map[string]any:
		for _, child := range value {
			if deeper(child, limit-1) {
				return true
			}
		}
	case []any:
		for _, child := range value {
			if deeper(child, limit-1) {
				return true
			}
		}
	}
	return false
}

var parserLine = regexp.MustCompile(`line (\d+)`)

// addParseError turns the parser's line, which counts from the document's
// start, into the file's.
func (d *document) addParseError(err error, problems *problems) {
	line := d.line
	message := oneLine(err)
	for _, prefix := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors: "} {
		message = strings.TrimPrefix(message, prefix)
	}
	if match := parserLine.FindStringSubmatch(message); match != nil {
		if n, err := strconv.Atoi(match[1]); err == nil {
			line = d.offset + n - 1
			message = strings.TrimPrefix(message, match[0]+": ")
			message = parserLine.ReplaceAllStringFunc(message, func(s string) string {
				n, err := strconv.Atoi(s[len("line "):])
				if err != nil {
					return s
				}
				return "line " + strconv.Itoa(d.offset+n-1)
			})
		}
	}
	problems.add(d.file, line, "is not valid YAML: %s", message)
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// find is the node at a path with its line in the text; nil where only
// something above was found.
func (d *document) find(steps ...any) (*yamlv3.Node, int) {
	if d.node == nil {
		d.node = &yamlv3.Node{}
		text := d.text
		if path.Ext(d.file) == ".json" {
			// YAML knows neither a tab between tokens nor pairs of surrogates.
			text = bytes.ReplaceAll(text, []byte("\t"), []byte(" "))
			text = bytes.ReplaceAll(text, []byte(`\u`), []byte("_u"))
		}
		// Without positions the document's own line stands for all of it.
		if err := yamlv3.Unmarshal(text, d.node); err != nil {
			d.node = &yamlv3.Node{}
		}
	}
	line := d.line
	node := d.node
	if node.Kind == yamlv3.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	for _, step := range steps {
		key, child := childNode(node, step)
		if child == nil {
			return nil, line
		}
		node = child
		line = d.offset + key.Line - 1
	}
	return node, line
}

// childNode returns the node that has the position, and the value's node.
func childNode(node *yamlv3.Node, step any) (key, value *yamlv3.Node) {
	if node.Kind == yamlv3.AliasNode {
		node = node.Alias
	}
	switch step := step.(type) {
	case int:
		if node.Kind == yamlv3.SequenceNode && step < len(node.Content) {
			return node.Content[step], node.Content[step]
		}
	case string:
		for i := 0; node.Kind == yamlv3.MappingNode && i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				return node.Content[i], node.Content[i+1]
			}
		}
	}
	return nil, nil
}
