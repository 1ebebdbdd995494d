// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/process"
)

// DefaultDir is the folder of the demo's sandbox where none is named.
const DefaultDir = sandbox.DefaultDir + "/demo"

// stepTimeout is the time that one step has. Each takes a few seconds.
const stepTimeout = time.Minute

// Options are the options of Run.
type Options struct {
	// Dir is the folder of the sandbox's state. Empty: DefaultDir. A sandbox
	// in it that the demo has not made is an error.
	Dir string
	// Keep leaves the sandbox running, unless Run is interrupted.
	Keep bool
	// Controller is the program that runs as the controller, with its first
	// arguments. Empty: this program.
	Controller []string
	// Story receives the story as it happens. Nil: nobody; Progress then gets
	// its titles.
	Story io.Writer
	// Color says that Story shows colours.
	Color bool
	// Progress receives what is being waited for. Nil: nobody.
	Progress io.Writer
	// Terminal says that Progress is a terminal.
	Terminal bool
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		o.Dir = DefaultDir
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, err
	}
	o.Dir = dir
	if o.Story == nil {
		o.Story = io.Discard
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o, nil
}

// Result is what happened.
type Result struct {
	// OK says that every step did what the story says.
	OK bool `json:"ok"`
	// Steps are those that ran. Only the last may have an error.
	Steps []*Step `json:"steps"`
	// Summary is what the controller's metrics say. Nil where a step failed.
	Summary *Summary `json:"summary,omitempty"`
	// SandboxSeconds is the time that starting the sandbox took.
	SandboxSeconds float64 `json:"sandboxSeconds"`
	// StorySeconds is the time that the steps took.
	StorySeconds float64 `json:"storySeconds"`
	// State is the sandbox that was left running.
	State *sandbox.State `json:"state,omitempty"`
}

// Run tells the story. The error says which step did not do what the story
// says and what was expected; the result then has the steps so far. When Run
// returns nothing is left running and nothing is left in opts.Dir, unless
// opts.Keep is set and ctx has not ended.
func Run(ctx context.Context, opts Options) (result Result, err error) {
	opts, err = opts.withDefaults()
	if err != nil {
		return result, err
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return result, fmt.Errorf("find git, which the demo pushes with: %w: install git", err)
	}
	unlock, err := lock(ctx, opts)
	if err != nil {
		return result, err
	}
	defer unlock()
	if err := sweep(ctx, opts); err != nil {
		return result, err
	}
	defer func() {
		if opts.Keep && ctx.Err() == nil && result.State != nil {
			return
		}
		result.State = nil
		err = errors.Join(err, down(context.WithoutCancel(ctx), opts))
	}()
	began := time.Now()
	state, err := up(ctx, opts)
	result.SandboxSeconds = time.Since(began).Seconds()
	if err != nil {
		return result, err
	}
	result.State = state
	began = time.Now()
	err = tell(ctx, opts, state, git, &result)
	result.StorySeconds = time.Since(began).Seconds()
	result.OK = err == nil
	return result, err
}

func tell(ctx context.Context, opts Options, state *sandbox.State, git string, result *Result) error {
	work, err := os.MkdirTemp("", "mainstay-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for a clone: %w", err)
	}
	defer os.RemoveAll(work)
	s, err := newShop(ctx, state, git, filepath.Join(work, "shop"))
	if err != nil {
		return err
	}
	out := newPrinter(opts)
	result.Steps, err = runSteps(ctx, s.story(), stepTimeout, out)
	if err != nil {
		return err
	}
	summary, err := readSummary(ctx, state.MetricsURL())
	if err != nil {
		return err
	}
	result.Summary = summary
	out.summary(state.MetricsURL(), summary)
	return checkSummary(summary)
}

// marker is a file that only the demo makes. It is in a folder that goes with
// the sandbox.
func marker(dir string) string { return filepath.Join(dir, "run", "demo") }

// lock keeps a second demo from taking the sandbox from under the first.
func lock(ctx context.Context, opts Options) (func(), error) {
	if err := os.MkdirAll(filepath.Dir(opts.Dir), 0o700); err != nil {
		return nil, fmt.Errorf("make the demo's folder: %w", err)
	}
	return process.Lock(ctx, opts.Dir+".lock", func() {
		fmt.Fprintln(opts.Progress, "Waiting for another demo on", opts.Dir)
	})
}

// sweep removes what an earlier demo has left, and nothing else.
func sweep(ctx context.Context, opts Options) error {
	if _, err := os.Stat(marker(opts.Dir)); err == nil {
		return down(ctx, opts)
	}
	if _, err := sandbox.Load(opts.Dir); err == nil {
		return fmt.Errorf("%s holds a sandbox that is not the demo's: name another folder with --state, or delete it with mainstay sandbox down --purge --state %s",
			opts.Dir, opts.Dir)
	}
	return nil
}

func up(ctx context.Context, opts Options) (*sandbox.State, error) {
	if err := os.MkdirAll(filepath.Dir(marker(opts.Dir)), 0o700); err != nil {
		return nil, fmt.Errorf("make the demo's folder: %w", err)
	}
	if err := os.WriteFile(marker(opts.Dir), nil, 0o600); err != nil {
		return nil, fmt.Errorf("mark the demo's folder: %w", err)
	}
	return sandbox.Up(ctx, sandbox.Options{
		Dir: opts.Dir, Controller: opts.Controller, Progress: opts.Progress, Terminal: opts.Terminal,
	})
}

func down(ctx context.Context, opts Options) error {
	err := sandbox.Down(ctx, sandbox.Options{Dir: opts.Dir, Controller: opts.Controller, Purge: true, Progress: opts.Progress})
	if err != nil {
		return fmt.Errorf("stop the demo's sandbox: %w", err)
	}
	return nil
}
