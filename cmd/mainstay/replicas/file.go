// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package replicas

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/reading"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

// Read calls each with the recorded decisions that a query selects, the oldest
// first: those of a file, which may be compressed with gzip, - for in, or where
// the file is empty those that the replicas keep.
func (f *Flags) Read(ctx context.Context, file string, in io.Reader, progress io.Writer, q *reading.Query, each func(record.Record) error) error {
	if file != "" {
		return ReadFile(file, in, q, each)
	}
	c, err := f.Open(progress)
	if err != nil {
		return err
	}
	return c.Decisions(ctx, q, each)
}

// ReadFile calls each with the decisions of a file that a query selects.
func ReadFile(file string, in io.Reader, q *reading.Query, each func(record.Record) error) error {
	name := "the input"
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return err
		}
		defer opened.Close()
		in, name = opened, file
		if strings.HasSuffix(file, ".gz") {
			unzipped, err := gzip.NewReader(opened)
			if err != nil {
				return fmt.Errorf("read %s: %w", file, err)
			}
			in = unzipped
		}
	}
	err := Lines(in, func(r record.Record) error {
		if !q.Matches(&r.Line) {
			return nil
		}
		return each(r)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
