// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxEnds is how many ends of exceptions are exported, those to come first: a
// repository may hold any number of them.
const maxEnds = 1000

// inForceMetrics tell which policies this replica judges by. They are made when
// they are asked for, so that none outlives its source.
type inForceMetrics struct {
	engine    *Engine
	info, end *prometheus.Desc
}

var _ prometheus.Collector = (*inForceMetrics)(nil)

func newInForceMetrics(e *Engine) *inForceMetrics {
	return &inForceMetrics{
		engine: e,
		info: prometheus.NewDesc("mainstay_policy_info",
			"1 for each source of policies that is in force on this replica, with the digest of its Rego.", []string{"source", "digest"}, nil),
		end: prometheus.NewDesc("mainstay_exception_end_timestamp_seconds",
			"When an exception ends, in seconds since 1970: the next end that is written in the rule.", []string{"source", "rule"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *inForceMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.info
	out <- m.end
}

// Collect implements prometheus.Collector.
func (m *inForceMetrics) Collect(out chan<- prometheus.Metric) {
	sources := m.engine.sources.Load().list
	for _, s := range sources {
		out <- prometheus.MustNewConstMetric(m.info, prometheus.GaugeValue, 1, s.Key, s.loaded.Digest)
	}
	for _, e := range ends(sources, time.Now()) {
		out <- prometheus.MustNewConstMetric(m.end, prometheus.GaugeValue, float64(e.at.Unix()), e.source, e.rule)
	}
}

// ending is a rule of exceptions and when it ends.
type ending struct {
	source, rule string
	at           time.Time
}

// ends are those of the exceptions, the next one of each rule: rules of one
// package have one name. One that is over is exported only where there is no
// other.
func ends(sources []*source, now time.Time) []ending {
	var out []ending
	for _, s := range sources {
		at := map[string]int{}
		for _, r := range s.loaded.Rules {
			if r.Kind != kindException || r.Until == nil {
				continue
			}
			i, known := at[r.Name]
			if !known {
				at[r.Name] = len(out)
				out = append(out, ending{s.Key, r.Name, *r.Until})
			} else if sooner(*r.Until, out[i].at, now) {
				out[i].at = *r.Until
			}
		}
	}
	slices.SortStableFunc(out, func(a, b ending) int {
		switch {
		case sooner(a.at, b.at, now):
			return -1
		case sooner(b.at, a.at, now):
			return 1
		}
		return 0
	})
	return out[:min(len(out), maxEnds)]
}

// sooner tells whether an end is the one to tell of first: the next one, and of
// two that are over the last.
func sooner(a, b, now time.Time) bool {
	if a.After(now) != b.After(now) {
		return a.After(now)
	}
	if a.After(now) {
		return a.Before(b)
	}
	return a.After(b)
}
