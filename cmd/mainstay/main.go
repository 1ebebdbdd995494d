// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set when the binary is built.
var version = "unknown"

func main() { os.Exit(run()) }

// run returns the exit status: 0 done or nothing differs, 1 found what was
// asked about or failed, 2 could not find out.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second signal is not handled: it ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mainstay:", err)
		if status, ok := errors.AsType[interface {
			error
			ExitCode() int
		}](err); ok {
			return status.ExitCode()
		}
		return 1
	}
	return 0
}
