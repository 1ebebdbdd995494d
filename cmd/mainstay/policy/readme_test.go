// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/policy/pitfall"
)

// TestThePageForAuthorsIsTrue: each command on it exists with the flags that are
// shown, and what is looked for is listed.
func TestThePageForAuthorsIsTrue(t *testing.T) {
	page, err := os.ReadFile("../../../policy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^mainstay policy (.*)$`).FindAllStringSubmatch(string(page), -1)
	if len(lines) < 5 {
		t.Fatalf("the page shows %d commands", len(lines))
	}
	for _, line := range lines {
		words := strings.Fields(strings.Split(line[1], " > ")[0])
		cmd, rest, err := NewCommand().Find(words)
		if err != nil || !cmd.Runnable() || cmd.Name() != words[0] {
			t.Errorf("mainstay policy %s: %v", line[1], err)
			continue
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("mainstay policy %s: %v", line[1], err)
		}
	}
	for _, rule := range pitfall.Rules() {
		if row := "| `" + rule.Name + "` | " + string(rule.Level) + " | " + rule.Title + " |"; !strings.Contains(string(page), row) {
			t.Errorf("the page does not list: %s", row)
		}
	}
}
