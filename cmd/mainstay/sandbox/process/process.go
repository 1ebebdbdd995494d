// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Spec describes a process to start.
type Spec struct {
	// Name is used in messages.
	Name string
	// Command is the path of the program and its arguments.
	Command []string
	// Log is the file that the process's output is appended to.
	Log string
	// Record is the file that describes a detached process. Empty: the process
	// is owned by the caller.
	Record string
}

// Process is a process that was started or found.
type Process struct {
	name   string
	log    string
	record string
	id     Identity
	handle *os.Process
	// exited is closed when the process has ended; nil where the process is
	// not a child of this program, and has to be looked at.
	exited chan struct{}
}

// Start starts the process that spec describes. It returns when the program is
// running, and says nothing about whether it stays so: see Running.
func Start(spec Spec) (*Process, error) {
	if len(spec.Command) == 0 || spec.Log == "" {
		return nil, errors.New("process: Spec.Command and Spec.Log are required")
	}
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(spec.Command[0], spec.Command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownedAttributes()
	if spec.Record != "" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	exited, err := startAndReap(cmd)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p := &Process{name: spec.Name, log: spec.Log, record: spec.Record, handle: cmd.Process, exited: exited}
	if spec.Record == "" {
		return p, nil
	}
	p.id, err = identify(cmd.Process.Pid)
	if err == nil {
		err = writeRecord(spec.Record, record{Identity: p.id, Command: spec.Command})
	}
	if err != nil {
		// What has no record could never be stopped again.
		_ = cmd.Process.Kill()
		<-exited
		return nil, fmt.Errorf("start %s: record it: %w", spec.Name, err)
	}
	return p, nil
}

// startAndReap starts cmd from an operating system thread that lives as long
// as the process: the kernel delivers the parent's death signal when the
// thread that started the process ends, not when the program does.
func startAndReap(cmd *exec.Cmd) (chan struct{}, error) {
	started, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // How it ended is in its log.
		close(exited)
	}()
	return exited, <-started
}

// Find returns the process that a record describes. It returns false where
// there is no record, or the process of the record has ended.
func Find(name, recordFile, log string) (*Process, []string, bool, error) {
	r, err := readRecord(recordFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, false, nil
	}
	if err != nil {
		return nil, nil, false, fmt.Errorf("find %s: %w", name, err)
	}
	// The handle is taken before the identity is checked, so that it cannot
	// come to mean another process between the check and a signal.
	handle, err := os.FindProcess(r.PID)
	if err != nil {
		return nil, nil, false, nil //nolint:nilerr // No such process is an answer.
	}
	p := &Process{name: name, log: log, record: recordFile, id: r.Identity, handle: handle}
	if !p.Running() {
		_ = handle.Release()
		return nil, nil, false, nil
	}
	return p, r.Command, true, nil
}

// Name returns the name that the process has in messages.
func (p *Process) Name() string { return p.name }

// PID returns the process's id.
func (p *Process) PID() int { return p.handle.Pid }

// Running says whether the process is still there. A zombie is not.
func (p *Process) Running() bool {
	if p.exited != nil {
		select {
		case <-p.exited:
			return false
		default:
			return true
		}
	}
	now, err := identify(p.id.PID)
	return err == nil && now == p.id
}

// Stop asks the process to end, kills it after grace, and returns when it is
// gone and its record removed. A context that ends shortens the grace, never
// the work.
func (p *Process) Stop(ctx context.Context, grace time.Duration) error {
	if grace > 0 && p.Running() {
		_ = p.handle.Signal(syscall.SIGTERM)
		p.await(ctx, grace)
	}
	if p.Running() {
		if err := p.handle.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop %s (process %d): %w", p.name, p.PID(), err)
		}
		p.await(context.WithoutCancel(ctx), 10*time.Second)
	}
	if p.Running() {
		return fmt.Errorf("stop %s: process %d survives being killed", p.name, p.PID())
	}
	if p.record != "" {
		if err := os.Remove(p.record); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("stop %s: %w", p.name, err)
		}
	}
	return nil
}

// await returns when the process has ended, the time is up or ctx is done.
func (p *Process) await(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for p.Running() {
		select {
		case <-ctx.Done():
			return
		case <-p.exited: // Blocks for ever where it is nil.
			return
		case <-tick.C:
		}
	}
}

// LogTail returns the last lines of the process's log, for an error message.
func (p *Process) LogTail(lines int) string { return LogTail(p.log, lines) }

// LogTail returns the last lines of a log file, or the reason why it cannot.
func LogTail(file string, lines int) string {
	const most = 64 << 10
	f, err := os.Open(file)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	start := max(0, info.Size()-most)
	tail := make([]byte, info.Size()-start)
	n, _ := f.ReadAt(tail, start)
	all := strings.Split(strings.TrimRight(string(tail[:n]), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
