// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"hash/fnv"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// Lines says on which line each field of the object is, in the form that
// ownership.Content keeps: one entry for each field and list element that is
// not on the line of what it is in. It parses the document once more.
func (o *Object) Lines() string {
	if o.from == nil {
		return ""
	}
	node, start := o.from.doc.find(o.from.steps...)
	w := &lineWriter{doc: o.from.doc}
	w.walk(node, "", start)
	return w.out.String()
}

// Text is a hash of the document that the object is in: while it and Line stay,
// Lines does.
func (o *Object) Text() uint64 {
	if o.from == nil {
		return 0
	}
	h := fnv.New64a()
	h.Write(o.from.doc.text)
	return h.Sum64()
}

type lineWriter struct {
	doc *document
	out strings.Builder
}

func (w *lineWriter) walk(node *yamlv3.Node, at string, line int) {
	if node == nil {
		return
	}
	switch node.Kind { //nolint:exhaustive // the other kinds have no fields
	case yamlv3.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			w.entry(node.Content[i], node.Content[i+1], at+"/"+ownership.EscapeStep(node.Content[i].Value), line)
		}
	case yamlv3.SequenceNode:
		for i, child := range node.Content {
			w.entry(child, child, at+"/"+strconv.Itoa(i), line)
		}
	}
}

func (w *lineWriter) entry(position, value *yamlv3.Node, at string, parent int) {
	line := w.doc.offset + position.Line - 1
	if line != parent {
		w.out.WriteString("\n" + at + "\t" + strconv.Itoa(line))
	}
	w.walk(value, at, line)
}
