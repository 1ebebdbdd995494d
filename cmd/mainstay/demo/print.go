// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// maxLines is how much of an answer is shown.
const maxLines = 10

// minQuantiles is how many there have to be for quantiles to mean anything.
const minQuantiles = 20

// printer writes the story for people.
type printer struct {
	story, progress io.Writer
	color           bool
}

// newPrinter writes the story where there is a reader of it, and else its
// titles as progress.
func newPrinter(opts Options) *printer {
	return &printer{story: opts.Story, progress: opts.Progress, color: opts.Color}
}

const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (p *printer) paint(code, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *printer) title(number int, title string) {
	if p.story == io.Discard {
		fmt.Fprintf(p.progress, "%d. %s\n", number, title)
	}
	fmt.Fprintf(p.story, "%s\n", p.paint(bold, fmt.Sprintf("%d. %s", number, title)))
}

func (p *printer) command(shown string) {
	fmt.Fprintf(p.story, "   %s\n", p.paint(cyan, "$ "+strings.ReplaceAll(shown, "\n", "\n     ")))
}

func (p *printer) answer(c Command) {
	if c.Answer != "" {
		lines := strings.Split(c.Answer, "\n")
		for _, line := range lines[:min(maxLines, len(lines))] {
			fmt.Fprintf(p.story, "     %s\n", line)
		}
		if more := len(lines) - maxLines; more > 0 {
			fmt.Fprintf(p.story, "     %s\n", p.paint(faint, fmt.Sprintf("… and %d more lines", more)))
		}
	}
	fmt.Fprintf(p.story, "     %s\n", p.paint(faint, fmt.Sprintf("[exit %d after %s]", c.Exit, duration(c.Seconds))))
}

func (p *printer) measured(m Measured) {
	fmt.Fprintf(p.story, "   %s %s\n", p.paint(green, "→ "+duration(m.Seconds)), m.What)
}

func (p *printer) waiting(until string) { fmt.Fprintf(p.progress, "   waiting %s\n", until) }

func (p *printer) done() { fmt.Fprintln(p.story) }

func (p *printer) failed() { fmt.Fprintf(p.story, "   %s\n\n", p.paint(red, "FAILED")) }

func (p *printer) note(text string) { fmt.Fprintf(p.story, "   %s\n", p.paint(faint, "("+text+")")) }

func (p *printer) summary(url string, s *Summary) {
	fmt.Fprintf(p.story, "%s\n", p.paint(bold, "Summary, as "+url+" says"))
	for i, d := range s.Decisions {
		what := ""
		if i == 0 {
			what = "decisions"
		}
		fmt.Fprintf(p.story, "   %-20s %4d   %s: %s, %s\n", what, d.Count, d.Origin, d.Verdict, because(d.Rule))
	}
	for _, row := range []struct {
		what    string
		latency Latency
	}{{"admission reviews", s.Admission}, {"reverts", s.Reverts}, {"commits applied", s.Syncs}} {
		fmt.Fprintf(p.story, "   %-20s %4d", row.what, row.latency.Count)
		if row.latency.Count > 0 {
			fmt.Fprintf(p.story, "   mean %s", duration(row.latency.Mean))
		}
		if row.latency.Count >= minQuantiles {
			fmt.Fprintf(p.story, ", p50 %s, p99 %s", duration(row.latency.P50), duration(row.latency.P99))
		}
		fmt.Fprintln(p.story)
	}
	fmt.Fprintf(p.story, "   %-20s %4d\n\n", "webhook restored", s.Restored)
}

// because says which kind of rule decided.
func because(rule string) string {
	switch rule {
	case "git":
		return "as git says"
	case "default":
		return "as git says otherwise"
	case "builtin":
		return "by a built-in policy"
	case "policy":
		return "by a policy of the repository"
	}
	return "by " + rule
}

// duration is short and has three digits that count.
func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", seconds*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", seconds*1e3)
	default:
		return fmt.Sprintf("%.2f s", seconds)
	}
}
