// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/kubectl/pkg/cmd/annotate"
	"k8s.io/kubectl/pkg/cmd/apply"
	"k8s.io/kubectl/pkg/cmd/create"
	deletion "k8s.io/kubectl/pkg/cmd/delete"
	"k8s.io/kubectl/pkg/cmd/get"
	"k8s.io/kubectl/pkg/cmd/label"
	"k8s.io/kubectl/pkg/cmd/patch"
	"k8s.io/kubectl/pkg/cmd/replace"
	"k8s.io/kubectl/pkg/cmd/scale"
	"k8s.io/kubectl/pkg/cmd/set"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

// Kubectl runs kubectl as a user and returns all that it printed.
//
// The commands that tests give most run in this process: they are kubectl's own,
// and a process for each took half of the time of the suites. All others, and
// those of plug-ins, are the program's.
func (w *World) Kubectl(t *testing.T, user, stdin string, args ...string) (string, error) {
	t.Helper()
	args = append([]string{"--context", user}, args...)
	out := new(output)
	if cmd := w.command(out, args); cmd != nil {
		return within(t, cmd, out, stdin, args)
	}
	cmd := exec.CommandContext(Lasting(t), filepath.Join(w.State.Bin, "kubectl"), args...)
	cmd.Env = append(os.Environ(), w.State.Environment(os.Getenv("PATH"))...)
	cmd.Stdin = strings.NewReader(stdin)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// command is the command of args, or nil if it is not one of those that run in
// this process.
func (w *World) command(out io.Writer, args []string) *cobra.Command {
	flags := genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(300).WithDiscoveryQPS(50)
	flags.WrapConfigFn = func(c *rest.Config) *rest.Config {
		c.WarningHandler = rest.NewWarningWriter(out, rest.WarningWriterOptions{Deduplicate: true})
		return c
	}
	*flags.KubeConfig = w.State.Kubeconfig
	*flags.CacheDir = w.State.KubectlCache()
	streams := genericclioptions.IOStreams{In: strings.NewReader(""), Out: out, ErrOut: out}
	f := cmdutil.NewFactory(cmdutil.NewMatchVersionFlags(flags))
	root := &cobra.Command{Use: "kubectl", SilenceErrors: true, SilenceUsage: true}
	flags.AddFlags(root.PersistentFlags())
	root.AddCommand(
		annotate.NewCmdAnnotate("kubectl", f, streams),
		apply.NewCmdApply("kubectl", f, streams),
		create.NewCmdCreate(f, streams),
		deletion.NewCmdDelete(f, streams),
		get.NewCmdGet("kubectl", f, streams),
		label.NewCmdLabel(f, streams),
		patch.NewCmdPatch(f, streams),
		replace.NewCmdReplace(f, streams),
		scale.NewCmdScale(f, streams),
		set.NewCmdSet(f, streams),
	)
	root.SetOut(out)
	root.SetErr(out)
	if found, _, err := root.Find(args); err != nil || found == root || slices.ContainsFunc(args, watches) {
		return nil
	}
	return root
}

// watches tells a flag with which a command lasts until a signal comes.
func watches(arg string) bool { return arg == "-w" || arg == "--watch" || arg == "--watch-only" }

// ended is thrown where the program would end.
type ended struct {
	message string
	code    int
}

func (e ended) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// kubectl says by a function for all of the process what an error ends.
var catching = sync.OnceFunc(func() {
	cmdutil.BehaviorOnFatal(func(message string, code int) { panic(ended{message, code}) })
})

// within runs a command until it ends, or the test does.
func within(t *testing.T, cmd *cobra.Command, out *output, stdin string, args []string) (string, error) {
	t.Helper()
	catching()
	cmd.SetArgs(fromFile(t, stdin, args))
	done := make(chan error, 1)
	go func() { done <- execute(cmd, out) }()
	select {
	case err := <-done:
		return out.String(), err
	case <-Lasting(t).Done():
		return out.String(), Lasting(t).Err()
	}
}

func execute(cmd *cobra.Command, out io.Writer) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		e, ok := p.(ended)
		if !ok {
			panic(p)
		}
		if e.message != "" {
			_, _ = fmt.Fprintln(out, strings.TrimSuffix(e.message, "\n"))
		}
		if err = e; e.code == 0 {
			err = nil
		}
	}()
	if err := cmd.Execute(); err != nil {
		_, _ = fmt.Fprintln(out, "error:", err)
		return ended{code: 1}
	}
	return nil
}

// fromFile has the command read a file where it would read the process's stdin.
func fromFile(t *testing.T, stdin string, args []string) []string {
	t.Helper()
	at := slices.IndexFunc(args, func(arg string) bool { return arg == "-" || arg == "-f-" || arg == "--filename=-" })
	if at < 0 {
		return args
	}
	file, err := os.CreateTemp("", "mainstay-stdin-*.yaml") //nolint:usetesting // t.TempDir has the test's name, and kubectl splits at commas
	Must(t, err)
	t.Cleanup(func() { _ = os.Remove(file.Name()) })
	_, err = file.WriteString(stdin)
	Must(t, errors.Join(err, file.Close()))
	args = slices.Clone(args)
	args[at] = strings.TrimSuffix(args[at], "-") + file.Name()
	return args
}

// output is what a command printed, which may go on after a test has ended.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
