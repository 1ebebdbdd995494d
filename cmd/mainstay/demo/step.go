// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Step is one step of the story, as it happened.
type Step struct {
	// Name is short and stays the same, for programs.
	Name string `json:"name"`
	// Title says what happens.
	Title string `json:"title"`
	// Commands are what was run, in order.
	Commands []Command `json:"commands"`
	// Measured are the times that matter.
	Measured []Measured `json:"measured,omitempty"`
	// Notes say what else has to be known.
	Notes []string `json:"notes,omitempty"`
	// Seconds is the time that the whole step took.
	Seconds float64 `json:"seconds"`
	// Error says what was expected and what happened instead.
	Error string `json:"error,omitempty"`
}

// Command is one command and its answer.
type Command struct {
	// Run can be pasted into a shell.
	Run string `json:"run"`
	// Answer is what it printed, whole.
	Answer string `json:"answer"`
	// Exit is its exit status.
	Exit    int     `json:"exit"`
	Seconds float64 `json:"seconds"`
}

// Measured is one time.
type Measured struct {
	What    string  `json:"what"`
	Seconds float64 `json:"seconds"`
}

// step is one step of the story, as it is written.
type step struct {
	name, title string
	play        func(ctx context.Context, s *stage) error
}

// runSteps plays the steps until one fails, and returns those it played.
func runSteps(ctx context.Context, steps []step, timeout time.Duration, out *printer) ([]*Step, error) {
	var played []*Step
	for i, st := range steps {
		done := &Step{Name: st.name, Title: st.title, Commands: []Command{}}
		played = append(played, done)
		out.title(i+1, st.title)
		began := time.Now()
		err := play(ctx, st, timeout, &stage{step: done, out: out})
		done.Seconds = time.Since(began).Seconds()
		if err == nil {
			out.done()
			continue
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("step %d (%s) was interrupted: %w", i+1, st.name, context.Cause(ctx))
		} else {
			err = fmt.Errorf("step %d (%s), %s: %w", i+1, st.name, st.title, err)
		}
		done.Error = err.Error()
		out.failed()
		return played, err
	}
	return played, nil
}

func play(ctx context.Context, st step, timeout time.Duration, s *stage) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return st.play(ctx, s)
}

// stage is where a step plays: it records and prints.
type stage struct {
	step *Step
	out  *printer
}

// run runs a command as a process and returns what it answered. Only a command
// that could not be run, or was interrupted, is an error.
func (s *stage) run(ctx context.Context, cmd *exec.Cmd, shown string) (Command, error) {
	s.out.command(shown)
	began := time.Now()
	output, err := cmd.CombinedOutput()
	elapsed := time.Since(began)
	var exit *exec.ExitError
	if err != nil && (ctx.Err() != nil || !errors.As(err, &exit)) {
		return Command{}, fmt.Errorf("run %s: %w", shown, errors.Join(err, context.Cause(ctx)))
	}
	return s.answered(Command{
		Run: shown, Answer: strings.TrimRight(string(output), "\n"), Exit: cmd.ProcessState.ExitCode(), Seconds: elapsed.Seconds(),
	}), nil
}

// answered records a command that is over.
func (s *stage) answered(c Command) Command {
	s.step.Commands = append(s.step.Commands, c)
	s.out.answer(c)
	return c
}

// note records what else has to be known.
func (s *stage) note(text string) {
	s.step.Notes = append(s.step.Notes, text)
	s.out.note(text)
}

// measured records a time.
func (s *stage) measured(elapsed time.Duration, format string, args ...any) {
	m := Measured{What: fmt.Sprintf(format, args...), Seconds: elapsed.Seconds()}
	s.step.Measured = append(s.step.Measured, m)
	s.out.measured(m)
}

// says returns an error unless the command succeeded and its answer contains
// each of parts.
func (c Command) says(parts ...string) error {
	if c.Exit != 0 {
		return fmt.Errorf("expected %s to succeed; it ended with status %d: %s", c.Run, c.Exit, c.Answer)
	}
	return c.contains(parts)
}

// refused returns an error unless the command failed and its answer contains
// each of parts.
func (c Command) refused(parts ...string) error {
	if c.Exit == 0 {
		return fmt.Errorf("expected %s to be refused; it succeeded: %s", c.Run, c.Answer)
	}
	return c.contains(append([]string{"is held by git"}, parts...))
}

func (c Command) contains(parts []string) error {
	for _, part := range parts {
		if !strings.Contains(c.Answer, part) {
			return fmt.Errorf("expected the answer to %s to contain %q; it is: %s", c.Run, part, c.Answer)
		}
	}
	return nil
}
