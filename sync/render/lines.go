// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"hash/fnv"
	"slices"
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
	node, line := o.from.doc.find(o.from.steps...)
	w := &lineWriter{doc: o.from.doc, home: o.File}
	file := o.File
	if o.from.doc.made != nil {
		file, line = o.from.doc.place(o.from.steps...)
	}
	w.walk(node, o.from.steps, "", place{file, line})
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
	if made := o.from.doc.made; made != nil {
		return h.Sum64() ^ made.sum()
	}
	return h.Sum64()
}

type place struct {
	file string
	line int
}

type lineWriter struct {
	doc *document
	// home is the object's file: the others are named.
	home string
	out  strings.Builder
}

func (w *lineWriter) walk(node *yamlv3.Node, steps []any, at string, above place) {
	if node == nil {
		return
	}
	switch node.Kind { //nolint:exhaustive // the other kinds have no fields
	case yamlv3.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i].Value
			w.entry(node.Content[i], node.Content[i+1], append(slices.Clip(steps), key), at+"/"+ownership.EscapeStep(key), above)
		}
	case yamlv3.SequenceNode:
		for i, child := range node.Content {
			w.entry(child, child, append(slices.Clip(steps), i), at+"/"+strconv.Itoa(i), above)
		}
	}
}

func (w *lineWriter) entry(position, value *yamlv3.Node, steps []any, at string, above place) {
	here := place{w.doc.file, w.doc.offset + position.Line - 1}
	if w.doc.made != nil {
		here.file, here.line = w.doc.made.place(w.doc, steps, here.line)
	}
	if here != above {
		w.out.WriteString("\n" + at + "\t")
		if here.file != w.home {
			w.out.WriteString(here.file + ":")
		}
		w.out.WriteString(strconv.Itoa(here.line))
	}
	w.walk(value, steps, at, here)
}
