// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/reading"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/replicas"
	"github.com/mainstay-gitops/mainstay/policy/audit"
)

// kept is how long replicas keep decisions.
const kept = 24 * time.Hour

// NewCommand returns the command report.
func NewCommand() *cobra.Command {
	var (
		flags        replicas.Flags
		filter       replicas.Filter
		file, output string
	)
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Count who was refused what, and say what would permit it",
		Long: `Count who was refused what, or would have been in the modes Observe, Audit and
Warn, by account, kind and path, and say what would permit it: a policy of the
library that is made for it, an exception that mainstay policy suggest writes, or a
grant. So it tells what has to be settled before a GitSync is switched to Enforce.

All replicas are asked; they keep their last 10,000 decisions for 24 hours. For
more, -f reads the ledger's lines from wherever they are kept. What nobody has
tried is not in it.`,
		Example: `  mainstay report --since 24h --sync shop
  mainstay report -f ledger.jsonl.gz --since 7d
  mainstay report -n shop -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return replicas.Unclear(fmt.Errorf("-o %s is unknown: use json, or leave it out", output))
			}
			now := time.Now()
			q, err := filter.Query(flags.Namespace, now)
			if err != nil {
				return replicas.Unclear(err)
			}
			q.Verdict = "refuse"
			if file == "" && !q.Since.IsZero() && now.Sub(q.Since) > kept {
				fmt.Fprintln(cmd.ErrOrStderr(), "The replicas keep decisions for 24 hours: for more, read the ledger with -f.")
			}
			c := newCounter()
			if err := flags.Read(cmd.Context(), file, cmd.InOrStdin(), cmd.ErrOrStderr(), q, c.add); err != nil {
				return replicas.Verdict(err)
			}
			return c.result().write(cmd.OutOrStdout(), output, q)
		},
	}
	flags.Add(cmd.Flags())
	filter.AddScope(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "read the ledger's lines from a `FILE`, or - for the input")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or empty for people")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (r *Report) write(out io.Writer, format string, q *reading.Query) error {
	if !q.Since.IsZero() {
		since := q.Since.UTC()
		r.Since = &since
	}
	if format == "json" {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	if r.Decisions == 0 {
		_, err := fmt.Fprintln(out, "Nothing was refused, and nothing would have been.")
		return err
	}
	sentence := plural(r.Decisions-r.Would, "change was refused", "changes were refused")
	switch {
	case r.Would == r.Decisions:
		sentence = plural(r.Would, "change would have been refused", "changes would have been refused")
	case r.Would > 0:
		sentence += fmt.Sprintf(", and %d would have been", r.Would)
	}
	fmt.Fprintf(out, "%s: %s, %s.\n\n", sentence, plural(r.Accounts, "account", "accounts"), plural(r.Objects, "object", "objects"))
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join([]string{"COUNT", "ACCOUNT", "OPERATION", "KIND", "PATH", "OBJECTS", "LAST", "WOULD PERMIT IT"}, "\t"))
	for _, row := range r.Rows {
		account := cmp.Or(row.Account, "drift")
		if row.Manager != "" {
			account = "drift, manager " + row.Manager
		}
		objects := strings.Join(row.Objects, ", ")
		if row.MoreObjects > 0 {
			objects += fmt.Sprintf(" and %d more", row.MoreObjects)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.Count, audit.Cut(account, 80), row.Operation, row.Kind,
			cmp.Or(row.Path, "-"), objects, row.Last.Local().Format("2006-01-02 15:04"), row.Permit)
	}
	return w.Flush()
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
