// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const metricsText = `# TYPE mainstay_decisions_total counter
mainstay_decisions_total{mode="Enforce",operation="UPDATE",origin="request",rule="default",verdict="refuse"} 3
mainstay_decisions_total{mode="Enforce",operation="DELETE",origin="request",rule="default",verdict="refuse"} 1
mainstay_decisions_total{mode="Enforce",operation="UPDATE",origin="request",rule="builtin",verdict="permit"} 2
mainstay_decisions_total{mode="Enforce",operation="UPDATE",origin="request",rule="policy",verdict="permit"} 5
mainstay_decisions_total{mode="Enforce",operation="CREATE",origin="request",rule="error",verdict="refuse"} 0
mainstay_decisions_total{mode="Enforce",operation="UPDATE",origin="drift",rule="default",verdict="refuse"} 1
# TYPE mainstay_admission_duration_seconds histogram
mainstay_admission_duration_seconds_bucket{entry="held",outcome="permit",le="0.001"} 60
mainstay_admission_duration_seconds_bucket{entry="held",outcome="permit",le="0.002"} 60
mainstay_admission_duration_seconds_bucket{entry="held",outcome="permit",le="+Inf"} 60
mainstay_admission_duration_seconds_sum{entry="held",outcome="permit"} 0.03
mainstay_admission_duration_seconds_count{entry="held",outcome="permit"} 60
mainstay_admission_duration_seconds_bucket{entry="scale",outcome="refuse",le="0.001"} 0
mainstay_admission_duration_seconds_bucket{entry="scale",outcome="refuse",le="0.002"} 40
mainstay_admission_duration_seconds_bucket{entry="scale",outcome="refuse",le="+Inf"} 40
mainstay_admission_duration_seconds_sum{entry="scale",outcome="refuse"} 0.07
mainstay_admission_duration_seconds_count{entry="scale",outcome="refuse"} 40
# TYPE mainstay_revert_duration_seconds histogram
mainstay_revert_duration_seconds_bucket{le="0.01"} 0
mainstay_revert_duration_seconds_bucket{le="+Inf"} 1
mainstay_revert_duration_seconds_sum 0.04
mainstay_revert_duration_seconds_count 1
# TYPE mainstay_sync_duration_seconds histogram
mainstay_sync_duration_seconds_bucket{result="applied",le="1"} 4
mainstay_sync_duration_seconds_bucket{result="applied",le="+Inf"} 4
mainstay_sync_duration_seconds_sum{result="applied"} 2
mainstay_sync_duration_seconds_count{result="applied"} 4
mainstay_sync_duration_seconds_bucket{result="failed",le="1"} 0
mainstay_sync_duration_seconds_bucket{result="failed",le="+Inf"} 0
mainstay_sync_duration_seconds_sum{result="failed"} 0
mainstay_sync_duration_seconds_count{result="failed"} 0
# TYPE mainstay_webhook_configuration_restored_total counter
mainstay_webhook_configuration_restored_total 2
`

func TestASummaryIsReadFromTheMetrics(t *testing.T) {
	got, err := parseSummary(strings.NewReader(metricsText))
	if err != nil {
		t.Fatal(err)
	}
	want := &Summary{
		Decisions: []Decisions{
			{"request", "permit", "builtin", 2},
			{"request", "permit", "policy", 5},
			{"request", "refuse", "default", 4},
			{"drift", "refuse", "default", 1},
		},
		// Of 100, 60 take up to 1 ms and 40 up to 2: the 50th is 5/6 into the
		// first bucket, the 99th 39/40 into the second.
		Admission: Latency{Count: 100, Mean: .001, P50: .001 * 50 / 60, P99: .001 + .001*39/40},
		// Beyond the last bound nobody knows more than that bound.
		Reverts:  Latency{Count: 1, Mean: .04, P50: .01, P99: .01},
		Syncs:    Latency{Count: 4, Mean: .5, P50: .5, P99: .99},
		Restored: 2,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-9, 0)); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	if err := checkSummary(got); err != nil {
		t.Errorf("it tells the story, but: %v", err)
	}
}

func TestASummaryThatTellsAnotherStoryIsAnError(t *testing.T) {
	tests := map[string]struct {
		before, after, want string
	}{
		"nobody was refused":             {`rule="default",verdict="refuse"} `, `rule="other",verdict="refuse"} `, "refusals by the default rule"},
		"no autoscaler was permitted":    {`rule="builtin",verdict="permit"} 2`, `rule="builtin",verdict="permit"} 0`, "permits by a built-in policy"},
		"an evaluation failed":           {`rule="error",verdict="refuse"} 0`, `rule="error",verdict="refuse"} 1`, "no decision that ended in an error"},
		"nothing was reverted":           {"mainstay_revert_duration_seconds_count 1", "mainstay_revert_duration_seconds_count 0", "a revert"},
		"the configuration did not come": {"restored_total 2", "restored_total 0", "a restored webhook configuration"},
		"a commit failed":                {`duration_seconds_count{result="failed"} 0`, `duration_seconds_count{result="failed"} 1`, "no commit that could not be brought in"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			text := strings.ReplaceAll(metricsText, test.before, test.after)
			if text == metricsText {
				t.Fatalf("%q is not in the metrics", test.before)
			}
			summary, err := parseSummary(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := checkSummary(summary); err == nil || !strings.Contains(err.Error(), "expected "+test.want) {
				t.Errorf("got %v, want that %s was expected", err, test.want)
			}
		})
	}
}

func TestAMetricThatIsGoneIsAnError(t *testing.T) {
	text := strings.ReplaceAll(metricsText, "mainstay_revert_duration_seconds", "mainstay_reverts_seconds")
	if _, err := parseSummary(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "mainstay_revert_duration_seconds") {
		t.Errorf("got %v, want the name of the metric", err)
	}
}
