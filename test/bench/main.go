// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/controlplane"
)

func main() { os.Exit(start()) }

func start() int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	if role := os.Getenv(roleVariable); role != "" {
		if err := serve(ctx, role, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			return 1
		}
		return 0
	}
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// parts of the benchmark, in the order in which they run.
var parts = []string{"decision", "admission", "policy", "profile", "sync"}

// size is a part that runs only where it is named.
const size = "size"

// bench is one run.
type bench struct {
	ctx      context.Context
	progress io.Writer
	dir      string
	objects  int
	first    int
	rounds   int
	samples  int
	profile  string
	cluster  *controlplane.Cluster
	// bare is the size of a replica that holds nothing.
	bare   residence
	stops  []func()
	report report
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	testing.Init() // testing.Benchmark reads its flags.
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	output := flags.String("o", "table", "table or json")
	b := &bench{ctx: ctx, progress: os.Stderr}
	flags.IntVar(&b.objects, "objects", 10000, "objects that are held while reverts are measured")
	flags.IntVar(&b.first, "first", 2000, "objects of a first apply")
	flags.IntVar(&b.rounds, "rounds", 3, "rounds of a first apply")
	flags.IntVar(&b.samples, "samples", 3000, "requests of each kind")
	flags.StringVar(&b.profile, "profile", "", "folder for CPU and allocation profiles of what is measured in process")
	if err := flags.Parse(args); err != nil {
		return err
	}
	part := os.Getenv("BENCH")
	if part != "" && part != size && !slices.Contains(parts, part) {
		return fmt.Errorf("there is no part BENCH=%s, only %s and %s", part, strings.Join(parts, ", "), size)
	}
	if *output != "table" && *output != "json" {
		return fmt.Errorf("there is no output %q, only table and json", *output)
	}
	if b.dir, err = os.MkdirTemp("", "mainstay-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	for _, p := range append(slices.Clone(parts), size) {
		if p == size && part != size {
			continue
		}
		if part != "" && part != p {
			continue
		}
		b.say("measuring %s", p)
		if err := b.measure(p); err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			return errors.Join(fmt.Errorf("%s: %w", p, err), b.print(*output, out)) // what was measured until then
		}
	}
	return b.print(*output, out)
}

func (b *bench) print(output string, out io.Writer) error {
	if output == "json" {
		return b.report.json(out)
	}
	return b.report.table(out)
}

func (b *bench) measure(part string) error {
	switch part {
	case "decision":
		return b.decision()
	case "admission":
		return b.admission()
	case "policy":
		return b.policy()
	case "profile":
		return b.profiles()
	case size:
		return b.sizes(slices.Compact([]int{few, 10000, b.objects})...)
	default:
		return b.sync()
	}
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
}

// server starts the control plane at the first call.
func (b *bench) server() (*controlplane.Cluster, error) {
	if b.cluster != nil {
		return b.cluster, nil
	}
	binaries, err := controlplane.Build(b.ctx, controlplane.BuildOptions{Progress: b.progress})
	if err != nil {
		return nil, err
	}
	b.say("starting the control plane")
	// Without controllers: they would take part in what is measured.
	b.cluster, err = controlplane.Start(b.ctx, controlplane.Options{
		Dir: filepath.Join(b.dir, "control-plane"), Binaries: binaries, WithoutControllerManager: true,
	})
	if err != nil {
		return nil, err
	}
	return b.cluster, controlplane.Install(b.ctx, b.cluster.RESTConfig(controlplane.Admin), definitions())
}

// stop ends what the run started, also after an interruption.
func (b *bench) stop() error {
	for _, stop := range slices.Backward(b.stops) {
		stop()
	}
	var err error
	if b.cluster != nil {
		killed, cancel := context.WithCancel(context.Background())
		cancel() // No grace: nothing of it is wanted any more.
		err = b.cluster.Stop(killed)
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}
