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
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/replicas"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

// suggestion is an exception for what was refused.
type suggestion struct {
	// Name of the package, Words what it permits, as mainstay policy review says it.
	Name  string `json:"name"`
	Words string `json:"words"`
	// Count of the decisions, of which Decisions are some.
	Count     int      `json:"count"`
	Decisions []string `json:"decisions"`
	// Library are policies that ship and are made for it: one of them is better.
	Library []string `json:"library,omitempty"`
	Rego    string   `json:"rego"`
	Test    string   `json:"test"`
	// Written are the files, where it was to be written.
	Written []string `json:"written,omitempty"`
}

// suggestions is what mainstay policy suggest -o json writes.
type suggestions struct {
	Suggestions []suggestion `json:"suggestions"`
	// Left out, by the reason.
	LeftOut map[string]int `json:"leftOut,omitempty"`
}

func newSuggest() *cobra.Command {
	var (
		flags             replicas.Flags
		filter            replicas.Filter
		dir, output, file string
		write             bool
	)
	cmd := &cobra.Command{
		Use:   "suggest [DECISION…]",
		Short: "Write exceptions, with tests, for what was refused",
		Long: `Write an exception, with its test, for what was refused, or would have been in
the modes Observe, Audit and Warn: one for each account, kind, namespace and
operation, with these very paths and names, and no more. Those of a person end
after 30 days.

A suggestion says what happened, not that it is right: say in its reason why it is,
bind the values, or delete it. What a policy of the library is made for is better
switched on. What a deny rule refused is left out: no exception beats it.

Without --write they are printed; with it they become files below --dir, compiled
and with their tests passed. Nothing that is there is touched. --decisions reads
what mainstay decisions export wrote, or the ledger; without it the replicas are
asked.

The status is 0 if there are suggestions, 1 if there is nothing to suggest, and 2
if that could not be found out.`,
		Example: `  mainstay policy suggest 7f3k2ab
  mainstay policy suggest --since 24h --sync shop
  mainstay policy suggest --user system:serviceaccount:ci:deployer --write --dir policies`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, ids []string) error {
			if err := checkOutput(output, "json"); err != nil {
				return unclear(err)
			}
			q, err := filter.Query(flags.Namespace, time.Now())
			if err != nil {
				return unclear(err)
			}
			q.Verdict = string(policy.Refuse)
			groups := newRefusals(ids, time.Now())
			if err := flags.Read(cmd.Context(), file, cmd.InOrStdin(), cmd.ErrOrStderr(), q, groups.add); err != nil {
				return replicas.Verdict(err)
			}
			result, err := groups.suggest(cmd.Context())
			if err != nil {
				return unclear(err)
			}
			if write {
				if err := result.write(dir); err != nil {
					return unclear(err)
				}
			}
			err = report(cmd, output, result, func(w io.Writer) error { result.print(w, cmd.ErrOrStderr(), dir, write); return nil })
			if err != nil {
				return err
			}
			if missing := groups.missing(); missing != nil {
				return unclear(missing)
			}
			if len(result.Suggestions) == 0 {
				return found(errors.New("there is nothing to suggest"))
			}
			return nil
		},
	}
	flags.Add(cmd.Flags())
	filter.AddScope(cmd)
	p := cmd.Flags()
	p.StringVar(&file, "decisions", "", "`FILE` with recorded decisions or the ledger's lines, - for the input; it may be compressed with gzip")
	p.StringVar(&dir, "dir", "policies", "`FOLDER` of the policies")
	p.BoolVar(&write, "write", false, "write them below --dir")
	_ = cmd.MarkFlagDirname("dir")
	outputFlag(cmd, &output, "json")
	return cmd
}

// suggest makes the exceptions, and tries each.
func (g *refusals) suggest(ctx context.Context) (*suggestions, error) {
	out := &suggestions{Suggestions: []suggestion{}, LeftOut: g.leftOut}
	taken := map[string]bool{}
	for _, r := range g.list() {
		name := r.name()
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s_%d", r.name(), n)
		}
		taken[name] = true
		s := suggestion{Name: name, Count: r.count, Decisions: r.decisions, Library: r.library}
		err := errors.Join(formatted(r.rego(name), &s.Rego), formatted(r.test(name), &s.Test), s.try(ctx))
		if err != nil {
			return nil, fmt.Errorf("suggest for decision %s: %w", r.decisions[0], err)
		}
		out.Suggestions = append(out.Suggestions, s)
	}
	return out, nil
}

// formatted writes Rego as opa fmt does.
func formatted(text string, to *string) error {
	out, err := format.SourceWithOpts("suggested.rego", []byte(text), format.Opts{RegoVersion: ast.RegoV1})
	*to = string(out)
	return err
}

// files of a suggestion below a policy folder.
func (s *suggestion) files(dir string) map[string]string {
	folder := filepath.ToSlash(filepath.Join(dir, s.Name))
	return map[string]string{folder + "/" + s.Name + ".rego": s.Rego, folder + "/" + s.Name + "_test.rego": s.Test}
}

// try compiles a suggestion and runs its tests, and puts it into words.
func (s *suggestion) try(ctx context.Context) error {
	engine, err := policy.New(ctx, policy.Options{})
	if err != nil {
		return err
	}
	source := policy.Source{Key: folderKey, Modules: s.files("policies")}
	if err := engine.Check(ctx, source); err != nil {
		return err
	}
	program, err := engine.Compile(ctx, source)
	if err != nil {
		return err
	}
	for _, e := range program.Entries() {
		words := inWords(e)
		s.Words = words.sentence(false)
	}
	return nil
}

// write writes all suggestions, or none where a file is there already.
func (r *suggestions) write(dir string) error {
	for _, s := range r.Suggestions {
		for name := range s.files(dir) {
			if _, err := os.Stat(name); err == nil {
				return fmt.Errorf("%s is there already: nothing was written", name)
			}
		}
	}
	for i := range r.Suggestions {
		s := &r.Suggestions[i]
		files := s.files(dir)
		for _, name := range sortedKeys(files) {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(name, []byte(files[name]), 0o644); err != nil {
				return fmt.Errorf("write %s: %w", name, err)
			}
			s.Written = append(s.Written, name)
		}
	}
	return nil
}

func (r *suggestions) print(out, progress io.Writer, dir string, written bool) {
	for i, s := range r.Suggestions {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "# %s (decision %s): %s\n", times(s.Count), strings.Join(s.Decisions, ", "), s.Words)
		for _, name := range s.Library {
			fmt.Fprintf(out, "# Policy %q of the library is made for this: spec.policies.library: [%s]\n", name, name)
		}
		for _, name := range s.Written {
			fmt.Fprintln(out, "written ", name)
		}
		if !written {
			fmt.Fprintf(out, "\n%s\n%s", s.Rego, s.Test)
		}
	}
	for _, why := range slices.Sorted(mapKeys(r.LeftOut)) {
		fmt.Fprintf(progress, "%s left out: %s\n", count(r.LeftOut[why], "decision"), why)
	}
	switch {
	case len(r.Suggestions) == 0:
	case written:
		fmt.Fprintf(progress, "Next: say in each why it is right, then mainstay policy check %[1]s && mainstay policy test %[1]s\n", dir)
	default:
		fmt.Fprintf(progress, "--write writes them below %s.\n", dir)
	}
}

func times(n int) string {
	if n == 1 {
		return "refused once"
	}
	return fmt.Sprintf("refused %d times", n)
}

// unsuggested tells why nothing can be suggested for a decision.
func unsuggested(r *record.Record) string {
	switch {
	case r.Class == policy.RuleOff || r.Class == policy.RuleSuspended:
		return "a way out decided"
	case r.Class == policy.RuleError:
		return "they could not be judged"
	case r.Class != policy.RuleDefault:
		return "a deny rule refused them: " + r.Rule
	case r.Pod != "":
		return "they are uses of a pod, which deny rules alone refuse"
	case r.Operation == string(policy.Delete) && r.User == nil:
		return "a deletion that was found later can't be permitted"
	}
	return ""
}
