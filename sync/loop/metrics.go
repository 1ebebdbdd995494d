// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// metrics of the loop. Only the leader counts.
type metrics struct {
	detected, reverted prometheus.Counter
	revertSeconds      prometheus.Histogram
	syncSeconds        *prometheus.HistogramVec
	lastSuccess        *prometheus.GaugeVec
	objects            *prometheus.GaugeVec
	policies           *prometheus.GaugeVec
	suspended          *prometheus.GaugeVec
	fights             *prometheus.GaugeVec
	conditions         *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	m := &metrics{
		detected: f.NewCounter(prometheus.CounterOpts{
			Name: "mainstay_drift_detected_total",
			Help: "Differences from git that were found and that no exception permits.",
		}),
		reverted: f.NewCounter(prometheus.CounterOpts{
			Name: "mainstay_drift_reverted_total",
			Help: "Differences from git that were reverted.",
		}),
		revertSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "mainstay_revert_duration_seconds",
			Help:    "Time from the event that showed a difference to git's value being restored.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}),
		syncSeconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mainstay_sync_duration_seconds",
			Help:    "Time to bring a commit into the cluster, from fetch to the last object.",
			Buckets: []float64{.05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120, 300},
		}, []string{"result"}),
		lastSuccess: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mainstay_gitsync_last_success_timestamp_seconds",
			Help: "When a GitSync was last found to be as git says.",
		}, []string{"namespace", "name"}),
		objects: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mainstay_gitsync_objects",
			Help: "Objects that a GitSync declares.",
		}, []string{"namespace", "name"}),
		policies: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mainstay_policy_last_reload_successful",
			Help: "1 if the policies of the last commit that was looked at compiled and passed their tests, else 0.",
		}, []string{"namespace", "name"}),
		suspended: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mainstay_suspended",
			Help: "1 while a GitSync is suspended: nothing of it is refused or reverted.",
		}, []string{"namespace", "name"}),
		fights: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mainstay_fights",
			Help: "Objects of a GitSync that somebody changes again and again, so that reverts are slowed down.",
		}, []string{"namespace", "name"}),
	}
	m.conditions = f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "mainstay_gitsync_condition",
		Help: "1 for each condition of a GitSync, with the status and the reason that it has now.",
	}, []string{"namespace", "name", "type", "status", "reason"})
	for _, result := range []string{"applied", "failed", "frozen"} {
		m.syncSeconds.WithLabelValues(result)
	}
	return m
}

// show exports the conditions as they are now. A condition has one series: the
// one with the reason from before goes.
func (m *metrics) show(gs *v1alpha1.GitSync) {
	m.conditions.DeletePartialMatch(prometheus.Labels{"namespace": gs.Namespace, "name": gs.Name})
	for _, c := range gs.Status.Conditions {
		m.conditions.WithLabelValues(gs.Namespace, gs.Name, c.Type, string(c.Status), c.Reason).Set(1)
	}
}

// hide takes what is exported of a GitSync's conditions away.
func (m *metrics) hide(namespace, name string) {
	m.conditions.DeletePartialMatch(prometheus.Labels{"namespace": namespace, "name": name})
}
