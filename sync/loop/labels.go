// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// labels exports who answers for each GitSync, so that alerts can be routed: one
// series for each, whatever labels it has.
type labels struct {
	gauge *prometheus.GaugeVec
	keys  []string
}

// newLabels registers the metric. exported maps labels of GitSyncs to those of
// the metric.
func newLabels(f promauto.Factory, exported map[string]string) *labels {
	l := &labels{keys: slices.Sorted(maps.Keys(exported))}
	names := append(ofSync(), "contact")
	for _, key := range l.keys {
		names = append(names, exported[key])
	}
	l.gauge = f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "mainstay_gitsync_labels",
		Help: "1, with the contact of a GitSync and those of its labels that the configuration names in metrics.gitSyncLabels.",
	}, names)
	return l
}

// show exports a GitSync's labels in place of those that it had.
func (l *labels) show(gs *v1alpha1.GitSync) {
	values := []string{gs.Namespace, gs.Name, gs.Spec.Contact}
	for _, key := range l.keys {
		values = append(values, gs.Labels[key])
	}
	l.gauge.DeletePartialMatch(prometheus.Labels{"namespace": gs.Namespace, "name": gs.Name})
	l.gauge.WithLabelValues(values...).Set(1)
}
