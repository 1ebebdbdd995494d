// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/controlplane"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/process"
)

// Options are the options of Up and Down.
type Options struct {
	// Dir is the folder of the state. Empty: DefaultDir.
	Dir string
	// Empty starts with a repository without the sample.
	Empty bool
	// Purge makes Down delete the state, too.
	Purge bool
	// Controller is the program that runs as the controller, with its first
	// arguments. Empty: this program.
	Controller []string
	// Timeout is the time that the controller has until it holds what git
	// declares. Zero: two minutes.
	Timeout time.Duration
	// Progress receives what is being done. Nil: nobody.
	Progress io.Writer
	// Terminal says that Progress is a terminal.
	Terminal bool
}

func (o Options) withDefaults() (Options, error) {
	dir, err := absolute(o.Dir)
	if err != nil {
		return o, err
	}
	o.Dir = dir
	if len(o.Controller) == 0 {
		program, err := os.Executable()
		if err != nil {
			return o, fmt.Errorf("find this program, to run it as the controller: %w", err)
		}
		o.Controller = []string{program}
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Minute
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o, nil
}

// Up starts the sandbox, or what is not running of one that was started
// before, and returns when its GitSync holds what git declares. On an error,
// and where ctx ends before that, nothing of the sandbox is left running; its
// state stays.
func Up(ctx context.Context, opts Options) (*State, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the sandbox's folder: %w", err)
	}
	unlock, err := lock(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, err := up(ctx, opts)
	if err != nil {
		fmt.Fprintln(opts.Progress, "Stopping what was started.")
		return nil, errors.Join(err, stop(context.WithoutCancel(ctx), opts.Dir))
	}
	return s, nil
}

func lock(ctx context.Context, opts Options) (func(), error) {
	return process.Lock(ctx, filepath.Join(opts.Dir, "up.lock"), func() {
		fmt.Fprintln(opts.Progress, "Waiting for another sandbox command on", opts.Dir)
	})
}

func up(ctx context.Context, opts Options) (*State, error) {
	s, err := load(opts.Dir)
	if errors.Is(err, errNone) {
		s, err = newState(opts.Dir), nil
	}
	if err != nil {
		return nil, err
	}
	bins, err := controlplane.Build(ctx, controlplane.BuildOptions{Progress: opts.Progress, Terminal: opts.Terminal})
	if err != nil {
		return nil, err
	}
	said := step(opts.Progress, "Starting etcd, kube-apiserver and kube-controller-manager")
	cluster, err := controlplane.Start(ctx, controlplane.Options{Dir: opts.Dir, Binaries: bins, Detached: true, Audit: true})
	said(err)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(cluster, bins, opts); err != nil {
		return nil, err
	}
	admin := cluster.RESTConfig(controlplane.Admin)
	controller, running, err := runningController(ctx, s, opts, admin.Host)
	if err != nil {
		return nil, err
	}
	if !running {
		said := step(opts.Progress, "Installing Mainstay's definitions, account and rights")
		err := install(ctx, admin, s)
		said(err)
		if err != nil {
			return nil, err
		}
		if controller, err = startController(ctx, s, cluster, opts); err != nil {
			return nil, err
		}
	}
	said = step(opts.Progress, "Waiting until GitSync "+syncName+" holds what git declares")
	err = awaitHeld(ctx, admin, controller, opts)
	said(err)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// prepare writes the files that a sandbox's user needs.
func (s *State) prepare(cluster *controlplane.Cluster, bins controlplane.Binaries, opts Options) error {
	if err := s.save(); err != nil {
		return fmt.Errorf("write the sandbox's state: %w", err)
	}
	if err := cluster.WriteKubeconfig(s.Kubeconfig); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Bin, 0o700); err != nil {
		return err
	}
	// The second name makes kubectl mainstay of it.
	for name, program := range map[string]string{"kubectl": bins.Kubectl, "mainstay": opts.Controller[0], "kubectl-mainstay": opts.Controller[0]} {
		if err := link(program, filepath.Join(s.Bin, name)); err != nil {
			return err
		}
	}
	return seedRepository(s.Repository, opts.Empty)
}

// link makes a symbolic link anew.
func link(program, name string) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(program, name)
}

// step says what begins, and returns what says how that ended.
func step(w io.Writer, what string) func(error) {
	began := time.Now()
	fmt.Fprintf(w, "%s ... ", what)
	return func(err error) {
		if err != nil {
			fmt.Fprintln(w, "failed")
			return
		}
		fmt.Fprintf(w, "%.1fs\n", time.Since(began).Seconds())
	}
}

// Down stops the sandbox in a folder, and with Options.Purge deletes its state.
// Where there is none, or it does not run, that is no error.
func Down(ctx context.Context, opts Options) error {
	opts, err := opts.withDefaults()
	if err != nil {
		return err
	}
	if _, err := os.Stat(opts.Dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := lock(ctx, opts)
	if err != nil {
		return err
	}
	defer unlock()
	if err := stop(ctx, opts.Dir); err != nil {
		return err
	}
	if opts.Purge {
		return purge(opts.Dir)
	}
	return nil
}

// stop stops the controller first: it would miss the API server.
func stop(ctx context.Context, dir string) error {
	p, _, running, err := findController(dir)
	if err != nil {
		return err
	}
	if running {
		err = p.Stop(ctx, stopGrace)
	} else if err = os.Remove(controllerRecord(dir)); errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, controlplane.Stop(ctx, dir))
}
