// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Why a decision was not kept.
const (
	lostBusy    = "busy"    // there was no room to wait
	lostRoutine = "routine" // one of too many permits of built-in policies
	lostError   = "error"   // it could not be written down
)

type metrics struct {
	lost        *prometheus.CounterVec
	kept, bytes prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mainstay_record_lost_total",
			Help: "Decisions that are not in the replica's memory: busy (there were too many at a time), routine (one of many permits of built-in policies) or error.",
		}, []string{"reason"}),
		kept: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mainstay_record_decisions", Help: "Decisions in the replica's memory.",
		}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mainstay_record_bytes", Help: "Size of the decisions in the replica's memory.",
		}),
	}
	for _, reason := range []string{lostBusy, lostRoutine, lostError} {
		m.lost.WithLabelValues(reason)
	}
	if registerer == nil {
		return m, nil
	}
	if err := errors.Join(registerer.Register(m.lost), registerer.Register(m.kept), registerer.Register(m.bytes)); err != nil {
		return nil, fmt.Errorf("register metrics of recorded decisions: %w", err)
	}
	return m, nil
}
