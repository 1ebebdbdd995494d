// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/process"
)

// Options are the options of Start.
type Options struct {
	// Dir is the folder for data, keys, logs and records. Required.
	Dir string
	// Binaries are the programs to run. Required.
	Binaries Binaries
	// Detached makes the control plane outlive this program. It is stopped by
	// the function Stop. Else it ends with this program.
	Detached bool
	// WithoutControllerManager starts etcd and kube-apiserver alone, for
	// tests that need no controllers. Pods then need no service account.
	WithoutControllerManager bool
	// Audit has the API server write down who wrote what, without contents, to
	// logs/audit.log.
	Audit bool
	// ReadyTimeout is the time that the API server has to get ready. Zero: two
	// minutes.
	ReadyTimeout time.Duration
}

// Cluster is a control plane that answers.
type Cluster struct {
	opts  Options
	state *state
	// processes in the order they were started.
	processes []*process.Process
	// kept are the names of those that ran before.
	kept []string
}

// stopGrace is the time that a program has to end by itself.
const stopGrace = 5 * time.Second

// component names, in the order of starting.
const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
)

// What another try may mend.
var (
	// errPortTaken means that another program took a port between the choice
	// and its use.
	errPortTaken = errors.New("a port was taken by another program")
	// errLeft means that a program which ran before ended while the others were
	// started.
	errLeft = errors.New("it ended while the others were started")
)

// Start starts what is not running of the control plane in opts.Dir, and waits
// until it answers. A control plane that ran there before comes back with its
// data, its users' tokens and, where they are free, its ports. On an error
// nothing of it runs.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.Dir == "" || opts.Binaries.Etcd == "" || opts.Binaries.APIServer == "" {
		return nil, errors.New("controlplane: Options.Dir and Options.Binaries are required")
	}
	if opts.ReadyTimeout == 0 {
		opts.ReadyTimeout = 2 * time.Minute
	}
	var err error
	if opts.Dir, err = filepath.Abs(opts.Dir); err != nil {
		return nil, err
	}
	s, err := openState(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", opts.Dir, err)
	}
	unlock, err := process.Lock(ctx, filepath.Join(opts.Dir, lockedFile), func() {})
	if err != nil {
		return nil, fmt.Errorf("start the control plane: %w", err)
	}
	defer unlock()
	for attempt := 1; ; attempt++ {
		c := &Cluster{opts: opts, state: s}
		err := c.start(ctx)
		if err == nil {
			return c, nil
		}
		err = errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
		if attempt == 3 || !errors.Is(err, errPortTaken) && !errors.Is(err, errLeft) {
			return nil, fmt.Errorf("start the control plane: %w", err)
		}
	}
}

func (c *Cluster) start(ctx context.Context) error {
	running, err := findAll(c.opts.Dir)
	if err != nil {
		return err
	}
	if err := c.choosePorts(running); err != nil {
		return err
	}
	if err := c.writeInternalKubeconfig(); err != nil {
		return err
	}
	if err := c.writeAuditPolicy(); err != nil {
		return err
	}
	for _, name := range []string{etcd, apiServer} {
		if err := c.startComponent(ctx, name, running); err != nil {
			return err
		}
	}
	if err := c.awaitReady(ctx, apiServer, c.host()+"/readyz"); err != nil {
		return err
	}
	if c.opts.WithoutControllerManager {
		return nil
	}
	if err := c.startComponent(ctx, controllerManager, running); err != nil {
		return err
	}
	return c.awaitReady(ctx, controllerManager, fmt.Sprintf("https://127.0.0.1:%d/healthz", c.state.Ports.ControllerManager))
}

// found is a detached component that runs.
type found struct {
	process *process.Process
	command []string
}

func findAll(dir string) (map[string]found, error) {
	out := make(map[string]found)
	for _, name := range []string{etcd, apiServer, controllerManager} {
		p, command, ok, err := process.Find(name, recordOf(dir, name), logOf(dir, name))
		if err != nil {
			return nil, err
		}
		if ok {
			out[name] = found{process: p, command: command}
		}
	}
	return out, nil
}

func recordOf(dir, name string) string { return filepath.Join(dir, runDir, name+".json") }
func logOf(dir, name string) string    { return filepath.Join(dir, logsDir, name+".log") }

// choosePorts keeps the ports of what runs, and those of the last time where
// they are free.
func (c *Cluster) choosePorts(running map[string]found) error {
	p := &c.state.Ports
	for _, choice := range []struct {
		owner string
		port  *int
	}{{apiServer, &p.APIServer}, {etcd, &p.Etcd}, {etcd, &p.EtcdPeer}, {controllerManager, &p.ControllerManager}} {
		if _, ok := running[choice.owner]; ok {
			continue
		}
		port, err := FreePort(*choice.port, p.APIServer, p.Etcd, p.EtcdPeer, p.ControllerManager)
		if err != nil {
			return err
		}
		*choice.port = port
	}
	return c.state.save(c.opts.Dir)
}

// startComponent starts a component, unless it runs as it should.
func (c *Cluster) startComponent(ctx context.Context, name string, running map[string]found) error {
	command := c.command(name)
	if old, ok := running[name]; ok {
		if slices.Equal(old.command, command) {
			c.processes = append(c.processes, old.process)
			c.kept = append(c.kept, name)
			return nil
		}
		if err := old.process.Stop(ctx, stopGrace); err != nil {
			return err
		}
	}
	spec := process.Spec{Name: name, Command: command, Log: logOf(c.opts.Dir, name)}
	if c.opts.Detached {
		spec.Record = recordOf(c.opts.Dir, name)
	}
	p, err := process.Start(spec)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	return nil
}

// awaitReady returns when the component says at url that it is ready, or one
// of the programs has ended.
func (c *Cluster) awaitReady(ctx context.Context, name, url string) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.ReadyTimeout)
	defer cancel()
	config := c.RESTConfig(Admin)
	config.Timeout = 5 * time.Second
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		answer := ready(ctx, client, url)
		if answer == nil {
			return nil
		}
		if err := c.anyEnded(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%s is not ready after %s: %w\n%s", name, c.opts.ReadyTimeout, answer,
				process.LogTail(logOf(c.opts.Dir, name), 10))
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s says %s", url, resp.Status)
	}
	return nil
}

// anyEnded reports a program that has ended, with its last words.
func (c *Cluster) anyEnded() error {
	for _, p := range c.processes {
		if p.Running() {
			continue
		}
		tail := p.LogTail(10)
		if strings.Contains(tail, "address already in use") {
			return fmt.Errorf("%s: %w", p.Name(), errPortTaken)
		}
		if slices.Contains(c.kept, p.Name()) {
			return fmt.Errorf("%s: %w; its last words:\n%s", p.Name(), errLeft, tail)
		}
		return fmt.Errorf("%s has ended; its last words:\n%s", p.Name(), tail)
	}
	return nil
}

// Stop ends the programs of the control plane, the last started first, and
// returns when they are gone. Its data stay. It may be called twice.
func (c *Cluster) Stop(ctx context.Context) error {
	var errs []error
	for _, p := range slices.Backward(c.processes) {
		errs = append(errs, p.Stop(ctx, stopGrace))
	}
	return errors.Join(errs...)
}

// Stop stops a detached control plane. One that does not run, or never did, is
// no error.
func Stop(ctx context.Context, dir string) error {
	running, err := findAll(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range []string{controllerManager, apiServer, etcd} {
		if f, ok := running[name]; ok {
			errs = append(errs, f.process.Stop(ctx, stopGrace))
			continue
		}
		if err := os.Remove(recordOf(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
