// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
)

type metrics struct {
	decisions *prometheus.CounterVec
	duration  prometheus.Histogram
	dropped   prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mainstay_decisions_total",
			Help: "Decisions about changes to declared objects, without dry runs.",
		}, []string{"origin", "operation", "verdict", "rule", "mode"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mainstay_decision_duration_seconds",
			Help:    "Time from a change to its decision.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mainstay_events_dropped_total",
			Help: "Events that were not written because there were too many.",
		}),
	}
	// A rate over a series that does not exist yet misses its first increment.
	for _, operation := range []policy.Operation{policy.Create, policy.Update, policy.Delete} {
		for _, mode := range []v1alpha1.Mode{v1alpha1.ModeObserve, v1alpha1.ModeAudit, v1alpha1.ModeWarn, v1alpha1.ModeEnforce} {
			for rule, verdict := range map[string]policy.Verdict{
				policy.RuleGit: policy.Permit, policy.RuleBuiltin: policy.Permit, policy.RulePolicy: policy.Permit, policy.RuleLibrary: policy.Permit,
				policy.RuleDefault: policy.Refuse, policy.RuleError: policy.Refuse,
			} {
				m.decisions.WithLabelValues(string(policy.OriginRequest), string(operation), string(verdict), rule, string(mode))
			}
		}
	}
	m.decisions.WithLabelValues(string(policy.OriginRequest), string(policy.Update), string(policy.Correct), policy.RuleDefault, string(v1alpha1.ModeEnforce))
	if registerer == nil {
		return m, nil
	}
	if err := errors.Join(registerer.Register(m.decisions), registerer.Register(m.duration), registerer.Register(m.dropped)); err != nil {
		return nil, fmt.Errorf("register metrics of decisions: %w", err)
	}
	return m, nil
}

func (m *metrics) observe(change *policy.Change, decision policy.Decision) {
	m.decisions.WithLabelValues(
		string(change.Origin), string(change.Operation), string(decision.Verdict), decision.Class, string(change.Mode()),
	).Inc()
	m.duration.Observe(decision.Elapsed.Seconds())
}
