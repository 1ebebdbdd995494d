// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/mainstay-gitops/mainstay/test/alerting"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := alerting.Build(ctx, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "build Prometheus and Alertmanager:", err)
		return 1
	}
	return 0
}
