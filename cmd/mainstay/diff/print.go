// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
)

// Result is what -o json prints.
type Result struct {
	// From and To name the two sides.
	From string `json:"from"`
	To   string `json:"to"`
	// Folder that was rendered, with --clusters.
	Folder string `json:"folder,omitempty"`
	// GitSync of that folder whose own path was rendered, as namespace/name.
	GitSync string `json:"gitSync,omitempty"`
	// Objects that differ or, with --live, all.
	Objects []Object `json:"objects"`
	// Compared counts the objects that were.
	Compared int `json:"compared"`
	// Note is what could not be told.
	Note string `json:"note,omitempty"`
}

// count the objects in some states.
func (r *Result) count(states ...State) (n int) {
	for _, o := range r.Objects {
		for _, s := range states {
			if o.State == s {
				n++
			}
		}
	}
	return n
}

func (r *Result) differing() int { return r.count(Differs, Missing, Leaves) }

// maxShown is how much of a value people see.
const maxShown = 120

// signs and words of the states.
var (
	signs = map[State]string{Equal: "=", Differs: "~", Missing: "+", Leaves: "-", Unreadable: "?", Permitted: "!"}
	words = map[State]string{Missing: "  would be created", Leaves: "  would be pruned"}
)

func (r *Result) write(w io.Writer) {
	title := r.From + " → " + r.To
	if r.Folder != "" {
		title = r.Folder + ": " + title
		if r.GitSync != "" {
			title = r.Folder + ", GitSync " + r.GitSync + ": " + r.From + " → " + r.To
		}
	}
	fmt.Fprintln(w, title)
	for _, o := range r.Objects {
		fmt.Fprintf(w, "%s %s %s", signs[o.State], cli.Kind(o.Group, o.Kind), cli.Name(o.Namespace, o.Name))
		if o.File != "" {
			fmt.Fprintf(w, "  %s:%d", o.File, o.Line)
		}
		fmt.Fprint(w, words[o.State])
		if o.Message != "" {
			fmt.Fprint(w, "  "+o.Message)
		}
		if len(o.Managers) > 0 {
			fmt.Fprint(w, "  written by "+strings.Join(o.Managers, ", "))
		}
		fmt.Fprintln(w)
		for _, c := range o.Changes {
			by := ""
			if c.Manager != "" {
				by = "  (written by " + c.Manager + ")"
			}
			fmt.Fprintf(w, "    %s\n      - %s%s\n      + %s\n", c.Path, shown(c.From), by, shown(c.To))
		}
	}
	if r.Note != "" {
		fmt.Fprintln(w, r.Note)
	}
	switch n := r.differing(); n {
	case 0:
		fmt.Fprintf(w, "nothing differs, of %d objects\n", r.Compared)
	case 1:
		fmt.Fprintf(w, "1 of %d objects differs\n", r.Compared)
	default:
		fmt.Fprintf(w, "%d of %d objects differ\n", n, r.Compared)
	}
}

// shown is a value on one line; a text without its quotes.
func shown(raw json.RawMessage) string {
	if raw == nil {
		return "(nothing)"
	}
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		return cli.Line(text, maxShown)
	}
	return cli.Line(string(raw), maxShown)
}
