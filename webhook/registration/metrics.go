// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	restored prometheus.Counter
	// probe is that of the one path there is so far: through the admission of the
	// API server.
	probe prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	probes := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "mainstay_enforcement_probe_success",
		Help: "1 if the last canary sent by a path was refused, as it has to be. The path admission leads through the API server to the webhook.",
	}, []string{"path"})
	m := &metrics{
		restored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mainstay_webhook_configuration_restored_total",
			Help: "How often the webhook configuration was put back after someone deleted or edited it.",
		}),
		probe: probes.WithLabelValues("admission"),
	}
	if registerer == nil {
		return m, nil
	}
	if err := errors.Join(registerer.Register(m.restored), registerer.Register(probes)); err != nil {
		return nil, fmt.Errorf("register metrics of the registration: %w", err)
	}
	return m, nil
}
