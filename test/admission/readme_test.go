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

func TestTheREADMEShowsWhatWasTried(t *testing.T) {
	const file = "../../README.md"
	raw, err := os.ReadFile(file)
	world.Must(t, err)
	head, rest, ok := strings.Cut(string(raw), begin)
	got, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("the README has no section between %q and %q", begin, end)
	}
	want := section()
	if *update {
		world.Must(t, os.WriteFile(file, []byte(head+begin+want+end+tail), 0o600))
		return
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("run go test ./test/admission -update (-README +tests):\n%s", diff)
	}
}

// section is the table with what a reader needs to try its lines.
func section() string {
	var b strings.Builder
	fmt.Fprintf(&b, "After `make up`, this sets the stage; every line below is then for `alice`, who is cluster-admin, in the namespace `shop`:\n\n```\n%s\n```\n\n", setUp)
	b.WriteString("| situation | tried as | answer |\n|---|---|---|\n")
	for _, row := range situations() {
		lines := make([]string, 0, len(row.before)+len(row.tries)+len(row.after))
		for _, line := range row.before {
			lines = append(lines, "first: "+code(line))
		}
		for _, try := range row.tries {
			if try.do != nil {
				lines = append(lines, try.line)
				continue
			}
			lines = append(lines, code(try.line))
		}
		for _, line := range row.after {
			lines = append(lines, "at last: "+code(line))
		}
		answer := "**" + string(row.want) + "**"
		if row.note != "" {
			answer += ": " + row.note
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row.name, strings.Join(lines, "<br>"), answer)
	}
	return b.String()
}

// code shows a command in a cell, where a bar has to be escaped.
func code(line string) string { return "`" + strings.ReplaceAll(line, "|", `\|`) + "`" }
