// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain runs the tests, or, as the child of one, a program that starts an
// owned process, says which, and waits.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "starter" {
		p, err := Start(Spec{Name: "sleep", Command: []string{"sleep", "600"}, Log: os.Args[2]})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stdout, p.PID())
		select {}
	}
	os.Exit(m.Run())
}

func start(t *testing.T, spec Spec) *Process {
	t.Helper()
	p, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(context.Background(), 0) })
	return p
}

// await fails the test where a condition does not come to hold.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never happens that %s", what)
		}
	}
}

func TestAnOwnedProcessDiesWithItsStarterHoweverThatEnds(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a process that its starter has ended")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	starter := exec.Command(program, "starter", filepath.Join(t.TempDir(), "log"))
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(line, &pid); err != nil {
		t.Fatal(err)
	}
	child, err := identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Process.Kill(); err != nil { // No chance to clean up.
		t.Fatal(err)
	}
	_ = starter.Wait()
	await(t, "the process ends with its starter", func() bool {
		now, err := identify(pid)
		return err != nil || now != child
	})
}

func TestADetachedProcessIsFoundByItsRecordAndStopped(t *testing.T) {
	dir := t.TempDir()
	recordFile, log := filepath.Join(dir, "sleep.json"), filepath.Join(dir, "log")
	started := start(t, Spec{Name: "sleep", Command: []string{"sleep", "600"}, Log: log, Record: recordFile})
	found, command, ok, err := Find("sleep", recordFile, log)
	if err != nil || !ok {
		t.Fatalf("find: %t, %v, want the process", ok, err)
	}
	if found.PID() != started.PID() || strings.Join(command, " ") != "sleep 600" {
		t.Errorf("found process %d, %q, want %d, sleep 600", found.PID(), command, started.PID())
	}
	if err := found.Stop(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	// Its starter learns of the end when the kernel says so, a moment later.
	await(t, "the process has ended", func() bool { return !started.Running() })
	if _, _, ok, err := Find("sleep", recordFile, log); ok || err != nil {
		t.Errorf("find after stop: %t, %v, want nothing and no error", ok, err)
	}
	if err := found.Stop(t.Context(), time.Minute); err != nil {
		t.Errorf("stop again: %v", err)
	}
}

func TestAProcessThatIgnoresTheRequestToEndIsKilledAfterItsGrace(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p := start(t, Spec{Name: "stubborn", Log: log, Command: []string{
		"sh", "-c", `trap "echo no" TERM; echo ready; while :; do sleep 0.05; done`,
	}})
	await(t, "the program is ready", func() bool { return strings.Contains(p.LogTail(1), "ready") })
	if err := p.Stop(t.Context(), 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if p.Running() {
		t.Error("the process runs after it was stopped")
	}
	if tail := p.LogTail(1); tail != "no" {
		t.Errorf("the log ends with %q, want its answer to the request: it has to be asked first", tail)
	}
}

func TestFindTrustsNoRecordThatFitsNoProcess(t *testing.T) {
	own, err := identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		content string
		found   bool
		fails   bool
	}{
		"the record of a running process finds it":     {content: fmt.Sprintf(`{"pid":%d,"started":%q}`, own.PID, own.Started), found: true},
		"the same id at another time is another":       {content: fmt.Sprintf(`{"pid":%d,"started":"then"}`, own.PID)},
		"an id that nobody has is nobody":              {content: `{"pid":2147483646,"started":"then"}`},
		"the first process of the machine is not ours": {content: `{"pid":1,"started":"then"}`, fails: true},
		"every process of the user is not ours":        {content: `{"pid":-1,"started":"then"}`, fails: true},
		"a broken record is an error, not a guess":     {content: `{"pid":`, fails: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "record")
			if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, found, err := Find("it", file, "")
			if found != test.found || (err != nil) != test.fails {
				t.Errorf("got found %t, error %v; want found %t, an error %t", found, err, test.found, test.fails)
			}
		})
	}
}

func TestALockIsHeldByOneAtATime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(t.Context(), file, func() { t.Error("the first has to wait") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Lock(ctx, file, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("a second lock: got error %v, want to wait until the context ends", err)
	}
	unlock()
	unlock, err = Lock(t.Context(), file, func() { t.Error("the lock is free, and has to be waited for") })
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
