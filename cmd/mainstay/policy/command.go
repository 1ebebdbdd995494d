// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/spf13/cobra"

// NewCommand returns the command policy. What was asked for goes to the
// command's output, progress to its error output.
func NewCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Write, check and list policies",
		Long: `Write, check and list policies: the Rego that says which changes to what git
declares may stand.

The status is 0 if it is done or nothing was found, 1 if what was asked about was
found, and 2 if that could not be found out.`,
		Args: cobra.NoArgs,
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return unclear(err) })
	// One line for each command.
	cmd.AddCommand(newNew(), newVendor(), newList())
	cmd.AddCommand(newCheck())
	cmd.AddCommand(newTest())
	cmd.AddCommand(newEval(), newBench())
	cmd.AddCommand(newCapture(), newReplay(), newReview(), newSuggest())
	return cmd
}

// status is an error with the exit status that tells of it.
type status struct {
	error
	code int
}

// ExitCode is what the process ends with.
func (s status) ExitCode() int { return s.code }

// Unwrap is the error itself.
func (s status) Unwrap() error { return s.error }

// found is an error that is the answer to what was asked.
func found(err error) error { return status{err, 1} }

// unclear is an error that tells nothing about what was asked.
func unclear(err error) error { return status{err, 2} }
