// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func binaries(t *testing.T) Binaries {
	t.Helper()
	b, err := Build(t.Context(), BuildOptions{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnOwnedControlPlaneAnswersItsUsersAndLeavesNothingRunning(t *testing.T) {
	dir := t.TempDir()
	c, err := Start(t.Context(), Options{Dir: dir, Binaries: binaries(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop(context.Background()) })
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := c.WriteKubeconfig(kubeconfig); err != nil {
		t.Fatal(err)
	}
	for user, groups := range map[string]string{Admin: "system:masters", Alice: Developers, Bob: Developers} {
		got, err := exec.CommandContext(t.Context(), c.opts.Binaries.Kubectl,
			"--kubeconfig", kubeconfig, "--context", user, "auth", "whoami").CombinedOutput()
		if err != nil {
			t.Fatalf("whoami as %s: %v\n%s", user, err, got)
		}
		if !strings.Contains(string(got), user) || !strings.Contains(string(got), groups) {
			t.Errorf("whoami as %s: want the user and the group %s, got\n%s", user, groups, got)
		}
	}
	awaitServiceAccount(t, kubeconfig)

	processes := c.processes
	if len(processes) != 3 {
		t.Fatalf("got %d processes, want etcd, kube-apiserver and kube-controller-manager", len(processes))
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := commandsNaming(t, dir); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
}

// awaitServiceAccount waits for what the controller manager makes.
func awaitServiceAccount(t *testing.T, kubeconfig string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the default service account does not appear: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// commandsNaming returns the running programs whose command line names dir.
func commandsNaming(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Skip("there is no /proc to look at")
	}
	var out []string
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(line), dir) {
			out = append(out, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return out
}

func TestADetachedControlPlaneComesBackAsTheSameOne(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Binaries: binaries(t), Detached: true, WithoutControllerManager: true}
	t.Cleanup(func() { _ = Stop(context.Background(), opts.Dir) })
	first, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range again.processes {
		if p.PID() != first.processes[i].PID() {
			t.Errorf("%s: got process %d, want %d, which was running", p.Name(), p.PID(), first.processes[i].PID())
		}
	}
	// Only what does not run is started.
	if err := first.processes[1].Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(first.RESTConfig(Admin))
	before, err := client.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // The second has nothing to do.
		if err := Stop(t.Context(), opts.Dir); err != nil {
			t.Fatal(err)
		}
	}
	if left := commandsNaming(t, opts.Dir); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
	if _, err := Start(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	// The client of the first run: same port, same token, same data.
	after, err := client.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if before.UID != after.UID {
		t.Errorf("namespace default has uid %s, want %s as before", after.UID, before.UID)
	}
}

func TestAProgramThatEndsIsReportedWithItsLastWordsAndTheRestIsStopped(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho no such flag\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := binaries(t)
	b.APIServer = broken
	_, err := Start(t.Context(), Options{Dir: dir, Binaries: b, Detached: true})
	if err == nil || !strings.Contains(err.Error(), "kube-apiserver") {
		t.Errorf("got error %v, want one that names kube-apiserver", err)
	}
	if left := commandsNaming(t, dir); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
}

func TestARecycledProcessIDIsNeverStopped(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, runDir), 0o700); err != nil {
		t.Fatal(err)
	}
	bystander := exec.Command("sleep", "600")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bystander.Process.Kill(); _ = bystander.Wait() })
	raw, err := json.Marshal(map[string]any{"pid": bystander.Process.Pid, "started": "another time"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(recordOf(dir, etcd), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Stop(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := bystander.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a process that merely has the recorded id was stopped: %v", err)
	}
	if _, err := os.Stat(recordOf(dir, etcd)); !os.IsNotExist(err) {
		t.Errorf("the stale record is still there: %v", err)
	}
}
