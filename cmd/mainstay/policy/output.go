// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// outputFlag adds -o, with its completion. formats are those beside the one for
// people, which is the empty one.
func outputFlag(cmd *cobra.Command, output *string, formats ...string) {
	cmd.Flags().StringVarP(output, "output", "o", "", strings.Join(formats, " or ")+"; text for people where it is empty")
	// The flag exists: it was made just now.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

func checkOutput(output string, formats ...string) error {
	if output != "" && !slices.Contains(formats, output) {
		return fmt.Errorf("-o %s is unknown: use %s, or leave it out", output, strings.Join(formats, " or "))
	}
	return nil
}

// needArgs is a check of arguments whose error tells nothing about what was
// asked.
func needArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return unclear(fmt.Errorf("%w: %s", err, cmd.UseLine()))
		}
		return nil
	}
}

// folders completes folders and says that at least one is needed.
func folders(cmd *cobra.Command) {
	cmd.Args = needArgs(cobra.MinimumNArgs(1))
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
}

// report writes what came of a command: as JSON where that is asked for, else as
// text says.
func report(cmd *cobra.Command, output string, result any, text func(io.Writer) error) error {
	var err error
	if output == "json" {
		err = writeJSON(cmd.OutOrStdout(), result)
	} else {
		err = text(cmd.OutOrStdout())
	}
	if err != nil {
		return unclear(err)
	}
	return nil
}

// writeJSON writes one indented document.
func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// paint writes in colours on a terminal that wants them.
type paint bool

func painter(w io.Writer) paint {
	file, ok := w.(*os.File)
	return paint(ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd())))
}

func (p paint) in(code, text string) string {
	if !p {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p paint) red(text string) string    { return p.in("31", text) }
func (p paint) yellow(text string) string { return p.in("33", text) }
func (p paint) green(text string) string  { return p.in("32", text) }
func (p paint) faint(text string) string  { return p.in("2", text) }

// count is "1 rule" or "2 rules".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
