// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/test/world"
)

var update = flag.Bool("update", false, "write the README's table")

const (
	begin = "<!-- admission:begin (go test ./test/admission -update) -->\n"
	end   = "<!-- admission:end -->\n"
)

func TestTheREADMEsShowWhatWasTried(t *testing.T) {
	for file, section := range map[string]string{"../../README.md": brief(), "README.md": full()} {
		t.Run(file, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			world.Must(t, err)
			head, rest, ok := strings.Cut(string(raw), begin)
			got, tail, ok2 := strings.Cut(rest, end)
			if !ok || !ok2 {
				t.Fatalf("%s has no section between %q and %q", file, begin, end)
			}
			if *update {
				world.Must(t, os.WriteFile(file, []byte(head+begin+section+end+tail), 0o600))
				return
			}
			if diff := cmp.Diff(got, section); diff != "" {
				t.Errorf("run go test ./test/admission -update (-README +tests):\n%s", diff)
			}
		})
	}
}

// brief is the table of the project's README: one example each.
func brief() string {
	var b strings.Builder
	b.WriteString("| situation | for example | answer |\n|---|---|---|\n")
	for _, row := range situations() {
		example, more := row.shown(row.tries[0]), ""
		if n := len(row.tries) - 1; n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		fmt.Fprintf(&b, "| %s | %s%s | %s |\n", row.name, example, more, row.answer())
	}
	return b.String()
}

// full is the table with all that was tried, and what a reader needs to try it.
func full() string {
	var b strings.Builder
	fmt.Fprintf(&b, "After `make up`, this sets the stage; every line below is then for `alice`, who is cluster-admin, in the namespace `shop`:\n\n```\n%s\n```\n\n", setUp)
	b.WriteString("| situation | tried as | answer |\n|---|---|---|\n")
	for _, row := range situations() {
		lines := make([]string, 0, len(row.before)+len(row.tries)+len(row.after))
		for _, line := range row.before {
			lines = append(lines, "first: "+code(line))
		}
		for _, try := range row.tries {
			lines = append(lines, row.shown(try))
		}
		for _, line := range row.after {
			lines = append(lines, "at last: "+code(line))
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row.name, strings.Join(lines, "<br>"), row.answer())
	}
	return b.String()
}

func (s situation) shown(t try) string {
	if t.do != nil {
		return t.line
	}
	return code(t.line)
}

func (s situation) answer() string {
	answer := "**" + string(s.want) + "**"
	if s.note != "" {
		answer += ": " + s.note
	}
	return answer
}

// code shows a command in a cell, where a bar has to be escaped.
func code(line string) string { return "`" + strings.ReplaceAll(line, "|", `\|`) + "`" }
