// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package decisions

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/replicas"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

// NewCommand returns the command decisions.
func NewCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "decisions", Short: "Take recorded decisions out of a cluster", Args: cobra.NoArgs}
	cmd.AddCommand(newExport())
	return cmd
}

func newExport() *cobra.Command {
	var (
		flags     replicas.Flags
		filter    replicas.Filter
		output    string
		anonymize bool
	)
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write recorded decisions with all that they rest on",
		Long: `Write recorded decisions with all that they rest on, one line of JSON each, the
oldest first: for mainstay policy replay and review, where there is no cluster.

A line has the ledger's members (time, decision, verdict, class, rule, reason,
user, object, changes, uncovered, policies, revision, …) and basis: input as the
policies saw it, sources with the digest of each, data with what they could read
of data.cluster, and the grant that was used. A decision that repeats an earlier
one has sameAs instead. Values of Secrets are keyed hashes. Where you may not get
an object, its values and basis are left out, and withheld says so.

With --anonymize the names of people and of their groups are replaced, the same
by the same: user-1, group-1. Groups and accounts of the system stay, since
policies speak of them; policies that name people then answer otherwise.`,
		Example: `  mainstay decisions export --since 7d > policies/testdata/decisions.jsonl
  mainstay decisions export -n shop --verdict refuse
  mainstay decisions export --anonymize | gzip > decisions.jsonl.gz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "json" {
				return replicas.Unclear(fmt.Errorf("-o %s is unknown: there is json alone", output))
			}
			q, err := filter.Query(flags.Namespace, time.Now())
			if err != nil {
				return replicas.Unclear(err)
			}
			q.Basis = true
			c, err := flags.Open(cmd.ErrOrStderr())
			if err != nil {
				return replicas.Unclear(err)
			}
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetEscapeHTML(false)
			names := newNames()
			n, withheld := 0, 0
			err = c.Decisions(cmd.Context(), q, func(r record.Record) error {
				n++
				if r.Withheld != "" {
					withheld++
				}
				if anonymize {
					if err := names.replace(&r); err != nil {
						return err
					}
				}
				return e.Encode(r)
			})
			if err != nil {
				return replicas.Verdict(err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d decisions", n)
			if withheld > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), ", of which %d without what they rest on: you may not get the objects", withheld)
			}
			fmt.Fprintln(cmd.ErrOrStderr())
			return nil
		},
	}
	flags.Add(cmd.Flags())
	filter.Add(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "json", "json")
	cmd.Flags().BoolVar(&anonymize, "anonymize", false, "replace the names of people")
	return cmd
}
