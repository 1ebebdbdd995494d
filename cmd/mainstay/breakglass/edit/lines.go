// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package edit

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// editor changes the lines of a file. Each line has its end.
type editor struct{ lines []string }

func split(content []byte) []string { return strings.SplitAfter(string(content), "\n") }

func (e *editor) bytes() []byte { return []byte(strings.Join(e.lines, "")) }

func flow(n *yamlv3.Node) bool { return n.Style&yamlv3.FlowStyle != 0 }

var errFlow = errors.New("it is written in one line with others")

// replace writes a new value for a key.
func (e *editor) replace(parent, key, old, value *yamlv3.Node) error {
	if old.Kind == yamlv3.ScalarNode && value.Kind == yamlv3.ScalarNode {
		if from, to, ok := e.span(old); ok {
			if quoted := old.Style & (yamlv3.DoubleQuotedStyle | yamlv3.SingleQuotedStyle); value.Tag == "!!str" && quoted != 0 {
				value.Style = quoted
			}
			written, err := inline(value)
			if err != nil {
				return err
			}
			line := e.lines[old.Line-1]
			e.lines[old.Line-1] = line[:from] + written + line[to:]
			return nil
		}
	}
	if flow(parent) || flow(old) && last(old) != key.Line {
		return errFlow
	}
	written, err := block(mapping(key.Value, value), key.Column-1)
	if err != nil {
		return err
	}
	// The line begins with what stands before the key: spaces, or the dash of a list.
	written[0] = e.lines[key.Line-1][:key.Column-1] + strings.TrimLeft(written[0], " ")
	e.splice(key.Line, last(old), written)
	return nil
}

// insert adds a key to a mapping, after its last one.
func (e *editor) insert(parent *yamlv3.Node, key string, value *yamlv3.Node) error {
	if flow(parent) {
		return e.intoFlow(parent, '}', mapping(key, value))
	}
	if len(parent.Content) == 0 {
		return errFlow
	}
	written, err := block(mapping(key, value), parent.Content[0].Column-1)
	if err != nil {
		return err
	}
	e.after(last(parent), written)
	return nil
}

// remove takes a key out of a mapping.
func (e *editor) remove(parent, key, value *yamlv3.Node) error {
	if flow(parent) || strings.TrimSpace(e.lines[key.Line-1][:key.Column-1]) != "" || len(parent.Content) == 2 {
		return errors.New("it is written in one line with others, or alone: take it out by hand")
	}
	e.splice(key.Line, last(value), nil)
	return nil
}

// appendItem adds an element to a list.
func (e *editor) appendItem(list, item *yamlv3.Node) error {
	if flow(list) {
		return e.intoFlow(list, ']', item)
	}
	if len(list.Content) == 0 {
		return errFlow
	}
	first := list.Content[0]
	dash := strings.LastIndex(e.lines[first.Line-1][:first.Column-1], "-")
	if dash < 0 {
		return errFlow
	}
	written, err := block(&yamlv3.Node{Kind: yamlv3.SequenceNode, Content: []*yamlv3.Node{item}}, dash)
	if err != nil {
		return err
	}
	e.after(last(list), written)
	return nil
}

// removeItem takes an element out of a list.
func (e *editor) removeItem(list *yamlv3.Node, n int) error {
	item := list.Content[n]
	if flow(list) || len(list.Content) == 1 || strings.Trim(e.lines[item.Line-1][:item.Column-1], " -") != "" {
		return errors.New("it is written in one line with others, or alone: take it out by hand")
	}
	e.splice(item.Line, last(item), nil)
	return nil
}

// intoFlow adds to {…} or […] on one line.
func (e *editor) intoFlow(parent *yamlv3.Node, end byte, add *yamlv3.Node) error {
	if last(parent) != parent.Line {
		return errFlow
	}
	line := e.lines[parent.Line-1]
	at, ok := closing(line, parent.Column-1)
	if !ok || line[at] != end {
		return errFlow
	}
	written, err := inline(add)
	if err != nil {
		return err
	}
	if add.Kind == yamlv3.MappingNode && end == '}' {
		written = strings.TrimSuffix(strings.TrimPrefix(written, "{"), "}")
	}
	if len(parent.Content) > 0 {
		written = ", " + written
	}
	e.lines[parent.Line-1] = line[:at] + written + line[at:]
	return nil
}

// closing is the end of the bracket at from.
func closing(line string, from int) (int, bool) {
	depth, quote := 0, byte(0)
	for i := from; i < len(line); i++ {
		c := line[i]
		switch {
		case quote != 0:
			if c == '\\' && quote == '"' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i, true
			}
		}
	}
	return 0, false
}

// span is where a scalar of one line stands in it.
func (e *editor) span(n *yamlv3.Node) (from, to int, ok bool) {
	line := e.lines[n.Line-1]
	from = n.Column - 1
	if from < 0 || from >= len(line) || n.Anchor != "" || n.Style&yamlv3.TaggedStyle != 0 {
		return 0, 0, false
	}
	switch {
	case n.Style&(yamlv3.LiteralStyle|yamlv3.FoldedStyle) != 0:
		return 0, 0, false
	case n.Style&(yamlv3.DoubleQuotedStyle|yamlv3.SingleQuotedStyle) != 0:
		quote := line[from]
		for i := from + 1; i < len(line); i++ {
			switch {
			case line[i] == '\\' && quote == '"':
				i++
			case line[i] == quote && quote == '\'' && i+1 < len(line) && line[i+1] == quote:
				i++
			case line[i] == quote:
				return from, i + 1, true
			}
		}
		return 0, 0, false
	}
	if !strings.HasPrefix(line[from:], n.Value) || n.Value == "" {
		return 0, 0, false
	}
	return from, from + len(n.Value), true
}

// last is the last line of a node.
func last(n *yamlv3.Node) int {
	line := n.Line
	if n.Kind == yamlv3.ScalarNode {
		if n.Style&(yamlv3.LiteralStyle|yamlv3.FoldedStyle) != 0 {
			line += len(strings.Split(strings.TrimRight(n.Value, "\n"), "\n"))
		}
	}
	for _, c := range n.Content {
		line = max(line, last(c))
	}
	return line
}

// splice puts other lines in place of those from the first to the last.
func (e *editor) splice(first, last int, lines []string) {
	e.lines = append(e.lines[:first-1:first-1], append(lines, e.lines[last:]...)...)
}

// after puts lines behind a line, which may lack its end.
func (e *editor) after(line int, lines []string) {
	if !strings.HasSuffix(e.lines[line-1], "\n") {
		e.lines[line-1] += "\n"
		lines[len(lines)-1] = strings.TrimSuffix(lines[len(lines)-1], "\n")
	}
	e.splice(line+1, line, lines)
}

// inline writes a node on one line.
func inline(n *yamlv3.Node) (string, error) {
	var set func(n *yamlv3.Node)
	set = func(n *yamlv3.Node) {
		if n.Kind == yamlv3.ScalarNode {
			if strings.Contains(n.Value, "\n") {
				n.Style = yamlv3.DoubleQuotedStyle
			}
			return
		}
		n.Style |= yamlv3.FlowStyle
		for _, c := range n.Content {
			set(c)
		}
	}
	set(n)
	out, err := yamlv3.Marshal(n)
	if err != nil {
		return "", fmt.Errorf("write the value: %w", err)
	}
	written := strings.TrimSuffix(string(out), "\n")
	if strings.Contains(written, "\n") {
		return "", errFlow
	}
	return written, nil
}

// block writes a node on lines of its own, indented.
func block(n *yamlv3.Node, indent int) ([]string, error) {
	var out bytes.Buffer
	encoder := yamlv3.NewEncoder(&out)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(n); err != nil {
		return nil, fmt.Errorf("write the value: %w", err)
	}
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSuffix(out.String(), "\n"), "\n") {
		if line != "" {
			line = strings.Repeat(" ", indent) + line
		}
		lines = append(lines, line+"\n")
	}
	return lines, nil
}
