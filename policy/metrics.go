// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Causes of evaluations that gave no answer: the closed set of a label.
const (
	causeError      = "error"
	causeLimit      = "limit"
	causeQuarantine = "quarantine"
	causeUnlisted   = "unlisted"
)

type engineMetrics struct {
	failures *prometheus.CounterVec
}

func newEngineMetrics(e *Engine, r prometheus.Registerer) *engineMetrics {
	f := promauto.With(r)
	m := &engineMetrics{failures: f.NewCounterVec(prometheus.CounterOpts{
		Name: "mainstay_policy_evaluation_failures_total",
		Help: "Evaluations of a source's rules that gave no answer. None of them permits.",
	}, []string{"kind", "cause"})}
	for _, kind := range []string{kindException, kindDeny} {
		for _, cause := range []string{causeError, causeLimit, causeQuarantine, causeUnlisted} {
			m.failures.WithLabelValues(kind, cause)
		}
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mainstay_policy_quarantined",
		Help: "Sources of policies of which rules are not asked, since they kept exceeding their limit.",
	}, func() float64 {
		n := 0
		for _, s := range e.sources.Load().list {
			if t, ok := s.trouble(time.Now()); ok && t.Quarantined != "" {
				n++
			}
		}
		return float64(n)
	})
	if r != nil {
		r.MustRegister(newInForceMetrics(e))
	}
	return m
}

func (m *engineMetrics) failed(kind string, err error) {
	cause := causeError
	switch {
	case errors.As(err, new(*quarantined)):
		cause = causeQuarantine
	case errors.As(err, new(*notListed)):
		cause = causeUnlisted
	case over(err):
		cause = causeLimit
	}
	m.failures.WithLabelValues(kind, cause).Inc()
}
