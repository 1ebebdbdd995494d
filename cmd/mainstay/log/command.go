// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/reading"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/replicas"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

type options struct {
	flags  replicas.Flags
	filter replicas.Filter
	file   string
	output string
	follow bool
	all    bool
	now    time.Time
}

// NewCommand returns the command log.
func NewCommand() *cobra.Command {
	o := new(options)
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Read what was decided about changes",
		Long: `Read what was decided about changes, the oldest first: from all replicas, which
keep their last 10,000 decisions for 24 hours, or with -f from the ledger's lines
wherever they are kept. Lines of other logs among them are skipped.

What one account is refused again and again is one line, with how often. With
-o json each decision is one line, as the ledger and mainstay decisions export
have it.`,
		Example: `  mainstay log --since 1h
  mainstay log --object deploy/web -n shop --verdict refuse
  mainstay log --follow --sync shop
  kubectl -n mainstay-system logs deploy/mainstay | mainstay log -f - --user alice
  mainstay log -f ledger.jsonl --id 7f3k2ab -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.output != "" && o.output != "json" {
				return replicas.Unclear(fmt.Errorf("-o %s is unknown: use json, or leave it out", o.output))
			}
			o.now = time.Now()
			q, err := o.filter.Query(o.flags.Namespace, o.now)
			if err != nil {
				return replicas.Unclear(err)
			}
			q.Follow = o.follow
			return replicas.Verdict(o.run(cmd, q))
		},
	}
	o.flags.Add(cmd.Flags())
	o.filter.Add(cmd)
	p := cmd.Flags()
	p.StringVarP(&o.file, "file", "f", "", "read the ledger's lines from a `FILE`, or - for the input")
	p.StringVarP(&o.output, "output", "o", "", "json, or empty for people")
	p.BoolVar(&o.follow, "follow", false, "go on with what comes")
	p.BoolVar(&o.all, "all", false, "a line for each decision, also for what is refused again and again")
	return cmd
}

func (o *options) run(cmd *cobra.Command, q *reading.Query) error {
	out := cmd.OutOrStdout()
	t := newTable(out, o.now.Location(), o.follow || o.all)
	each := func(r record.Record) error {
		t.add(r)
		return nil
	}
	if o.output == "json" {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		each = func(r record.Record) error { return e.Encode(r) }
	}
	var err error
	if o.follow && o.file != "" && o.file != "-" {
		err = o.tail(cmd.Context(), q, each)
	} else {
		err = o.flags.Read(cmd.Context(), o.file, cmd.InOrStdin(), cmd.ErrOrStderr(), q, each)
	}
	if err != nil {
		return err
	}
	return t.flush(cmd.ErrOrStderr(), o.output == "json")
}

// tail reads the ledger from a file, and goes on with what is written to it.
func (o *options) tail(ctx context.Context, q *reading.Query, each func(record.Record) error) error {
	file, err := os.Open(o.file)
	if err != nil {
		return err
	}
	defer file.Close()
	err = replicas.ReadFile("-", tail{ctx, file}, q, each)
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", o.file, err)
	}
	return nil
}

// tail waits for more at the end of a file.
type tail struct {
	ctx  context.Context //nolint:containedctx // a Reader has none
	file *os.File
}

// Read implements io.Reader.
func (t tail) Read(p []byte) (int, error) {
	for {
		n, err := t.file.Read(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		select {
		case <-t.ctx.Done():
			return 0, io.EOF
		case <-time.After(250 * time.Millisecond):
		}
	}
}
