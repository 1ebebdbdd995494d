// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/mainstay-gitops/mainstay/policy"
)

// Policies are what decisions are made by; *policy.Engine is one.
type Policies interface {
	Sight() policy.Sight
	See(s policy.Sight, c *policy.Change) (policy.Seen, error)
}

// Options of a Ring.
type Options struct {
	// Policies that decide. Required.
	Policies Policies
	// Replica names this one among the replicas.
	Replica string
	// ClusterName is in each record.
	ClusterName string
	// Mask makes the keyed hashes that stand for the values of Secrets.
	Mask func([]byte) string
	// MaxRecords, MaxBytes (compressed) and MaxAge bound what is kept. The
	// defaults are 10,000, 32 MiB and 24 hours.
	MaxRecords int
	MaxBytes   int
	MaxAge     time.Duration
	// Registerer takes the metrics.
	Registerer prometheus.Registerer
	// Clock is time.Now where it is nil.
	Clock func() time.Time
	// Error is told what could not be recorded; nil ignores it.
	Error func(error)
}

const (
	// maxQueued and maxQueuedBytes bound what waits to be written down.
	maxQueued      = 1024
	maxQueuedBytes = 16 << 20
	// maxReview is the size of the largest review that is kept.
	maxReview = 1 << 20
	// routinePerSecond is how many permits of built-in policies are kept: what
	// components do all day must not drive out what people ask about.
	routinePerSecond = 5
	routineBurst     = 50
	// sameWithin is how long a change that is tried again and again is only
	// counted: what it rests on is kept once.
	sameWithin = time.Minute
	maxSame    = 4096
)

// Ring keeps the decisions of one replica. It is safe for concurrent use.
type Ring struct {
	o       Options
	metrics *metrics
	queue   chan *entry
	queued  atomic.Int64
	routine *rate.Limiter
	encoder *zstd.Encoder
	// same are the first of the decisions that repeat; the writer's alone.
	same map[[sha256.Size]byte]first

	mu      sync.Mutex
	blocks  []*block // the oldest first; the last is open
	records int
	bytes   int
	next    uint64
	changed chan struct{}
}

// New returns an empty Ring. What is added is kept while Start runs.
func New(o Options) (*Ring, error) {
	if o.Policies == nil {
		return nil, errors.New("record: Options.Policies is required")
	}
	if o.MaxRecords <= 0 {
		o.MaxRecords = 10000
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 32 << 20
	}
	if o.MaxAge <= 0 {
		o.MaxAge = 24 * time.Hour
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Error == nil {
		o.Error = func(error) {}
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxBlock), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	return &Ring{
		o: o, metrics: m, queue: make(chan *entry, maxQueued), routine: rate.NewLimiter(routinePerSecond, routineBurst),
		encoder: encoder, same: map[[sha256.Size]byte]first{}, changed: make(chan struct{}),
	}, nil
}

// NeedLeaderElection tells that every replica keeps what it decides.
func (r *Ring) NeedLeaderElection() bool { return false }

// Add hands a decision over. It never waits, and is done with both when it
// returns. What git says itself is not kept.
func (r *Ring) Add(c *policy.Change, d policy.Decision) {
	switch d.Class {
	case policy.RuleGit:
		return
	case policy.RuleBuiltin:
		if d.Verdict == policy.Permit && !r.routine.Allow() {
			r.metrics.lost.WithLabelValues(lostRoutine).Inc()
			return
		}
	}
	e := newEntry(c, d, r.o.Policies.Sight())
	size := int64(len(e.review))
	if r.queued.Add(size) > maxQueuedBytes {
		r.queued.Add(-size)
		r.metrics.lost.WithLabelValues(lostBusy).Inc()
		return
	}
	select {
	case r.queue <- e:
	default:
		r.queued.Add(-size)
		r.metrics.lost.WithLabelValues(lostBusy).Inc()
	}
}

// Start writes down what is added until ctx ends.
func (r *Ring) Start(ctx context.Context) error {
	old := time.NewTicker(min(r.o.MaxAge/4+1, 10*time.Minute))
	defer old.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-old.C:
			r.mu.Lock()
			r.trim()
			r.mu.Unlock()
		case e := <-r.queue:
			r.queued.Add(-int64(len(e.review)))
			r.write(e)
		}
	}
}

// write turns an entry into a record. Whatever goes wrong with one must not end
// the others.
func (r *Ring) write(e *entry) {
	defer func() {
		if p := recover(); p != nil {
			r.metrics.lost.WithLabelValues(lostError).Inc()
			r.o.Error(fmt.Errorf("record decision %s: panic: %v", e.decision.ID, p))
		}
	}()
	if err := r.keep(r.record(e)); err != nil {
		r.metrics.lost.WithLabelValues(lostError).Inc()
		r.o.Error(fmt.Errorf("record decision %s: %w", e.decision.ID, err))
	}
}
