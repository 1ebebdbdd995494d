// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/pitfall"
)

// finding is one thing that is wrong, or worth knowing, in one place.
type finding struct {
	File string `json:"file,omitempty"`
	Row  int    `json:"row,omitempty"`
	Col  int    `json:"col,omitempty"`
	// Level is error, warning or note.
	Level string `json:"level"`
	// Rule is the stable name of what found it.
	Rule    string `json:"rule"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// checked is what mainstay policy check -o json writes.
type checked struct {
	// Rules is the number of exceptions and denials.
	Rules    int       `json:"rules"`
	Errors   int       `json:"errors"`
	Warnings int       `json:"warnings"`
	Notes    int       `json:"notes"`
	Findings []finding `json:"findings"`
	// Regal says whether Regal was asked.
	Regal string `json:"regal"`
}

type check struct {
	output   string
	lint     string
	noNotes  bool
	list     bool
	cluster  bool
	kube     kube
	progress io.Writer
}

func newCheck() *cobra.Command {
	c := new(check)
	cmd := &cobra.Command{
		Use:   "check DIR...",
		Short: "Look for mistakes in policies",
		Long: `Look for mistakes in policies: what keeps them from being loaded (they are
compiled as the controller does it), what compiles and is a mistake all the same,
and what Regal says, where it is installed.

An error keeps the policies from being loaded. A warning is most likely a mistake.
A note is worth knowing. A comment silences a finding where it is wrong: at its
line, above it, or above the rule and its metadata:

  # mainstay ignore:wide-without-end

Paths are checked against the fields of their kind, where a rule names one:
Kubernetes' own kinds are known, others are asked for with --cluster. Tests are
compiled, and not run.

The status is 0 without errors and warnings, 1 with, and 2 if there is nothing to
check.`,
		Example: `  mainstay policy check policies
  mainstay policy check policies --lint=require -o json
  mainstay policy check policies --cluster --context admin
  mainstay policy check --list`,
	}
	folders(cmd)
	args := cmd.Args
	cmd.Args = func(cmd *cobra.Command, given []string) error {
		if c.list {
			return nil
		}
		return args(cmd, given)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(c.output, "json"); err != nil {
			return unclear(err)
		}
		if !slices.Contains([]string{"auto", "require", "off"}, c.lint) {
			return unclear(fmt.Errorf("--lint=%s is unknown: use auto, require or off", c.lint))
		}
		if c.list {
			return listRules(cmd.OutOrStdout(), c.output)
		}
		c.progress = cmd.ErrOrStderr()
		result, err := c.run(cmd.Context(), args)
		if err != nil {
			return unclear(err)
		}
		if err := c.write(cmd.OutOrStdout(), result); err != nil {
			return unclear(err)
		}
		if result.Errors+result.Warnings > 0 {
			return found(fmt.Errorf("%s and %s in %s", count(result.Errors, "error"), count(result.Warnings, "warning"), strings.Join(args, ", ")))
		}
		return nil
	}
	p := cmd.Flags()
	outputFlag(cmd, &c.output, "json")
	p.StringVar(&c.lint, "lint", "auto", "Regal: auto (where it is on the PATH), require, or off")
	p.BoolVar(&c.noNotes, "no-notes", false, "leave notes out")
	p.BoolVar(&c.list, "list", false, "list what is looked for")
	p.BoolVar(&c.cluster, "cluster", false, "learn the fields of other kinds from the cluster")
	c.kube.flags(p)
	_ = cmd.RegisterFlagCompletionFunc("lint", cobra.FixedCompletions([]string{"auto", "require", "off"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func listRules(w io.Writer, output string) error {
	if output == "json" {
		type rule struct {
			Rule  string `json:"rule"`
			Level string `json:"level"`
			Title string `json:"title"`
		}
		var out []rule
		for _, r := range pitfall.Rules() {
			out = append(out, rule{r.Name, string(r.Level), r.Title})
		}
		return writeJSON(w, out)
	}
	for _, r := range pitfall.Rules() {
		fmt.Fprintf(w, "%-24s %-8s %s\n", r.Name, r.Level, r.Title)
	}
	return nil
}

func (c *check) run(ctx context.Context, dirs []string) (*checked, error) {
	source, err := readFolders(dirs)
	if err != nil {
		return nil, err
	}
	var schemas pitfall.Schemas
	if c.cluster {
		if schemas, err = c.kube.schemas(); err != nil {
			return nil, err
		}
	}
	out := &checked{Findings: []finding{}}
	found, rules, err := examine(ctx, source, schemas, time.Now())
	if err != nil {
		return nil, err
	}
	out.Rules = rules
	linted, regal, err := lintWithRegal(ctx, c.lint, dirs)
	if err != nil {
		return nil, err
	}
	out.Regal = regal
	for _, x := range append(found, linted...) {
		switch x.Level {
		case "error":
			out.Errors++
		case "warning":
			out.Warnings++
		default:
			if c.noNotes {
				continue
			}
			out.Notes++
		}
		out.Findings = append(out.Findings, x)
	}
	return out, nil
}

// examine looks at one source: what keeps it from being loaded, or else what
// compiles and is a mistake all the same. It counts the entry rules as well.
func examine(ctx context.Context, source policy.Source, schemas pitfall.Schemas, now time.Time) ([]finding, int, error) {
	_, program, err := compiled(ctx, source)
	if err != nil {
		found, err := errorsOf(err)
		return found, 0, err
	}
	out, err := errorsOf(program.CompileTests())
	if err != nil {
		return nil, 0, err
	}
	for _, x := range pitfall.Find(pitfall.Options{
		Modules: program.Modules(), Unindexed: program.Unindexed(), Schemas: schemas, Now: now,
	}) {
		out = append(out, finding{x.File, x.Row, x.Col, string(x.Level), x.Rule, x.Message, x.Hint})
	}
	return out, len(program.Entries()), nil
}

// errorsOf turns what keeps policies from being loaded into findings; any other
// error stays one.
func errorsOf(err error) ([]finding, error) {
	if err == nil {
		return nil, nil
	}
	load, ok := errors.AsType[*policy.LoadError](err)
	if !ok {
		return nil, err
	}
	var out []finding
	for _, p := range load.Items {
		rule := p.Rule
		if rule == "" {
			rule = "contract"
		}
		out = append(out, finding{p.File, p.Row, p.Col, "error", rule, p.Message, p.Hint})
	}
	return out, nil
}

func (c *check) write(w io.Writer, r *checked) error {
	if c.output == "json" {
		return writeJSON(w, r)
	}
	p := painter(w)
	for _, x := range r.Findings {
		level := p.faint(x.Level)
		switch x.Level {
		case "error":
			level = p.red(x.Level)
		case "warning":
			level = p.yellow(x.Level)
		}
		fmt.Fprintf(w, "%s%s: %s%s %s\n", place(x), level, x.Message, hinted(x.Hint), p.faint("["+x.Rule+"]"))
	}
	fmt.Fprintf(w, "%s: %s, %s, %s\n", count(r.Rules, "rule"), count(r.Errors, "error"), count(r.Warnings, "warning"), count(r.Notes, "note"))
	if strings.HasPrefix(r.Regal, "not ") {
		fmt.Fprintln(c.progress, r.Regal)
	}
	return nil
}

func place(x finding) string {
	if x.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d:%d: ", x.File, max(x.Row, 1), max(x.Col, 1))
}

func hinted(hint string) string {
	if hint == "" {
		return ""
	}
	return " (" + hint + ")"
}
