// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// NewCommand returns the command demo. The story, or its result as JSON, goes
// to the command's output, progress to its error output.
func NewCommand() *cobra.Command {
	opts := Options{}
	var output string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Tell what Mainstay does, against a real API server",
		Long: `Tell what Mainstay does as a story in eight steps, in a sandbox of its own: each
step runs real commands, shows what the API server answered, and measures.

The status is 1 if any step did not do what the story says. Nothing is left
running or behind, unless --keep is given; also not on Ctrl-C.`,
		Example: `  mainstay demo
  mainstay demo --keep
  mainstay demo -o json | jq '.steps[] | {name, seconds, measured}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("--output %q is not known: use json, or leave it out", output)
			}
			// SIGPIPE too: a reader that goes away must not leave a cluster behind.
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
			defer stop()
			run := opts
			run.Progress, run.Terminal = cmd.ErrOrStderr(), isTerminal(cmd.ErrOrStderr())
			if output == "" {
				run.Story = cmd.OutOrStdout()
				run.Color = isTerminal(run.Story) && os.Getenv("NO_COLOR") == ""
			}
			result, err := Run(ctx, run)
			if output == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return errors.Join(err, e.Encode(result))
			}
			if err == nil {
				fmt.Fprintf(run.Story, "The story took %.1f s, after %.1f s for starting the sandbox.\n", result.StorySeconds, result.SandboxSeconds)
			}
			if err != nil && len(result.Steps) > 0 && ctx.Err() == nil && !run.Keep {
				fmt.Fprintln(run.Progress, "Run it again with --keep to look at the sandbox.")
			}
			writeNext(run.Story, result)
			return err
		},
	}
	cmd.Flags().StringVar(&opts.Dir, "state", DefaultDir, "folder of the demo's sandbox; it is made new")
	cmd.Flags().BoolVar(&opts.Keep, "keep", false, "leave the sandbox running")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or empty for people")
	return cmd
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// writeNext prints how to use and how to stop a sandbox that was left running.
func writeNext(w io.Writer, result Result) {
	if result.State == nil {
		return
	}
	self := shell(os.Args[0], nil)
	state := shell("--state", []string{result.State.Dir})
	fmt.Fprintf(w, `
The sandbox is still running:
  eval "$(%[1]s sandbox env %[2]s)"     # kubectl, its contexts admin, alice and bob, and MAINSTAY_REPO
  kubectl get gitsync -n %[3]s
  %[1]s sandbox down --purge %[2]s
`, self, state, mainstayNamespace)
}
