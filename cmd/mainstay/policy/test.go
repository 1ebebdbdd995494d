// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/policy"
)

// tested is what mainstay policy test -o json writes.
type tested struct {
	Passed  int    `json:"passed"`
	Failed  int    `json:"failed"`
	Skipped int    `json:"skipped"`
	Tests   []test `json:"tests"`
	// Coverage in per cent of the lines of all rules; absent unless it was
	// asked for.
	Coverage *float64   `json:"coverage,omitempty"`
	Files    []fileLine `json:"files,omitempty"`
}

type test struct {
	Name    string `json:"name"`
	File    string `json:"file"`
	Row     int    `json:"row"`
	Outcome string `json:"outcome"`
	// Seconds that it took.
	Seconds float64 `json:"seconds"`
	Message string  `json:"message,omitempty"`
	// FailedAt is file:row:col of the first expression that was not true.
	FailedAt   string `json:"failedAt,omitempty"`
	Expression string `json:"expression,omitempty"`
	Output     string `json:"output,omitempty"`
}

type fileLine struct {
	File     string  `json:"file"`
	Coverage float64 `json:"coverage"`
	// NotReached are ranges of lines that no test reached.
	NotReached [][2]int `json:"notReached,omitempty"`
}

type tests struct {
	output    string
	run       string
	coverage  bool
	threshold float64
	verbose   bool
	watch     bool
}

func newTest() *cobra.Command {
	t := new(tests)
	cmd := &cobra.Command{
		Use:   "test DIR...",
		Short: "Run the tests of policies",
		Long: `Run the tests of policies: the rules test_… in files called *_test.rego, with
the library and the sandbox that the controller gives them.

A test that fails is shown with the first expression that was not true and the
values in it, and with what print said. --coverage names the lines of rules that
no test reached.

The status is 0 if all tests passed, 1 if one failed or --threshold was missed,
and 2 if they could not be run.`,
		Example: `  mainstay policy test policies
  mainstay policy test policies --run night_test -v
  mainstay policy test policies --threshold 90
  mainstay policy test policies -o junit > junit.xml
  mainstay policy test policies --watch`,
	}
	folders(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(t.output, "json", "junit", "pretty"); err != nil {
			return unclear(err)
		}
		if t.threshold < 0 || t.threshold > 100 {
			return unclear(fmt.Errorf("--threshold %v: must be between 0 and 100", t.threshold))
		}
		t.coverage = t.coverage || t.threshold > 0
		if t.watch {
			return t.follow(cmd.Context(), cmd, args)
		}
		return t.once(cmd.Context(), cmd, args)
	}
	p := cmd.Flags()
	outputFlag(cmd, &t.output, "json", "junit", "pretty")
	p.StringVarP(&t.run, "run", "r", "", "run only tests whose full name matches this `REGEX`")
	p.BoolVarP(&t.coverage, "coverage", "c", false, "tell which lines of rules no test reached")
	p.Float64Var(&t.threshold, "threshold", 0, "`PERCENT` of lines that tests have to reach")
	p.BoolVarP(&t.verbose, "verbose", "v", false, "show tests that passed, too, and what they print")
	p.BoolVarP(&t.watch, "watch", "w", false, "run again whenever a file changes")
	return cmd
}

func (t *tests) once(ctx context.Context, cmd *cobra.Command, dirs []string) error {
	result, err := t.result(ctx, dirs)
	if load, ok := errors.AsType[*policy.LoadError](err); ok {
		for _, p := range load.Items {
			fmt.Fprintln(cmd.ErrOrStderr(), p)
		}
		return unclear(errors.New("the policies do not compile: mainstay policy check says more"))
	}
	if err != nil {
		return unclear(err)
	}
	switch t.output {
	case "json":
		err = writeJSON(cmd.OutOrStdout(), result)
	case "junit":
		err = writeJUnit(cmd.OutOrStdout(), result)
	default:
		t.write(cmd.OutOrStdout(), result)
	}
	switch {
	case err != nil:
		return unclear(err)
	case result.Failed > 0:
		return found(fmt.Errorf("%s failed", count(result.Failed, "test")))
	case len(result.Tests) == 0 && t.run != "":
		return unclear(fmt.Errorf("no test matches %q", t.run))
	case len(result.Tests) == 0:
		return unclear(fmt.Errorf("there is no test below %s: mainstay policy new shows how one is written", strings.Join(dirs, ", ")))
	case result.Coverage != nil && *result.Coverage < t.threshold:
		return found(fmt.Errorf("tests reach %.1f%% of the lines, --threshold asks for %.1f%%", *result.Coverage, t.threshold))
	}
	return nil
}

func (t *tests) result(ctx context.Context, dirs []string) (*tested, error) {
	source, err := readFolders(dirs)
	if err != nil {
		return nil, err
	}
	_, program, err := compiled(ctx, source)
	if err != nil {
		return nil, err
	}
	trials, lines, err := program.Test(ctx, policy.TrialOptions{Run: t.run, Coverage: t.coverage})
	if err != nil {
		return nil, err
	}
	out := &tested{Tests: []test{}}
	for _, r := range trials {
		x := test{
			Name: r.Name, File: r.File, Row: r.Row, Outcome: r.Outcome, Seconds: r.Elapsed.Seconds(),
			Message: r.Message, Expression: r.Expression, Output: r.Output,
		}
		if r.FailedFile != "" {
			x.FailedAt = fmt.Sprintf("%s:%d:%d", r.FailedFile, r.FailedRow, r.FailedCol)
		}
		switch r.Outcome {
		case "pass":
			out.Passed++
		case "skip":
			out.Skipped++
		default:
			out.Failed++
		}
		out.Tests = append(out.Tests, x)
	}
	if t.coverage {
		out.cover(lines)
	}
	return out, nil
}

func (r *tested) cover(lines []policy.Coverage) {
	covered, all := 0, 0
	for _, l := range lines {
		covered, all = covered+l.Covered, all+l.Covered+l.Missed
		r.Files = append(r.Files, fileLine{File: l.File, Coverage: l.Percent, NotReached: l.Ranges})
	}
	percent := 100.0
	if all > 0 {
		percent = 100 * float64(covered) / float64(all)
	}
	r.Coverage = &percent
}

func (t *tests) write(w io.Writer, r *tested) {
	p := painter(w)
	for _, x := range r.Tests {
		word := map[string]string{"pass": p.green("PASS"), "fail": p.red("FAIL"), "error": p.red("ERROR"), "skip": p.yellow("SKIP")}[x.Outcome]
		bad := x.Outcome == "fail" || x.Outcome == "error"
		if !bad && !t.verbose && x.Outcome != "skip" {
			continue
		}
		fmt.Fprintf(w, "%s:%d: %s %s%s\n", x.File, x.Row, word, x.Name, p.faint(fmt.Sprintf(" (%s)", time.Duration(x.Seconds*float64(time.Second)).Round(time.Microsecond))))
		if x.Message != "" {
			fmt.Fprintln(w, indented(x.Message))
		}
		if x.FailedAt != "" {
			fmt.Fprintf(w, "  not true: %s\n%s\n", x.FailedAt, indented(indented(x.Expression)))
		}
		if x.Output != "" && (bad || t.verbose) {
			fmt.Fprintf(w, "  printed:\n%s\n", indented(indented(strings.TrimRight(x.Output, "\n"))))
		}
	}
	if r.Coverage != nil {
		for _, f := range r.Files {
			for _, n := range f.NotReached {
				fmt.Fprintf(w, "%s:%d: not reached%s\n", f.File, n[0], lines(n))
			}
		}
	}
	fmt.Fprintf(w, "%s: %d passed, %d failed", count(len(r.Tests), "test"), r.Passed, r.Failed)
	if r.Skipped > 0 {
		fmt.Fprintf(w, ", %d skipped", r.Skipped)
	}
	if r.Coverage != nil {
		fmt.Fprintf(w, "; they reach %.1f%% of the lines", *r.Coverage)
	}
	fmt.Fprintln(w)
}

func lines(r [2]int) string {
	if r[0] == r[1] {
		return ""
	}
	return fmt.Sprintf(" (to line %d)", r[1])
}

func indented(text string) string {
	return "  " + strings.ReplaceAll(text, "\n", "\n  ")
}

// follow runs the tests now and after each change of a file, until it is told
// to stop. Files are looked at twice a second: so it works on every file system.
func (t *tests) follow(ctx context.Context, cmd *cobra.Command, dirs []string) error {
	last := ""
	for {
		if now := stamp(dirs); now != last {
			last = now
			if err := t.once(ctx, cmd, dirs); err != nil && ctx.Err() == nil {
				fmt.Fprintln(cmd.ErrOrStderr(), err)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "waiting for a change; ^C ends it")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// stamp changes when a file below one of the folders does.
func stamp(dirs []string) string {
	var b strings.Builder
	for _, dir := range dirs {
		// What can't be read now is read when it has changed.
		_ = filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(name) != ".rego" {
				return nil //nolint:nilerr // see above
			}
			if info, err := entry.Info(); err == nil {
				fmt.Fprintln(&b, name, info.Size(), info.ModTime().UnixNano())
			}
			return nil
		})
	}
	return b.String()
}
