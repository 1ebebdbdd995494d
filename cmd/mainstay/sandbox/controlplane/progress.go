// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"
)

// buildOutput is what go build -v says: a line for each package it compiles,
// and what went wrong.
type buildOutput struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *buildOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

// isPackage tells the name of a package from a complaint.
func isPackage(line string) bool {
	return line != "" && !strings.ContainsAny(line, " \t:")
}

func (o *buildOutput) packages() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for line := range strings.Lines(o.all.String()) {
		if isPackage(strings.TrimSpace(line)) {
			n++
		}
	}
	return n
}

// errors returns the last lines that are no package names.
func (o *buildOutput) errors() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for line := range strings.Lines(o.all.String()) {
		if !isPackage(strings.TrimSpace(line)) {
			out = append(out, strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(out[max(0, len(out)-20):], "\n")
}

// showProgress writes how far a build is: every second over the same line on a
// terminal, else a line every 15 seconds. The returned function ends that.
func showProgress(opts BuildOptions, name string, said *buildOutput) func(ok bool) {
	began := time.Now()
	line := func(state string) string {
		return fmt.Sprintf("  %-24s %s, %d packages compiled, %s", name, state, said.packages(), time.Since(began).Round(time.Second))
	}
	every, format := 15*time.Second, "%s\n"
	if opts.Terminal {
		every, format = time.Second, "\r\x1b[K%s"
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				fmt.Fprintf(opts.Progress, format, line("building"))
			}
		}
	}()
	return func(ok bool) {
		close(stop)
		<-done
		state := "built"
		if !ok {
			state = "not built"
		}
		fmt.Fprintf(opts.Progress, format, line(state))
		if opts.Terminal {
			fmt.Fprintln(opts.Progress)
		}
	}
}
