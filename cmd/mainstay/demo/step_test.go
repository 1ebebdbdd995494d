// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox"
	"github.com/mainstay-gitops/mainstay/policy"
)

func says(answer string) step {
	return step{"says", "It says " + answer, func(ctx context.Context, s *stage) error {
		c, err := s.run(ctx, exec.CommandContext(ctx, "sh", "-c", `printf "$0\n"; exit 3`, answer), "say "+answer)
		if err != nil {
			return err
		}
		s.measured(1500*time.Millisecond, "to %s", answer)
		return c.refused()
	}}
}

func TestStepsArePlayedUntilOneFails(t *testing.T) {
	var story, progress strings.Builder
	steps := []step{
		says("web is held by git"),
		says("hello"),
		{"never", "It is never played", func(context.Context, *stage) error { panic("played") }},
	}
	played, err := runSteps(t.Context(), steps, time.Minute, newPrinter(Options{Story: &story, Progress: &progress}))
	const wantErr = `step 2 (says), It says hello: expected the answer to say hello to contain "is held by git"; it is: hello`
	if err == nil || err.Error() != wantErr {
		t.Errorf("got the error %v, want %s", err, wantErr)
	}
	want := []*Step{{
		Name: "says", Title: "It says web is held by git",
		Commands: []Command{{Run: "say web is held by git", Answer: "web is held by git", Exit: 3}},
		Measured: []Measured{{"to web is held by git", 1.5}},
	}, {
		Name: "says", Title: "It says hello",
		Commands: []Command{{Run: "say hello", Answer: "hello", Exit: 3}},
		Measured: []Measured{{"to hello", 1.5}},
		Error:    wantErr,
	}}
	if diff := cmp.Diff(want, played, cmpopts.IgnoreFields(Step{}, "Seconds"), cmpopts.IgnoreFields(Command{}, "Seconds")); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	for _, part := range []string{"1. It says", "$ say hello\n     hello\n     [exit 3 after ", "→ 1.50 s to hello", "FAILED"} {
		if !strings.Contains(story.String(), part) {
			t.Errorf("the story has no %q:\n%s", part, story.String())
		}
	}
	if strings.Contains(story.String(), "\x1b") {
		t.Errorf("the story has colours that nobody asked for: %q", story.String())
	}
}

func TestAStepThatTakesTooLongFails(t *testing.T) {
	slow := step{"slow", "It sleeps", func(ctx context.Context, s *stage) error {
		_, err := s.run(ctx, exec.CommandContext(ctx, "sleep", "60"), "sleep 60")
		return err
	}}
	_, err := runSteps(t.Context(), []step{slow}, 10*time.Millisecond, newPrinter(Options{Story: &strings.Builder{}}))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "step 1 (slow)") {
		t.Errorf("got %v, want the deadline and the step's name", err)
	}
}

func TestAnInterruptedStepSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	interrupted := step{"wait", "It waits", func(stepCtx context.Context, _ *stage) error {
		cancel()
		<-stepCtx.Done()
		return stepCtx.Err()
	}}
	_, err := runSteps(ctx, []step{interrupted}, time.Minute, newPrinter(Options{Story: &strings.Builder{}}))
	if err == nil || !strings.Contains(err.Error(), "was interrupted") {
		t.Errorf("got %v, want that it was interrupted", err)
	}
}

func TestALongAnswerIsCutForPeopleAlone(t *testing.T) {
	var story strings.Builder
	s := &stage{step: &Step{}, out: newPrinter(Options{Story: &story})}
	answer := strings.TrimSpace(strings.Repeat("line\n", maxLines+3))
	s.answered(Command{Run: "x", Answer: answer})
	if got := strings.Count(story.String(), "line\n"); got != maxLines {
		t.Errorf("%d lines are shown, want %d", got, maxLines)
	}
	if !strings.Contains(story.String(), "… and 3 more lines") {
		t.Errorf("nothing says that the answer was cut:\n%s", story.String())
	}
	if s.step.Commands[0].Answer != answer {
		t.Error("the record was cut, too")
	}
}

func TestShownCommandsCanBePasted(t *testing.T) {
	args := []string{"-n", "it's", "", `$HOME "x"`, "a=b/c:1"}
	const want = `printf -n 'it'\''s' '' '$HOME "x"' a=b/c:1`
	if got := shell("printf", args); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestASandboxThatIsNotTheDemosIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/sandbox.json", []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Run(t.Context(), Options{Dir: dir, Controller: []string{"false"}})
	if err == nil || !strings.Contains(err.Error(), "not the demo's") {
		t.Errorf("got %v, want that the sandbox is not the demo's", err)
	}
	if _, err := sandbox.Load(dir); err != nil {
		t.Errorf("the sandbox is gone: %v", err)
	}
}

func TestThePoliciesOfTheStoryPassTheirTests(t *testing.T) {
	modules := map[string]string{}
	for _, file := range []string{policyFile, testFile} {
		content, err := policies.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		modules[file] = string(content)
	}
	engine, err := policy.New(t.Context(), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := engine.Load(t.Context(), policy.Source{Key: "gitsync/" + mainstayNamespace + "/shop", Modules: modules})
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded.Rules) != 1 || loaded.Tests != 3 {
		t.Errorf("got %d rules and %d tests, want 1 and 3", len(loaded.Rules), loaded.Tests)
	}
}
