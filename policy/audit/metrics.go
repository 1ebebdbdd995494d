// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
)

type metrics struct {
	decisions *prometheus.CounterVec
	duration  prometheus.Histogram
	dropped   prometheus.Counter
	lost      prometheus.Counter
	sensitive *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer, refusedOften func() float64) (*metrics, error) {
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
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mainstay_ledger_dropped_total",
			Help: "Lines of the ledger that were lost because more was decided than could be written.",
		}),
		sensitive: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mainstay_sensitive_refusals_total",
			Help: "Changes of Secrets and of RBAC objects that were refused or reverted.",
		}, []string{"what"}),
	}
	for _, what := range []string{sensitiveSecret, sensitiveRBAC} {
		m.sensitive.WithLabelValues(what)
	}
	often := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mainstay_accounts_refused_often",
		Help: "Accounts that this replica refused more than 20 times within the last hour.",
	}, refusedOften)
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
	for _, c := range []prometheus.Collector{m.decisions, m.duration, m.dropped, m.lost, m.sensitive, often} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of decisions: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) observe(change *policy.Change, decision policy.Decision) {
	m.decisions.WithLabelValues(
		string(change.Origin), string(change.Operation), string(decision.Verdict), decision.Class, string(change.Mode()),
	).Inc()
	m.duration.Observe(decision.Elapsed.Seconds())
	if decision.Verdict == policy.Refuse && change.Mode() == v1alpha1.ModeEnforce {
		if what := sensitive(change); what != "" {
			m.sensitive.WithLabelValues(what).Inc()
		}
	}
}

// What is sensitive: the closed set of a label.
const (
	sensitiveSecret = "secret"
	sensitiveRBAC   = "rbac"
)

func sensitive(change *policy.Change) string {
	switch {
	case secret(change):
		return sensitiveSecret
	case change.Record.Group == "rbac.authorization.k8s.io":
		return sensitiveRBAC
	}
	return ""
}
