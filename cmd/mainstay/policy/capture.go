// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/replicas"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

func mapKeys[K comparable, V any](m map[K]V) iter.Seq[K] { return maps.Keys(m) }

func newCapture() *cobra.Command {
	var (
		flags     replicas.Flags
		dir, file string
	)
	cmd := &cobra.Command{
		Use:   "capture DECISION",
		Short: "Make a test of a recorded decision",
		Long: `Make a test of a recorded decision: its input as a fixture in JSON, and a Rego
test of each rule that spoke, which holds as long as the rules say what they said.
For a decision that no rule spoke to, the test says that no exception covers it.

The files are written below --dir, and none that is there is touched. Look at
them before you commit them: values of Secrets are keyed hashes, all others are
as they were.`,
		Example: `  mainstay policy capture 7f3k2ab
  mainstay policy capture 7f3k2ab --dir policies --decisions decisions.jsonl`,
		Args: needArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := (&replicas.Filter{ID: args[0]}).Query("", time.Now())
			if err != nil {
				return unclear(err)
			}
			var one *record.Record
			if file == "" {
				c, err := flags.Open(cmd.ErrOrStderr())
				if err != nil {
					return unclear(err)
				}
				d, err := c.Decision(cmd.Context(), args[0])
				if err != nil {
					return replicas.Verdict(err)
				}
				one = &d.Record
			} else {
				// One that is the same as another needs that one, too.
				all := map[string]*record.Record{}
				q.ID, q.DryRuns = "", true
				err := decisionsFrom(cmd, file, &flags, q, func(_ context.Context, r record.Record) error { all[r.Decision] = &r; return nil })
				if err != nil {
					return unclear(err)
				}
				if one = all[args[0]]; one == nil {
					return found(fmt.Errorf("%s has no decision %s", file, args[0]))
				}
				if first := all[one.SameAs]; one.Basis == nil && first != nil {
					one.Basis = first.Basis
				}
			}
			if one.Basis == nil || len(one.Basis.Input) == 0 {
				return found(fmt.Errorf("what decision %s rests on is not there: %s", args[0], one.Withheld))
			}
			written, err := capture(cmd.Context(), one, dir)
			if err != nil {
				return unclear(err)
			}
			for _, name := range written {
				fmt.Fprintln(cmd.OutOrStdout(), name)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "Try it: mainstay policy test %s\n", dir)
			return nil
		},
	}
	flags.Add(cmd.Flags())
	cmd.Flags().StringVar(&dir, "dir", "policies", "`FOLDER` of the policies")
	cmd.Flags().StringVar(&file, "decisions", "", "`FILE` that mainstay decisions export wrote; the replicas are asked where it is empty")
	return cmd
}

// capture writes the fixture and the test.
func capture(ctx context.Context, one *record.Record, dir string) ([]string, error) {
	source := policy.Source{}
	if read, err := readFolders([]string{dir}); err == nil {
		source = read
	}
	judge, err := newReplayer(ctx, source)
	if err != nil {
		return nil, err
	}
	_, why, err := judge.judge(ctx, one)
	if err != nil {
		return nil, err
	}
	if why != "" {
		return nil, fmt.Errorf("decision %s can't be judged again: %s", one.Decision, why)
	}
	var input bytes.Buffer
	if err := json.Indent(&input, one.Basis.Input, "", "  "); err != nil {
		return nil, fmt.Errorf("decision %s: %w", one.Decision, err)
	}
	input.WriteByte('\n')
	entries, err := entriesOf(ctx, source)
	if err != nil {
		return nil, err
	}
	test, err := captured(one, namesOf(entries), judge.said)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(dir, "captured")
	files := []struct {
		name    string
		content []byte
	}{
		{filepath.Join(folder, one.Decision+".json"), input.Bytes()},
		{filepath.Join(folder, one.Decision+"_test.rego"), test},
	}
	for _, f := range files {
		if _, err := os.Stat(f.name); err == nil {
			return nil, fmt.Errorf("%s is there already: nothing was written", f.name)
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	var written []string
	for _, f := range files {
		out, err := os.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return written, err
		}
		_, err = out.Write(f.content)
		if err := errors.Join(err, out.Close()); err != nil {
			return written, fmt.Errorf("write %s: %w", f.name, err)
		}
		written = append(written, f.name)
	}
	return written, nil
}

// captured is the test: of each package on disk with an entry rule, whether it
// says something of the recorded input.
func captured(one *record.Record, rules []string, said []policy.Answer) ([]byte, error) {
	input, err := json.Marshal(json.RawMessage(one.Basis.Input))
	if err != nil {
		return nil, fmt.Errorf("decision %s: %w", one.Decision, err)
	}
	data := string(one.Basis.Data)
	if data == "" {
		data = "{}"
	}
	spoke := map[string]bool{}
	for _, a := range said {
		spoke[a.Rule] = true
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Captured from decision %s of %s: %s of %s %s.\n", one.Decision, one.Time.UTC().Format(time.RFC3339),
		strings.ToLower(one.Operation), one.Object.Kind, one.Object.Name)
	fmt.Fprintf(&b, "# It was a %s then.\npackage captured_%s_test\n\n", verdictNoun(one.Verdict), one.Decision)
	fmt.Fprintf(&b, "recorded := %s\n\ncluster := %s\n", input, data)
	n := 0
	for _, rule := range rules {
		want := "=="
		if spoke[rule] {
			want = ">"
		}
		n++
		name := strings.NewReplacer(".", "_", "[", "_", "]", "_", `"`, "").Replace(rule)
		fmt.Fprintf(&b, "\ntest_%s if {\n\tcount(data.%s) %s 0 with input as recorded with data.cluster as cluster\n}\n", name, rule, want)
	}
	if n == 0 {
		fmt.Fprintf(&b, "\n# There is no rule yet: say here what the one to come is to do.\ntest_is_about_%s if {\n\trecorded.kind.kind == %q\n}\n",
			strings.ToLower(one.Object.Kind), one.Object.Kind)
	}
	return []byte(b.String()), nil
}

func verdictNoun(verdict string) string {
	switch verdict {
	case "permit":
		return "permit"
	case "correct":
		return "correction"
	}
	return "refusal"
}
