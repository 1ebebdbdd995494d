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
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		// The second signal is not handled: it ends the process at once, however
		// soon it comes after what the first one has done is seen.
		signal.Stop(signals)
		stop()
	}()
	if err := newRoot().ExecuteContext(ctx); err != nil {
		message := err.Error()
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			message = "interrupted"
		}
		fmt.Fprintln(os.Stderr, "mainstay:", message)
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
