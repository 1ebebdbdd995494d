// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Summary is what the controller's metrics say about the story.
type Summary struct {
	// Decisions are the counts of decisions about changes to declared objects.
	Decisions []Decisions `json:"decisions"`
	// Admission is how long admission reviews took, by their first byte and
	// their answer.
	Admission Latency `json:"admission"`
	// Reverts is how long reverts took, from the event that showed a
	// difference.
	Reverts Latency `json:"reverts"`
	// Syncs is how long it took to bring a commit in, from fetch to the last
	// object.
	Syncs Latency `json:"syncs"`
	// FailedSyncs is how many commits could not be brought in.
	FailedSyncs uint64 `json:"failedSyncs"`
	// Restored is how often the webhook configuration was put back.
	Restored uint64 `json:"restored"`
}

// Decisions is how many decisions had a verdict for a kind of rule.
type Decisions struct {
	// Origin is request, or drift for a change that had happened already.
	Origin  string `json:"origin"`
	Verdict string `json:"verdict"`
	Rule    string `json:"rule"`
	Count   uint64 `json:"count"`
}

// Latency is a distribution, in seconds. The quantiles are interpolated within
// the histogram's buckets, as PromQL does it; all are zero where Count is.
type Latency struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
}

// count counts decisions about requests.
func (s *Summary) count(verdict, rule string) uint64 {
	for _, d := range s.Decisions {
		if d.Origin == "request" && d.Verdict == verdict && d.Rule == rule {
			return d.Count
		}
	}
	return 0
}

func readSummary(ctx context.Context, url string) (*Summary, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read the metrics: %s says %s", url, resp.Status)
	}
	return parseSummary(resp.Body)
}

// parseSummary reads metrics in Prometheus' text format. A metric that is not
// there is an error: a renamed one would else count as nothing.
func parseSummary(r io.Reader) (*Summary, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(r)
	if err != nil {
		return nil, fmt.Errorf("parse the metrics: %w", err)
	}
	for _, name := range []string{
		"mainstay_decisions_total", "mainstay_admission_duration_seconds", "mainstay_revert_duration_seconds",
		"mainstay_sync_duration_seconds", "mainstay_webhook_configuration_restored_total",
	} {
		if families[name] == nil {
			return nil, fmt.Errorf("the controller has no metric %s", name)
		}
	}
	applied, failed := func(m *dto.Metric) bool { return label(m, "result") == "applied" },
		func(m *dto.Metric) bool { return label(m, "result") == "failed" }
	restored := 0.0
	for _, m := range families["mainstay_webhook_configuration_restored_total"].GetMetric() {
		restored += m.GetCounter().GetValue()
	}
	return &Summary{
		Decisions:   decisions(families["mainstay_decisions_total"]),
		Admission:   latency(families["mainstay_admission_duration_seconds"], nil),
		Reverts:     latency(families["mainstay_revert_duration_seconds"], nil),
		Syncs:       latency(families["mainstay_sync_duration_seconds"], applied),
		FailedSyncs: latency(families["mainstay_sync_duration_seconds"], failed).Count,
		Restored:    uint64(restored),
	}, nil
}

func label(m *dto.Metric, name string) string {
	for _, pair := range m.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}

// decisions adds up over operations and modes, and leaves out what never
// happened.
func decisions(family *dto.MetricFamily) []Decisions {
	out := []Decisions{}
	for _, m := range family.GetMetric() {
		count := uint64(m.GetCounter().GetValue())
		if count == 0 {
			continue
		}
		d := Decisions{Origin: label(m, "origin"), Verdict: label(m, "verdict"), Rule: label(m, "rule")}
		i := slices.IndexFunc(out, func(other Decisions) bool { other.Count = 0; return other == d })
		if i < 0 {
			i, out = len(out), append(out, d)
		}
		out[i].Count += count
	}
	slices.SortFunc(out, func(a, b Decisions) int {
		return cmp.Or(-strings.Compare(a.Origin, b.Origin), strings.Compare(a.Verdict, b.Verdict), strings.Compare(a.Rule, b.Rule))
	})
	return out
}

// latency merges the histograms of a family that match. Nil matches all.
func latency(family *dto.MetricFamily, matches func(*dto.Metric) bool) Latency {
	var out Latency
	sum := 0.0
	buckets := map[float64]uint64{}
	for _, m := range family.GetMetric() {
		if matches != nil && !matches(m) {
			continue
		}
		h := m.GetHistogram()
		out.Count += h.GetSampleCount()
		sum += h.GetSampleSum()
		for _, b := range h.GetBucket() {
			buckets[b.GetUpperBound()] += b.GetCumulativeCount()
		}
	}
	if out.Count == 0 {
		return out
	}
	out.Mean = sum / float64(out.Count)
	out.P50, out.P99 = quantile(.50, out.Count, buckets), quantile(.99, out.Count, buckets)
	return out
}

// quantile interpolates within the bucket that the rank falls into. In the
// last, which has no end, it is where that begins.
func quantile(q float64, count uint64, buckets map[float64]uint64) float64 {
	rank := q * float64(count)
	lower, below := 0.0, uint64(0)
	for _, upper := range slices.Sorted(maps.Keys(buckets)) {
		if math.IsInf(upper, 1) {
			break
		}
		if n := buckets[upper]; float64(n) >= rank && n > below {
			return lower + (upper-lower)*(rank-float64(below))/float64(n-below)
		}
		lower, below = upper, buckets[upper]
	}
	return lower
}

// checkSummary returns an error unless the metrics tell the same story as the
// steps.
func checkSummary(s *Summary) error {
	for _, check := range []struct {
		what string
		ok   bool
	}{
		{"refusals by the default rule", s.count("refuse", "default") > 0},
		{"permits by a built-in policy", s.count("permit", "builtin") > 0},
		{"permits by a policy of the repository", s.count("permit", "policy") > 0},
		{"no decision that ended in an error", s.count("refuse", "error") == 0},
		{"a revert", s.Reverts.Count > 0},
		{"a restored webhook configuration", s.Restored > 0},
		{"applied commits", s.Syncs.Count > 0},
		{"no commit that could not be brought in", s.FailedSyncs == 0},
	} {
		if !check.ok {
			return fmt.Errorf("summary: expected %s; the metrics say %+v", check.what, *s)
		}
	}
	return nil
}
