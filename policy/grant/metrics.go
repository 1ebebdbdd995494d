// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// register has the metrics of what is active computed when they are asked for:
// by every replica, since each knows all grants.
func (s *Store) register(registerer prometheus.Registerer, clock func() time.Time) error {
	if registerer == nil {
		return nil
	}
	err := errors.Join(
		registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mainstay_emergency_grants", Help: "Active grants that nobody else approved.",
		}, func() float64 {
			n := 0
			for _, g := range s.Active(clock()) {
				if g.Emergency {
					n++
				}
			}
			return float64(n)
		})),
		registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mainstay_grant_next_end_timestamp_seconds", Help: "When the next active grant ends, in seconds since 1970; 0 while there is none.",
		}, func() float64 {
			next := 0.0
			for _, g := range s.Active(clock()) {
				if end := float64(g.ExpiresAt.Unix()); next == 0 || end < next {
					next = end
				}
			}
			return next
		})),
	)
	if err != nil {
		return fmt.Errorf("register metrics of grants: %w", err)
	}
	return nil
}
