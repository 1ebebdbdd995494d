// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mainstay-gitops/mainstay/config"
)

// What became of a notice, or of a message.
const (
	resultSent    = "sent"
	resultFailed  = "failed"  // given up after the last attempt
	resultDropped = "dropped" // there was no room
)

func newMetrics(registerer prometheus.Registerer, routes []config.Route) (*prometheus.CounterVec, error) {
	results := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mainstay_notifications_total",
		Help: "Messages by route and result: sent, failed (given up) or dropped (no room); notices that were dropped before they were sorted have the route \"\".",
	}, []string{"route", "result"})
	results.WithLabelValues("", resultDropped)
	for _, route := range routes {
		for _, result := range []string{resultSent, resultFailed, resultDropped} {
			results.WithLabelValues(route.Name, result)
		}
	}
	if registerer != nil {
		if err := registerer.Register(results); err != nil {
			return nil, fmt.Errorf("register metrics of notifications: %w", err)
		}
	}
	return results, nil
}
