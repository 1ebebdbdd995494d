// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// row is one line of the report.
type row struct {
	Part   string `json:"part"`
	What   string `json:"what"`
	Peer   string `json:"peer,omitempty"`
	Result string `json:"result"`
	Ratio  string `json:"ratio,omitempty"`
	Budget string `json:"budget,omitempty"`
	// Met is absent where there is no budget.
	Met *bool `json:"met,omitempty"`
}

type report struct{ rows []row }

func (r *report) add(line row) { r.rows = append(r.rows, line) }

func (r *report) json(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r.rows)
}

// table is Markdown, so that it can be read here and pasted there.
func (r *report) table(w io.Writer) error {
	lines := [][]string{{"what", "measured", "beside", "ratio or difference", "budget", ""}}
	for _, l := range r.rows {
		met := ""
		if l.Met != nil {
			met = map[bool]string{true: "met", false: "MISSED"}[*l.Met]
		}
		lines = append(lines, []string{l.What, l.Result, l.Peer, l.Ratio, l.Budget, met})
	}
	widths := make([]int, len(lines[0]))
	for _, l := range lines {
		for i, cell := range l {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for n, l := range lines {
		var text strings.Builder
		for i, cell := range l {
			fmt.Fprintf(&text, "| %s%s ", cell, strings.Repeat(" ", widths[i]-len([]rune(cell))))
		}
		if n == 0 {
			text.WriteString("|\n")
			for _, width := range widths {
				text.WriteString("|" + strings.Repeat("-", width+2))
			}
		}
		if _, err := fmt.Fprintln(w, text.String()+"|"); err != nil {
			return err
		}
	}
	return nil
}

// times are the durations of many measurements of one thing.
type times []time.Duration

func (t times) at(quantile float64) time.Duration {
	if len(t) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t))
	return sorted[min(int(quantile*float64(len(sorted))), len(sorted)-1)]
}

func (t times) p50() time.Duration { return t.at(0.5) }
func (t times) p99() time.Duration { return t.at(0.99) }

func (t times) String() string {
	return fmt.Sprintf("p50 %s, p99 %s", ms(t.p50()), ms(t.p99()))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(max(b, 1)) }
