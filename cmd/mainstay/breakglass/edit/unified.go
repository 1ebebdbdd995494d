// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package edit

import (
	"fmt"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
)

// around is how many lines of a file a patch shows around what it changes.
const around = 3

// Unified is a patch of one file, as git applies it; empty where nothing is
// changed. A file that was not there before is made.
func Unified(name string, before, after []byte) string {
	if string(before) == string(after) {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "diff --git a/%[1]s b/%[1]s\n", name)
	from := "a/" + name
	if before == nil {
		b.WriteString("new file mode 100644\n")
		from = "/dev/null"
	}
	fmt.Fprintf(&b, "--- %s\n+++ b/%s\n", from, name)
	old, now := lines(before), lines(after)
	for _, group := range difflib.NewMatcher(old, now).GetGroupedOpCodes(around) {
		first, end := group[0], group[len(group)-1]
		fmt.Fprintf(&b, "@@ -%s +%s @@\n", extent(first.I1, end.I2), extent(first.J1, end.J2))
		for _, op := range group {
			if op.Tag == 'e' {
				write(&b, ' ', old[op.I1:op.I2])
				continue
			}
			write(&b, '-', old[op.I1:op.I2])
			write(&b, '+', now[op.J1:op.J2])
		}
	}
	return b.String()
}

func lines(content []byte) []string {
	if len(content) == 0 {
		return nil
	}
	return strings.SplitAfter(string(content), "\n")[:count(content)]
}

// count is the number of lines; the last may lack its end.
func count(content []byte) int {
	n := strings.Count(string(content), "\n")
	if content[len(content)-1] != '\n' {
		n++
	}
	return n
}

func extent(from, to int) string {
	if from == to {
		return fmt.Sprintf("%d,0", from)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}

func write(b *strings.Builder, sign byte, lines []string) {
	for _, line := range lines {
		b.WriteByte(sign)
		b.WriteString(line)
		if !strings.HasSuffix(line, "\n") {
			b.WriteString("\n\\ No newline at end of file\n")
		}
	}
}
