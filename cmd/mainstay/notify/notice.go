// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config"
)

// Notice is something that people should know.
type Notice struct {
	// GitSync that it is about; empty where it concerns all of Mainstay.
	GitSync  types.NamespacedName
	Severity config.Severity
	// Kind is the reason of an Event, for example DriftReverted.
	Kind string
	// Actor is the account that did it; empty where nobody did.
	Actor string
	// Text is one sentence or two; it must hold no value of a Secret.
	Text string
	// Fields are more for programs, for example the id of the decision.
	Fields map[string]string
	// Time is filled in by Tell where it is zero.
	Time time.Time
}

// sync is namespace/name, or empty.
func (n *Notice) sync() string {
	if n.GitSync.Name == "" {
		return ""
	}
	return n.GitSync.String()
}

// Message is what one receiver gets: notices about one GitSync and one account.
type Message struct {
	Cluster  string
	GitSync  string
	Actor    string
	Severity config.Severity // the highest
	Lines    []Line
	// More is the number of notices that found no room.
	More int
}

// Line is a notice, or several that read the same.
type Line struct {
	Notice
	Count int
}

// maxLines bounds a message: nobody reads more, and receivers cut.
const maxLines = 20

// add takes a notice into the message.
func (m *Message) add(n Notice) {
	if rank(n.Severity) > rank(m.Severity) {
		m.Severity = n.Severity
	}
	for i := range m.Lines {
		if m.Lines[i].Kind == n.Kind && m.Lines[i].Text == n.Text {
			m.Lines[i].Count++
			return
		}
	}
	if len(m.Lines) == maxLines {
		m.More++
		return
	}
	m.Lines = append(m.Lines, Line{Notice: n, Count: 1})
}

func rank(s config.Severity) int {
	switch s {
	case config.SeverityCritical:
		return 3
	case config.SeverityWarning:
		return 2
	case config.SeverityInfo:
		return 1
	}
	return 0
}
