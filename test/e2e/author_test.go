// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// What an author of policies does with decisions, each command with what it
// prints.
func TestAuthorsStories(t *testing.T) {
	app(t, "authors")
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			path := filepath.Dir(shared.Program) + string(os.PathListSeparator) + os.Getenv("PATH")
			e.Vars = append(e.Vars, shared.State.Environment(path)...)
			e.Vars = append(e.Vars, "TZ=UTC", "HOME="+e.WorkDir)
			return nil
		},
		Cmds:                stories,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
	})
}

// stories are the commands that these scripts have beside testscript's own.
var stories = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// decision NAME keeps the id of the decision that a refusal tells of.
	"decision": func(ts *testscript.TestScript, _ bool, args []string) {
		found := regexp.MustCompile(`breakglass request (\w+)`).FindStringSubmatch(ts.ReadFile("stderr"))
		if len(args) != 1 || found == nil {
			ts.Fatalf("stderr tells of no decision")
		}
		ts.Setenv(args[0], found[1])
	},
	// shows FILE compares stdout with a file in which what differs from run to run
	// has a name: $ALICE, $TIME, $COMMIT.
	"shows": func(ts *testscript.TestScript, _ bool, args []string) {
		want, got := ts.ReadFile(args[0]), plain(ts)
		if want == got {
			return
		}
		ts.Fatalf("want %s:\n%s\ngot:\n%s", args[0], want, got)
	},
}

var varying = []struct{ pattern, name string }{
	{`file://\S*repo\.git`, "$$REPO"},
	{`[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}(:[0-9]{2})?( UTC)?(, \w+ ago)?`, "$$TIME"},
	{`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z`, "$$TIME"},
	{`[0-9a-f]{40}`, "$$COMMIT"},
	{`(policies +)[0-9a-f]{12}`, "${1}$$DIGEST"},
	{`(replica +)\S+`, "${1}$$REPLICA"},
	{` {3,}`, "  "},
}

func plain(ts *testscript.TestScript) string {
	text := ts.ReadFile("stdout")
	for _, name := range []string{"ALICE", "BOB"} {
		if id := ts.Getenv(name); id != "" {
			text = strings.ReplaceAll(text, id, "$"+name)
		}
	}
	for _, v := range varying {
		text = regexp.MustCompile(v.pattern).ReplaceAllString(text, v.name)
	}
	return text
}
