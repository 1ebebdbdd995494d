// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// NewCommand returns the command sandbox with up, down and env. People's
// output and JSON go to the command's output, progress to its error output.
func NewCommand() *cobra.Command {
	opts := &Options{}
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Try Mainstay on a real control plane on this machine",
		Long: `A sandbox is etcd, kube-apiserver, kube-controller-manager and Mainstay's
controller in the background of this machine, on free loopback ports, and a git
repository with a small shop that the GitSync "shop" holds.

There are no nodes: Pods are made, and stay Pending. Everything lives in one
folder (--state), and nothing in ~/.kube.`,
		Example: `  mainstay sandbox up
  eval "$(mainstay sandbox env)"
  kubectl --context alice -n shop scale deployment/web --replicas=9
  mainstay sandbox down`,
		Args: cobra.NoArgs,
	}
	cmd.PersistentFlags().StringVar(&opts.Dir, "state", DefaultDir, "folder of the sandbox's state")
	cmd.AddCommand(newUp(opts), newDown(opts), newEnv(opts))
	return cmd
}

func newUp(opts *Options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the sandbox, or start again what is not running of it",
		Long: `Start the sandbox and wait until a declared object is held.

The first time, the control plane is built from its Go modules, which takes some
minutes; later it starts in seconds, with all that was in it. If anything fails,
or on Ctrl-C, nothing is left running.`,
		Example: `  mainstay sandbox up
  mainstay sandbox up --state /tmp/try --empty
  mainstay sandbox up -o json | jq -r .kubeconfig`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			ctx, cancel := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer cancel()
			run := *opts
			run.Progress, run.Terminal = cmd.ErrOrStderr(), isTerminal(cmd.ErrOrStderr())
			began := time.Now()
			state, err := Up(ctx, run)
			if err != nil {
				return err
			}
			fmt.Fprintf(run.Progress, "The sandbox is up after %.1fs.\n", time.Since(began).Seconds())
			if output == "json" {
				return writeJSON(cmd.OutOrStdout(), state)
			}
			return writeNext(cmd.OutOrStdout(), state, run)
		},
	}
	cmd.Flags().BoolVar(&opts.Empty, "empty", false, "start with a repository without the sample")
	cmd.Flags().DurationVar(&opts.Timeout, "timeout", 2*time.Minute, "how long the controller may take until it holds what git declares")
	outputFlag(cmd, &output)
	return cmd
}

func newDown(opts *Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the sandbox",
		Long: `Stop everything that "up" has started. The state stays, and the next "up"
resumes it; with --purge it is deleted. A sandbox that does not run is no error.`,
		Example: `  mainstay sandbox down
  mainstay sandbox down --purge`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			run := *opts
			run.Progress = cmd.ErrOrStderr()
			if err := Down(cmd.Context(), run); err != nil {
				return err
			}
			fmt.Fprintln(run.Progress, "The sandbox is down.")
			return nil
		},
	}
	cmd.Flags().BoolVar(&opts.Purge, "purge", false, "delete the state, too")
	return cmd
}

func newEnv(opts *Options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print the variables that make kubectl and git speak to the sandbox",
		Example: `  eval "$(mainstay sandbox env)"
  git clone "$MAINSTAY_REPO" shop`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			state, err := Load(opts.Dir)
			if err != nil {
				return err
			}
			return writeEnvironment(cmd.OutOrStdout(), state, output)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "", "json, or empty for people")
}

func checkOutput(output string) error {
	if output != "" && output != "json" {
		return fmt.Errorf("--output %q is not known: use json, or leave it out", output)
	}
	return nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func writeJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

func writeEnvironment(w io.Writer, s *State, output string) error {
	if output == "json" {
		values := make(map[string]string)
		for _, variable := range s.Environment(os.Getenv("PATH")) {
			name, value, _ := strings.Cut(variable, "=")
			values[name] = value
		}
		return writeJSON(w, values)
	}
	for _, variable := range s.Environment("") {
		name, value, _ := strings.Cut(variable, "=")
		value = quote(value)
		if name == "PATH" {
			value += `:"$PATH"` // The shell may have changed it since.
		}
		if _, err := fmt.Fprintf(w, "export %s=%s\n", name, value); err != nil {
			return err
		}
	}
	return nil
}

// quote makes one word of a value for a POSIX shell.
func quote(value string) string { return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'" }

// writeNext prints what to do next, in words that can be pasted.
func writeNext(w io.Writer, s *State, opts Options) error {
	self := quoteIfNeeded(os.Args[0]) + " sandbox"
	state := ""
	if opts.Dir != "" && opts.Dir != DefaultDir {
		state = " --state " + quoteIfNeeded(s.Dir)
	}
	try := `  kubectl --context alice -n shop set image deployment/web web=nginx:1.28   # refused: git holds it
  kubectl get gitsync -n ` + namespace + `
`
	if opts.Empty {
		try = ""
	}
	_, err := fmt.Fprintf(w, `
Next:
  eval "$(%[1]s env%[2]s)"     # kubectl, its contexts admin, alice and bob, and MAINSTAY_REPO
%[3]s  git clone "$MAINSTAY_REPO" shop-git     # change it there: a push is live within seconds
  %[1]s down%[2]s
`, self, state, try)
	return err
}

func quoteIfNeeded(word string) string {
	if strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=:@,", r)
	}) {
		return quote(word)
	}
	return word
}
