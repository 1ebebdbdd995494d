// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/process"
)

// program builds the program of this tree, into a place that all test packages
// share: linking it takes as long as many a test, and go leaves alone what is
// current.
func program(ctx context.Context) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "bin", "test")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	unlock, err := process.Lock(ctx, filepath.Join(dir, "lock"), func() {})
	if err != nil {
		return "", err
	}
	defer unlock()
	binary := filepath.Join(dir, "mainstay")
	// As make build does: with cgo the system's linker is asked, which takes
	// its time. The race detector needs it.
	args, cgo := []string{"build", "-ldflags=-s -w"}, "0"
	if race {
		binary += "-race"
		args, cgo = append(args, "-race"), "1"
	}
	build := exec.CommandContext(ctx, "go", append(args, "-o", binary, "github.com/mainstay-gitops/mainstay/cmd/mainstay")...)
	build.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("build mainstay: %w", err)
	}
	return binary, nil
}
