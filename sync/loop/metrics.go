// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// metrics of the loop. Only the leader counts.
type metrics struct {
	detected, reverted *prometheus.CounterVec
	// unattributed counts what was reverted and no request explains.
	unattributed  *prometheus.CounterVec
	exposure      *exposure
	revertSeconds prometheus.Histogram
	syncSeconds   *prometheus.HistogramVec
	lastSuccess   *prometheus.GaugeVec
	objects       *prometheus.GaugeVec
	policies      *prometheus.GaugeVec
	suspended     *prometheus.GaugeVec
	fights        *prometheus.GaugeVec
	conditions    *prometheus.GaugeVec
	labels        *labels
}

// ofSync are the labels of every series about one GitSync.
func ofSync() []string { return []string{"namespace", "name"} }

// newMetrics registers the metrics. exported are the labels of GitSyncs that
// mainstay_gitsync_labels has, and what they are called there.
func newMetrics(r prometheus.Registerer, exported map[string]string) *metrics {
	f := promauto.With(r)
	m := &metrics{
		detected: f.NewCounterVec(prometheus.CounterOpts{
			Name: "mainstay_drift_detected_total",
			Help: "Differences from git that were found and that no exception permits.",
		}, ofSync()),
		reverted: f.NewCounterVec(prometheus.CounterOpts{
			Name: "mainstay_drift_reverted_total",
			Help: "Differences from git that were reverted.",
		}, ofSync()),
		unattributed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "mainstay_drift_unattributed_total",
			Help: "Differences from git that were reverted and that no request explains which Mainstay judged.",
		}, ofSync()),
		exposure: newExposure(time.Now),
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
		}, ofSync()),
		objects: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mainstay_gitsync_objects",
			Help: "Objects that a GitSync declares.",
		}, ofSync()),
		policies: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mainstay_policy_last_reload_successful",
			Help: "1 if the policies of the last commit that was looked at compiled and passed their tests, else 0.",
		}, ofSync()),
		suspended: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mainstay_suspended",
			Help: "1 while a GitSync is suspended: nothing of it is refused or reverted.",
		}, ofSync()),
		fights: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mainstay_fights",
			Help: "Objects of a GitSync that somebody changes again and again, so that reverts are slowed down.",
		}, ofSync()),
	}
	m.conditions = f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "mainstay_gitsync_condition",
		Help: "1 for each condition of a GitSync, with the status and the reason that it has now.",
	}, []string{"namespace", "name", "type", "status", "reason"})
	m.labels = newLabels(f, exported)
	if r != nil {
		r.MustRegister(m.exposure)
	}
	for _, result := range []string{"applied", "failed", "frozen"} {
		m.syncSeconds.WithLabelValues(result)
	}
	return m
}

// show exports what a GitSync is now. A condition has one series: the one with
// the reason from before goes. What counts begins at zero, since the increase of
// a series misses its first value.
func (m *metrics) show(gs *v1alpha1.GitSync) {
	for _, counted := range []*prometheus.CounterVec{m.detected, m.reverted, m.unattributed} {
		counted.WithLabelValues(gs.Namespace, gs.Name)
	}
	m.exposure.know(types.NamespacedName{Namespace: gs.Namespace, Name: gs.Name})
	m.labels.show(gs)
	m.conditions.DeletePartialMatch(prometheus.Labels{"namespace": gs.Namespace, "name": gs.Name})
	for _, c := range gs.Status.Conditions {
		m.conditions.WithLabelValues(gs.Namespace, gs.Name, c.Type, string(c.Status), c.Reason).Set(1)
	}
}

// hide takes away what is exported of a GitSync.
func (m *metrics) hide(namespace, name string) {
	for _, v := range []interface {
		DeletePartialMatch(labels prometheus.Labels) int
	}{
		m.detected, m.reverted, m.unattributed, m.lastSuccess, m.objects, m.policies, m.suspended, m.fights, m.conditions, m.labels.gauge,
	} {
		v.DeletePartialMatch(prometheus.Labels{"namespace": namespace, "name": name})
	}
	m.exposure.forget(types.NamespacedName{Namespace: namespace, Name: name})
}

// found counts a difference that no exception permits.
func (m *metrics) found(sync types.NamespacedName) {
	m.detected.WithLabelValues(sync.Namespace, sync.Name).Inc()
}

// putBack counts a difference that was reverted.
func (m *metrics) putBack(sync types.NamespacedName, since time.Time, unattributed bool) {
	m.reverted.WithLabelValues(sync.Namespace, sync.Name).Inc()
	m.revertSeconds.Observe(time.Since(since).Seconds())
	if unattributed {
		m.unattributed.WithLabelValues(sync.Namespace, sync.Name).Inc()
	}
}
