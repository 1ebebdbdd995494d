// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"fmt"
	"strings"
	"time"
)

// Title is the first line of a message and says the most of it.
func (m *Message) Title() string {
	var b strings.Builder
	if m.Cluster != "" {
		b.WriteString("[" + m.Cluster + "] ")
	}
	b.WriteString(string(m.Severity) + ": ")
	first := m.Lines[0]
	b.WriteString(first.Kind)
	if others := m.total() - first.Count; others > 0 {
		fmt.Fprintf(&b, " and %d more", others)
	} else if first.Count > 1 {
		fmt.Fprintf(&b, " ×%d", first.Count)
	}
	if m.GitSync != "" {
		b.WriteString(" in " + m.GitSync)
	}
	if m.Actor != "" {
		b.WriteString(" by " + m.Actor)
	}
	return b.String()
}

// Text is the message itself, one line for each notice.
func (m *Message) Text() string {
	var b strings.Builder
	for i, line := range m.Lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s %s: %s", line.Time.UTC().Format(time.TimeOnly+"Z"), line.Kind, line.Text)
		if line.Count > 1 {
			fmt.Fprintf(&b, " (×%d)", line.Count)
		}
	}
	if m.More > 0 {
		fmt.Fprintf(&b, "\n… and %d more: mainstay log --since 1h", m.More)
	}
	return b.String()
}

func (m *Message) total() int {
	n := m.More
	for _, line := range m.Lines {
		n += line.Count
	}
	return n
}
