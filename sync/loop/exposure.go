// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// exposure adds up for how long objects differ from git although no exception
// permits it. What differs now counts up to the moment that is asked, so that
// drift which can't be put back is seen while it lasts. It is safe for
// concurrent use.
type exposure struct {
	clock func() time.Time
	desc  *prometheus.Desc

	mu    sync.Mutex
	total map[types.NamespacedName]float64
	open  map[ownership.ID]stretch
}

// stretch is the time of one object that is not in the total yet.
type stretch struct {
	sync  types.NamespacedName
	since time.Time
}

var _ prometheus.Collector = (*exposure)(nil)

func newExposure(clock func() time.Time) *exposure {
	return &exposure{
		clock: clock,
		desc: prometheus.NewDesc("mainstay_drift_exposure_seconds_total",
			"Time for which objects differed from git and no exception permitted it, added up over the objects.", ofSync(), nil),
		total: map[types.NamespacedName]float64{},
		open:  map[ownership.ID]stretch{},
	}
}

// know exports a GitSync, at first with zero.
func (e *exposure) know(sync types.NamespacedName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.total[sync] += 0
}

// begin says that an object differs. It is asked again and again; the first time
// counts.
func (e *exposure) begin(id ownership.ID, sync types.NamespacedName, since time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if before, ok := e.open[id]; ok {
		if before.sync == sync {
			return
		}
		e.add(before, since)
	}
	e.open[id] = stretch{sync, since}
}

// end says that it does no longer.
func (e *exposure) end(id ownership.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s, ok := e.open[id]; ok {
		e.add(s, e.clock())
		delete(e.open, id)
	}
}

// add counts a stretch; a clock that was set back takes nothing away.
func (e *exposure) add(s stretch, until time.Time) {
	e.total[s.sync] += max(until.Sub(s.since), 0).Seconds()
}

// forget drops a GitSync and what is open of it.
func (e *exposure) forget(sync types.NamespacedName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.total, sync)
	for id, s := range e.open {
		if s.sync == sync {
			delete(e.open, id)
		}
	}
}

// Describe implements prometheus.Collector.
func (e *exposure) Describe(out chan<- *prometheus.Desc) { out <- e.desc }

// Collect implements prometheus.Collector.
func (e *exposure) Collect(out chan<- prometheus.Metric) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.clock()
	for id, s := range e.open {
		e.add(s, now)
		e.open[id] = stretch{s.sync, now}
	}
	for sync, seconds := range e.total {
		out <- prometheus.MustNewConstMetric(e.desc, prometheus.CounterValue, seconds, sync.Namespace, sync.Name)
	}
}
