// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	vec *prometheus.HistogramVec
	// observers by entry and outcome, so that a request looks nothing up by
	// label.
	observers                     map[string]map[string]prometheus.Observer
	panics, shed, unauthenticated prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		vec: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mainstay_admission_duration_seconds",
			Help:    "Time from a review's first byte to its answer, by entry and outcome.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"entry", "outcome"}),
		observers: map[string]map[string]prometheus.Observer{},
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mainstay_webhook_panics_total",
			Help: "Panics while reading or judging a review; none of them permits.",
		}),
		shed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mainstay_webhook_shed_total",
			Help: "Reviews that were not looked at because too many were under way until their time was over.",
		}),
		unauthenticated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mainstay_webhook_unauthenticated_total",
			Help: "Requests whose path lacks the token of the webhook configuration; none of them is looked at.",
		}),
	}
	for _, entry := range entries() {
		m.observers[entry] = map[string]prometheus.Observer{}
		for _, outcome := range []string{"permit", "refuse", "error"} {
			m.observers[entry][outcome] = m.vec.WithLabelValues(entry, outcome)
		}
	}
	if registerer != nil {
		for _, c := range []prometheus.Collector{m.vec, m.panics, m.shed, m.unauthenticated} {
			if err := registerer.Register(c); err != nil {
				return nil, fmt.Errorf("register metrics of admission: %w", err)
			}
		}
	}
	return m, nil
}

// entries are all that a Handler serves.
func entries() []string {
	return []string{
		EntryHeld, EntryOwn, EntryCreated, EntryScale, EntryStatus, EntryConnect, EntryObserved, EntryCorrect,
	}
}

func (m *metrics) known(entry string) bool { return m.observers[entry] != nil }

func (m *metrics) observe(entry, outcome string, elapsed time.Duration) {
	m.observers[entry][outcome].Observe(elapsed.Seconds())
}
