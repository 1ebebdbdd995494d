// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/policy"
)

// benched is what mainstay policy bench -o json writes, and what --baseline
// reads.
type benched struct {
	// Inputs is the number of changes that were judged.
	Inputs int `json:"inputs"`
	// Whole is one decision by all rules together, as the webhook asks them.
	Whole cost `json:"whole"`
	// Policies are the packages, each by itself; Rules their rules.
	Policies []costOf `json:"policies"`
	Rules    []costOf `json:"rules"`
	// Slower are those that cost more than in the baseline by more than the
	// threshold.
	Slower []string `json:"slower,omitempty"`
}

type cost struct {
	Nanoseconds int64 `json:"nanoseconds"`
	Bytes       int64 `json:"bytes"`
	Allocations int64 `json:"allocations"`
}

type costOf struct {
	Name string `json:"name"`
	File string `json:"file,omitempty"`
	Row  int    `json:"row,omitempty"`
	cost
	// Indexed tells that the index of rules can skip the rule.
	Indexed bool `json:"indexed"`
}

type bench struct {
	output    string
	inputs    []string
	baseline  string
	threshold float64
	duration  time.Duration
}

func newBench() *cobra.Command {
	b := new(bench)
	cmd := &cobra.Command{
		Use:   "bench DIR...",
		Short: "Measure what policies cost",
		Long: `Measure what policies cost: one decision by all of them, and each package and
rule by itself. The changes are those of --input, or made up: a Deployment whose image
a person changes, the same as drift, and its deletion.

A rule that the index can't skip is asked about every change of every object; it
is marked, since its cost is paid always.

--baseline compares with what -o json wrote before. The number of allocations is
compared as well as the time: it is the same on every machine.

The status is 0 if it is done, 1 if something is slower than the baseline by more
than --threshold, and 2 if it could not be measured.`,
		Example: `  mainstay policy bench policies
  mainstay policy bench policies --input policies/testdata -o json > bench.json
  mainstay policy bench policies --baseline bench.json --threshold 20`,
	}
	folders(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(b.output, "json"); err != nil {
			return unclear(err)
		}
		result, err := b.run(cmd.Context(), args)
		if err != nil {
			return unclear(err)
		}
		if err := report(cmd, b.output, result, func(w io.Writer) error { b.write(w, result); return nil }); err != nil {
			return err
		}
		if len(result.Slower) > 0 {
			return found(fmt.Errorf("slower than %s by more than %.0f%%: %s", b.baseline, b.threshold, strings.Join(result.Slower, ", ")))
		}
		return nil
	}
	p := cmd.Flags()
	outputFlag(cmd, &b.output, "json")
	p.StringSliceVar(&b.inputs, "input", nil, "input documents, or folders of them")
	p.StringVar(&b.baseline, "baseline", "", "`FILE` that an earlier -o json wrote")
	p.Float64Var(&b.threshold, "threshold", 30, "`PERCENT` by which time or allocations may grow")
	p.DurationVar(&b.duration, "time", 200*time.Millisecond, "how long each is measured")
	return cmd
}

func (b *bench) run(ctx context.Context, dirs []string) (*benched, error) {
	if b.threshold < 0 || b.duration <= 0 {
		return nil, fmt.Errorf("--threshold and --time must be positive")
	}
	var before *benched
	if b.baseline != "" {
		content, err := os.ReadFile(b.baseline)
		if err != nil {
			return nil, fmt.Errorf("read baseline: %w", err)
		}
		before = new(benched)
		if err := json.Unmarshal(content, before); err != nil {
			return nil, fmt.Errorf("read baseline %s: %w", b.baseline, err)
		}
	}
	_, program, err := compileFolders(ctx, dirs)
	if err != nil {
		return nil, err
	}
	inputs, err := b.documents(ctx, program)
	if err != nil {
		return nil, err
	}
	out := &benched{Inputs: len(inputs)}
	measured, err := program.Measure(ctx, inputs, b.duration)
	if err != nil {
		return nil, err
	}
	unindexed := program.Unindexed()
	for _, m := range measured {
		c := cost{m.Elapsed.Nanoseconds(), m.Bytes, m.Allocations}
		switch {
		case m.Name == "":
			out.Whole = c
		case m.Row == 0:
			out.Policies = append(out.Policies, costOf{Name: m.Name, cost: c, Indexed: true})
		default:
			x := costOf{Name: m.Name, File: m.File, Row: m.Row, cost: c, Indexed: true}
			for _, at := range unindexed {
				if at.File == m.File && at.Row == m.Row {
					x.Indexed = false
				}
			}
			out.Rules = append(out.Rules, x)
		}
	}
	if before != nil {
		out.compare(before, b.threshold)
	}
	return out, nil
}

// compare notes what is slower. Times below a microsecond are noise.
func (r *benched) compare(before *benched, threshold float64) {
	grown := func(now, then int64) bool { return float64(now) > float64(then)*(1+threshold/100) }
	note := func(name string, now, then cost) {
		if grown(now.Allocations, then.Allocations+1) || grown(now.Nanoseconds, max(then.Nanoseconds, 1000)) {
			r.Slower = append(r.Slower, name)
		}
	}
	note("all", r.Whole, before.Whole)
	for _, x := range r.Policies {
		if i := slices.IndexFunc(before.Policies, func(o costOf) bool { return o.Name == x.Name }); i >= 0 {
			note(x.Name, x.cost, before.Policies[i].cost)
		}
	}
}

// documents are the inputs to judge.
func (b *bench) documents(ctx context.Context, program *policy.Program) ([][]byte, error) {
	if len(b.inputs) == 0 {
		return program.Samples(ctx)
	}
	var out [][]byte
	for _, name := range b.inputs {
		err := filepath.WalkDir(name, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(file) != ".json" {
				return err
			}
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if _, err := policy.ParseInput(content); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			out = append(out, content)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read inputs: %w", err)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("there is no *.json below %s", strings.Join(b.inputs, ", "))
	}
	return out, nil
}

func (b *bench) write(w io.Writer, r *benched) {
	p := painter(w)
	row := func(name string, c cost, note string) {
		fmt.Fprintf(w, "%-44s %12s %10d B %8d allocs%s\n", name, time.Duration(c.Nanoseconds), c.Bytes, c.Allocations, note)
	}
	fmt.Fprintf(w, "for each of %s:\n", count(r.Inputs, "change"))
	row("all rules together", r.Whole, "")
	for _, x := range r.Policies {
		row(x.Name, x.cost, "")
		for _, rule := range r.Rules {
			if rule.Name == x.Name+".exception" || rule.Name == x.Name+".deny" {
				note := ""
				if !rule.Indexed {
					note = p.yellow("  not indexable")
				}
				row(fmt.Sprintf("  %s:%d", rule.File, rule.Row), rule.cost, note)
			}
		}
	}
	for _, x := range r.Rules {
		if !x.Indexed {
			fmt.Fprintf(w, "%s:%d: warning: the index can't skip it, so every change pays for it (begin with a comparison such as input.kind.kind == \"Deployment\")\n", x.File, x.Row)
		}
	}
}
