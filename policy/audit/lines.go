// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxLines is how many lines of the ledger may wait to be written.
const maxLines = 2048

// KindLost is that of a line which says how many lines are missing before it.
const KindLost = "lost"

// lostLine stands where lines are missing.
type lostLine struct {
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"`
	Cluster string    `json:"cluster,omitempty"`
	Lost    int       `json:"lost"`
}

// lines writes the ledger. While run runs, add never waits for the output; what
// finds no room is lost, counted, and said in the place where it is missing.
// Before and after, add writes itself, so that nothing is lost at either end.
type lines struct {
	cluster string
	clock   func() time.Time
	report  func(error)
	dropped prometheus.Counter
	queue   chan Line
	ledger  io.Writer
	// out and encoder are run's alone while it runs, else guarded by mu.
	out     *bufio.Writer
	encoder *json.Encoder

	mu      sync.Mutex
	running bool
	lost    int
}

func newLines(o Options, dropped prometheus.Counter) *lines {
	l := &lines{cluster: o.ClusterName, clock: o.Clock, report: o.Error, dropped: dropped, queue: make(chan Line, maxLines)}
	if l.report == nil {
		l.report = func(error) {}
	}
	l.ledger = o.Ledger
	if l.ledger == nil {
		l.ledger = io.Discard
	}
	l.out = bufio.NewWriterSize(l.ledger, 64<<10)
	l.encoder = json.NewEncoder(l.out)
	l.encoder.SetEscapeHTML(false)
	return l
}

func (l *lines) add(line Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.running {
		l.encode(line)
		l.flush()
		return
	}
	select {
	case l.queue <- line:
	default:
		l.lost++
		l.dropped.Inc()
	}
}

// run writes until ctx ends, and then what waits.
func (l *lines) run(ctx context.Context) {
	l.mu.Lock()
	l.running = true
	l.mu.Unlock()
	for {
		select {
		case line := <-l.queue:
			l.encode(line)
			if len(l.queue) == 0 {
				l.missing()
				l.flush()
			}
			continue
		case <-ctx.Done():
		}
		break
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = false
	for len(l.queue) > 0 {
		l.encode(<-l.queue)
	}
	if l.lost > 0 {
		l.say(l.lost)
		l.lost = 0
	}
	l.flush()
}

// missing writes how many lines found no room since it was last asked.
func (l *lines) missing() {
	l.mu.Lock()
	lost := l.lost
	l.lost = 0
	l.mu.Unlock()
	if lost > 0 {
		l.say(lost)
	}
}

func (l *lines) say(lost int) {
	l.encode(lostLine{Time: l.clock().UTC(), Kind: KindLost, Cluster: l.cluster, Lost: lost})
}

func (l *lines) encode(line any) {
	if err := l.encoder.Encode(line); err != nil {
		l.report(fmt.Errorf("write ledger: %w", err))
	}
}

func (l *lines) flush() {
	if err := l.out.Flush(); err != nil {
		l.report(fmt.Errorf("write ledger: %w", err))
		l.out.Reset(l.ledger) // or it would say so for ever
	}
}
