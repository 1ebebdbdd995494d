// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package charts_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/test/alerting"
)

// rules is what a PrometheusRule and a file of Prometheus' have in common.
type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func (r *rules) all() []rule {
	var out []rule
	for _, group := range r.Groups {
		out = append(out, group.Rules...)
	}
	return out
}

// rendered are the rules as the chart installs them.
func rendered(t *testing.T) *rules {
	t.Helper()
	objects := render(t, map[string]any{
		"monitoring": map[string]any{"enabled": true, "ruleLabels": map[string]any{"team": "platform"}},
		"config":     map[string]any{"clusterName": "prod"},
	})
	for _, object := range objects {
		if object.GetKind() != "PrometheusRule" {
			continue
		}
		raw, err := yaml.Marshal(object.Object["spec"])
		if err != nil {
			t.Fatal(err)
		}
		r := new(rules)
		if err := yaml.UnmarshalStrict(raw, r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	t.Fatal("there is no PrometheusRule")
	return nil
}

func TestMonitoringIsOffByDefault(t *testing.T) {
	for _, object := range render(t, nil) {
		if strings.HasPrefix(object.GetAPIVersion(), "monitoring.coreos.com/") || object.GetName() == "mainstay-dashboard" {
			t.Errorf("%s %s is installed", object.GetKind(), object.GetName())
		}
	}
	var kinds []string
	for _, object := range render(t, map[string]any{"monitoring": map[string]any{"enabled": true, "labels": map[string]any{"release": "prom"}}}) {
		if strings.HasPrefix(object.GetAPIVersion(), "monitoring.coreos.com/") {
			kinds = append(kinds, object.GetKind()+" "+object.GetLabels()["release"])
		}
		if object.GetName() == "mainstay-dashboard" {
			kinds = append(kinds, object.GetKind()+" "+object.GetLabels()["grafana_dashboard"])
		}
	}
	slices.Sort(kinds)
	if diff := cmp.Diff([]string{"ConfigMap 1", "PrometheusRule prom", "ServiceMonitor prom"}, kinds); diff != "" {
		t.Errorf("installed when it is on (-want +got):\n%s", diff)
	}
}

func TestEveryAlertSaysWhatToDo(t *testing.T) {
	runbook, err := os.ReadFile(filepath.Join("mainstay", "RUNBOOK.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^## (\S+)$`).FindAllStringSubmatch(string(runbook), -1) {
		sections[strings.ToLower(heading[1])] = true
	}
	words := map[string]string{"critical": "page", "warning": "ticket", "info": "chat"}
	for _, r := range rendered(t).all() {
		url := r.Annotations["runbook_url"]
		file, anchor, _ := strings.Cut(url, "#")
		if !strings.HasSuffix(file, "charts/mainstay/RUNBOOK.md") || !sections[anchor] {
			t.Errorf("%s: the runbook has no section for %s", r.Alert, url)
		}
		delete(sections, anchor)
		if r.For == "" || r.Annotations["summary"] == "" || !strings.Contains(r.Annotations["description"], "Look: ") {
			t.Errorf("%s lacks for, summary, or a description with the command to run", r.Alert)
		}
		_, command, _ := strings.Cut(r.Annotations["description"], "Look: ")
		first, _, _ := strings.Cut(command, ";")
		first = strings.NewReplacer("{{ $labels.name }}", "NAME", "{{ $labels.namespace }}", "NAMESPACE", "{{ $labels.rule }}", "RULE").Replace(first)
		if !strings.Contains(string(runbook), "$ "+first+"\n") {
			t.Errorf("%s: the runbook lacks its command %q", r.Alert, first)
		}
		if section := between(string(runbook), "## "+r.Alert+"\n\n", "\n## "); !strings.HasPrefix(section, "*"+words[r.Labels["severity"]]+"*, after "+r.For) {
			t.Errorf("%s: its section has to begin with *%s*, after %s", r.Alert, words[r.Labels["severity"]], r.For)
		}
		if r.Labels["cluster"] != "prod" || !strings.Contains(r.Labels["team"], "platform") {
			t.Errorf("%s: labels %v", r.Alert, r.Labels)
		}
	}
	for left := range sections {
		t.Errorf("the runbook's section %s is that of no alert", left)
	}
}

func between(text, from, to string) string {
	_, after, _ := strings.Cut(text, from)
	before, _, _ := strings.Cut(after, to)
	return before
}

// An alertCase is one course of metrics, a minute apart, and which alerts of that
// name it leads to after a time.
type alertCase struct {
	alert  string
	what   string
	series []string // series: values, in promtool's notation
	at     string
	want   []string // the labels of each, without those of the rule
}

const none = ""

var alertCases = []alertCase{
	{"MainstayDown", "no replica for ten minutes", []string{`up: 1x20`}, "10m", []string{none}},
	{"MainstayDown", "one replica of two is gone", []string{`mainstay_build_info{version="1",pod="a"}: 1x20`, `mainstay_build_info{version="1",pod="b"}: 1 1 _x18`}, "15m", nil},
	{"MainstayDown", "a restart of two minutes", []string{`mainstay_build_info{version="1"}: 1 1 _ _ 1x16`}, "10m", nil},

	{"MainstayUnreachable", "calls fail", []string{`apiserver_admission_webhook_rejection_count{name="held.mainstay.dev",error_type="calling_webhook_error"}: 0 0 0+1x10`}, "8m", []string{`name="held.mainstay.dev"`}},
	{"MainstayUnreachable", "calls are refused as they should be", []string{`apiserver_admission_webhook_rejection_count{name="held.mainstay.dev",error_type="no_error"}: 0+5x20`}, "15m", nil},
	{"MainstayUnreachable", "another webhook's calls fail", []string{`apiserver_admission_webhook_rejection_count{name="x.example.org",error_type="calling_webhook_error"}: 0+5x20`}, "15m", nil},

	{"MainstayFailsOpen", "for ten minutes", []string{`apiserver_admission_webhook_fail_open_count{name="scale.mainstay.dev"}: 0+1x20`}, "12m", []string{`name="scale.mainstay.dev"`}},
	{"MainstayFailsOpen", "a moment at a restart", []string{`apiserver_admission_webhook_fail_open_count{name="scale.mainstay.dev"}: 0 0 3x18`}, "12m", nil},

	{"MainstayWebhookErrors", "every tenth", []string{`mainstay_admission_duration_seconds_count{outcome="error"}: 0+6x20`, `mainstay_admission_duration_seconds_count{outcome="permit"}: 0+54x20`}, "12m", []string{none}},
	{"MainstayWebhookErrors", "many refusals, no errors", []string{`mainstay_admission_duration_seconds_count{outcome="error"}: 0x20`, `mainstay_admission_duration_seconds_count{outcome="refuse"}: 0+54x20`}, "12m", nil},
	{"MainstayWebhookErrors", "no requests at all", []string{`mainstay_admission_duration_seconds_count{outcome="error"}: 0x20`, `mainstay_admission_duration_seconds_count{outcome="permit"}: 0x20`}, "12m", nil},

	{"MainstayEnforcementHole", "the canary passes", []string{`mainstay_enforcement_probe_success{path="admission"}: 1 0x20`, `mainstay_off: 0x20`}, "8m", []string{`path="admission"`}},
	{"MainstayEnforcementHole", "one replica's did, for a moment", []string{`mainstay_enforcement_probe_success{path="admission",pod="a"}: 0x20`, `mainstay_enforcement_probe_success{path="admission",pod="b"}: 1x20`, `mainstay_off: 0x20`}, "8m", nil},
	{"MainstayEnforcementHole", "Mainstay is off, which has its own alert", []string{`mainstay_enforcement_probe_success{path="admission"}: 0x20`, `mainstay_off: 1x20`}, "8m", nil},

	{"MainstayNotEnforcing", "the entry stays open", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Enforcing",status="False",reason="WebhookIgnore"}: 1x20`}, "8m", []string{`namespace="a",name="shop", reason="WebhookIgnore"`}},
	{"MainstayNotEnforcing", "the mode is Audit", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Enforcing",status="False",reason="Audit"}: 1x20`}, "8m", nil},

	{"MainstayConfigurationAltered", "five times", []string{`mainstay_webhook_configuration_restored_total: 0 0 0+1x5 5x10`}, "8m", []string{none}},
	{"MainstayConfigurationAltered", "once", []string{`mainstay_webhook_configuration_restored_total: 0 0 1x18`}, "8m", nil},

	{"MainstayEmergencyGrant", "one is active", []string{`mainstay_emergency_grants: 0 1x10`}, "4m", []string{none}},
	{"MainstayEmergencyGrant", "a grant that was approved is none", []string{`mainstay_emergency_grants: 0x10`, `mainstay_grants{phase="Active"}: 1x10`}, "4m", nil},

	{"MainstayOff", "the ConfigMap is there", []string{`mainstay_off{pod="a"}: 0 1x10`, `mainstay_off{pod="b"}: 0 1x10`}, "4m", []string{none}},
	{"MainstayOff", "it is not", []string{`mainstay_off: 0x10`}, "4m", nil},

	{"MainstaySyncFailing", "for twenty minutes", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Ready",status="False",reason="RenderFailed"}: 1x30`}, "20m", []string{`namespace="a",name="shop", reason="RenderFailed"`}},
	{"MainstaySyncFailing", "mended after ten", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Ready",status="False",reason="RenderFailed"}: 1x10 _x20`, `mainstay_gitsync_condition{namespace="a",name="shop",type="Ready",status="True",reason="Applied"}: _x10 1x20`}, "20m", nil},
	{"MainstaySyncFailing", "suspended, which has its own alert", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Ready",status="False",reason="Suspended"}: 1x30`}, "20m", nil},

	{"MainstayGitUnreachable", "for forty minutes", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Ready",status="False",reason="Unreachable"}: 1x50`}, "40m", []string{`namespace="a",name="shop"`}},
	{"MainstayGitUnreachable", "for twenty", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Ready",status="False",reason="Unreachable"}: 1x20 _x30`}, "40m", nil},

	{"MainstayUnverified", "a commit waits", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Ready",status="False",reason="Unverified"}: 1x20`}, "8m", []string{`namespace="a",name="shop"`}},
	{"MainstayUnverified", "all is signed", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Verified",status="True",reason="Signed"}: 1x20`}, "8m", nil},

	{"MainstayFight", "two controllers", []string{`mainstay_fights{namespace="a",name="shop"}: 0 2x20`, `mainstay_fights{namespace="b",name="shop"}: 0x20`}, "8m", []string{`namespace="a",name="shop"`}},
	{"MainstayFight", "it ends by itself", []string{`mainstay_fights{namespace="a",name="shop"}: 0 2 2 0x20`}, "8m", nil},

	{"MainstayRevertFailing", "for eight minutes", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Drifted",status="True",reason="RevertFailed"}: 1x20`}, "8m", []string{`namespace="a",name="shop"`}},
	{"MainstayRevertFailing", "drift that is being reverted", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Drifted",status="True",reason="Drift"}: 1x20`}, "8m", nil},

	{"MainstayGrantEnding", "in twenty minutes", []string{`mainstay_grant_next_end_timestamp_seconds: 1800x20`}, "10m", []string{none}},
	{"MainstayGrantEnding", "in two hours", []string{`mainstay_grant_next_end_timestamp_seconds: 7200x20`}, "10m", nil},
	{"MainstayGrantEnding", "there is none", []string{`mainstay_grant_next_end_timestamp_seconds: 0x20`}, "10m", nil},

	{"MainstayExceptionEnding", "within a day", []string{`mainstay_exception_end_timestamp_seconds{source="gitsync/a/shop",rule="night.exception",pod="a"}: 80000x20`, `mainstay_exception_end_timestamp_seconds{source="gitsync/a/shop",rule="night.exception",pod="b"}: 80000x20`}, "10m", []string{`source="gitsync/a/shop",rule="night.exception"`}},
	{"MainstayExceptionEnding", "next week, and one that is over", []string{`mainstay_exception_end_timestamp_seconds{source="gitsync/a/shop",rule="night.exception"}: 600000x20`, `mainstay_exception_end_timestamp_seconds{source="gitsync/a/shop",rule="day.exception"}: 60x20`}, "10m", nil},

	{"MainstayAwaitingGit", "for twenty minutes", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Drifted",status="True",reason="AwaitingGit"}: 1x30`}, "20m", []string{`namespace="a",name="shop"`}},
	{"MainstayAwaitingGit", "git says the same after ten", []string{`mainstay_gitsync_condition{namespace="a",name="shop",type="Drifted",status="True",reason="AwaitingGit"}: 1x10 _x20`}, "20m", nil},

	{"MainstayCertificate", "an hour is left", []string{`mainstay_certificate_expiration_timestamp_seconds{certificate="serving"}: 5400x40`, `mainstay_certificate_expiration_timestamp_seconds{certificate="ca"}: 31536000x40`}, "30m", []string{`certificate="serving"`}},
	{"MainstayCertificate", "days are", []string{`mainstay_certificate_expiration_timestamp_seconds{certificate="serving"}: 300000x40`}, "30m", nil},

	{"MainstayPoliciesNotLoaded", "for fifteen minutes", []string{`mainstay_policy_last_reload_successful{namespace="a",name="shop"}: 0x20`}, "15m", []string{`namespace="a",name="shop"`}},
	{"MainstayPoliciesNotLoaded", "mended at once", []string{`mainstay_policy_last_reload_successful{namespace="a",name="shop"}: 0 0 1x20`}, "15m", nil},

	{"MainstayPolicyQuarantined", "one source", []string{`mainstay_policy_quarantined: 0 1x10`}, "4m", []string{none}},
	{"MainstayPolicyQuarantined", "none", []string{`mainstay_policy_quarantined: 0x10`}, "4m", nil},

	{"MainstayPolicyErrors", "an exception fails", []string{`mainstay_policy_evaluation_failures_total{kind="exception",cause="error"}: 0 0+1x30`}, "12m", []string{`kind="exception", cause="error"`}},
	{"MainstayPolicyErrors", "what is quarantined is not asked, which has its own alert", []string{`mainstay_policy_evaluation_failures_total{kind="exception",cause="quarantine"}: 0+1x30`}, "12m", nil},

	{"MainstaySuspended", "one GitSync", []string{`mainstay_suspended{namespace="a",name="shop"}: 1x10`}, "4m", []string{`namespace="a",name="shop"`}},
	{
		"MainstaySuspended", "of a team with a contact",
		[]string{`mainstay_suspended{namespace="a",name="shop"}: 1x10`, `mainstay_gitsync_labels{namespace="a",name="shop",contact="#shop",label_team="shop"}: 1x10`, `mainstay_gitsync_labels{namespace="a",name="pay",contact="#pay",label_team="pay"}: 1x10`},
		"4m",
		[]string{`namespace="a",name="shop",contact="#shop",label_team="shop",team="shop"`},
	},
	{
		"MainstaySuspended", "while two replicas say who answers",
		[]string{`mainstay_suspended{namespace="a",name="shop"}: 1x10`, `mainstay_gitsync_labels{namespace="a",name="shop",contact="#shop",pod="a"}: 1x10`, `mainstay_gitsync_labels{namespace="a",name="shop",contact="#shop",pod="b"}: 1x10`},
		"4m",
		[]string{`namespace="a",name="shop",contact="#shop"`},
	},
	{"MainstaySuspended", "it has ended", []string{`mainstay_suspended{namespace="a",name="shop"}: 1 1 _x10`}, "8m", nil},

	{"MainstayUnattributedDrift", "one change", []string{`mainstay_drift_unattributed_total{namespace="a",name="shop"}: 0 0 1x10`}, "4m", []string{`namespace="a",name="shop"`}},
	{"MainstayUnattributedDrift", "drift that a permit explains", []string{`mainstay_drift_unattributed_total{namespace="a",name="shop"}: 0x10`, `mainstay_drift_detected_total{namespace="a",name="shop"}: 0+1x10`}, "4m", nil},

	{"MainstayLedgerLoses", "some lines", []string{`mainstay_ledger_dropped_total: 0 0 7x10`}, "5m", []string{none}},
	{"MainstayLedgerLoses", "none", []string{`mainstay_ledger_dropped_total: 0x10`}, "5m", nil},

	{"MainstayNotificationsLost", "the receiver is gone", []string{`mainstay_notifications_total{route="shop",result="failed"}: 0 0 1x10`, `mainstay_notifications_total{route="shop",result="sent"}: 0+1x20`}, "5m", []string{`route="shop"`}},
	{"MainstayNotificationsLost", "all arrive", []string{`mainstay_notifications_total{route="shop",result="failed"}: 0x10`, `mainstay_notifications_total{route="shop",result="sent"}: 0+1x20`}, "5m", nil},

	{"MainstayDriftReverted", "a quiet day, then many", []string{`mainstay_drift_reverted_total{namespace="a",name="shop"}: 0x1380 0+1x60`}, "1438m", []string{`namespace="a",name="shop"`}},
	{"MainstayDriftReverted", "as many as all day", []string{`mainstay_drift_reverted_total{namespace="a",name="shop"}: 0+1x1440`}, "1438m", nil},
	{"MainstayDriftReverted", "one", []string{`mainstay_drift_reverted_total{namespace="a",name="shop"}: 0x1400 1x40`}, "1438m", nil},

	{"MainstayRefusedOften", "an account", []string{`mainstay_accounts_refused_often{pod="a"}: 0 1x10`}, "4m", []string{none}},
	{"MainstayRefusedOften", "a single refusal", []string{`mainstay_accounts_refused_often: 0x10`, `mainstay_decisions_total{verdict="refuse",mode="Enforce"}: 0 1x10`}, "4m", nil},

	{"MainstaySensitiveRefused", "a Secret", []string{`mainstay_sensitive_refusals_total{what="secret"}: 0 0 1x10`, `mainstay_sensitive_refusals_total{what="rbac"}: 0x10`}, "4m", []string{`what="secret"`}},
	{"MainstaySensitiveRefused", "a Deployment", []string{`mainstay_sensitive_refusals_total{what="secret"}: 0x10`, `mainstay_decisions_total{verdict="refuse",mode="Enforce"}: 0+1x10`}, "4m", nil},

	{"MainstayGrantRequested", "one waits", []string{`mainstay_grants{phase="Requested"}: 1x10`}, "4m", []string{none}},
	{"MainstayGrantRequested", "approved at once", []string{`mainstay_grants{phase="Requested"}: 1 0x10`}, "4m", nil},
	{"MainstayGrantActive", "two are", []string{`mainstay_grants{phase="Active"}: 2x10`}, "4m", []string{none}},
	{"MainstayGrantActive", "all have ended", []string{`mainstay_grants{phase="Active"}: 0x10`, `mainstay_grants{phase="Ended"}: 2x10`}, "4m", nil},
}

func TestAlertsFireWhenTheyShouldAndOnlyThen(t *testing.T) {
	programs, err := alerting.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	all := rendered(t)
	write(t, filepath.Join(dir, "rules.yaml"), all)
	if out, err := promtool(t.Context(), programs, dir, "check", "rules", "--lint=all", "rules.yaml"); err != nil {
		t.Fatalf("promtool check rules: %v\n%s", err, out)
	}
	// What annotations say is tried against the real Prometheus; here they
	// would only have to be repeated.
	labels := map[string]map[string]string{}
	for _, group := range all.Groups {
		for i := range group.Rules {
			group.Rules[i].Annotations = nil
			labels[group.Rules[i].Alert] = group.Rules[i].Labels
		}
	}
	write(t, filepath.Join(dir, "bare.yaml"), all)

	fires, silent := map[string]bool{}, map[string]bool{}
	type expected struct {
		Labels map[string]string `json:"exp_labels"`
	}
	var tests []map[string]any
	for _, c := range alertCases {
		want := []expected{}
		for _, text := range c.want {
			e := expected{map[string]string{}}
			maps.Copy(e.Labels, labels[c.alert])
			if strings.Contains(e.Labels["team"], "{{") {
				e.Labels["team"] = "platform" // unless the GitSync's own is known
			}
			for _, pair := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(text, -1) {
				e.Labels[pair[1]] = pair[2]
			}
			want = append(want, e)
		}
		if len(want) > 0 {
			fires[c.alert] = true
		} else {
			silent[c.alert] = true
		}
		var series []map[string]string
		for _, text := range c.series {
			name, values, ok := strings.Cut(text, ": ")
			if !ok {
				t.Fatalf("%s: no values in %s", c.alert, text)
			}
			series = append(series, map[string]string{"series": name, "values": values})
		}
		tests = append(tests, map[string]any{
			"name": c.alert + ": " + c.what, "interval": "1m", "input_series": series,
			"alert_rule_test": []any{map[string]any{"eval_time": c.at, "alertname": c.alert, "exp_alerts": want}},
		})
	}
	for _, r := range all.all() {
		if !fires[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s has no test in which it fires, or none in which it does not", r.Alert)
		}
	}
	write(t, filepath.Join(dir, "test.yaml"), map[string]any{
		"rule_files": []string{"bare.yaml"}, "evaluation_interval": "1m", "tests": tests,
	})
	if out, err := promtool(t.Context(), programs, dir, "test", "rules", "test.yaml"); err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
}

// A single refusal works as it should, and the person was told.
func TestASingleRefusalAlertsNobody(t *testing.T) {
	programs, err := alerting.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	all := rendered(t)
	write(t, filepath.Join(dir, "rules.yaml"), all)
	series := []map[string]string{
		{"series": "mainstay_build_info", "values": "1x30"},
		{"series": "mainstay_off", "values": "0x30"},
		{"series": "mainstay_enforcement_probe_success", "values": "1x30"},
		{"series": `mainstay_decisions_total{origin="request",operation="UPDATE",verdict="refuse",rule="default",mode="Enforce"}`, "values": "0 0 1x28"},
		{"series": `mainstay_admission_duration_seconds_count{entry="held.mainstay.dev",outcome="refuse"}`, "values": "0 0 1x28"},
		{"series": `mainstay_admission_duration_seconds_count{entry="held.mainstay.dev",outcome="error"}`, "values": "0x30"},
		{"series": `apiserver_admission_webhook_rejection_count{name="held.mainstay.dev",error_type="no_error",rejection_code="403"}`, "values": "0 0 1x28"},
		{"series": "mainstay_accounts_refused_often", "values": "0x30"},
	}
	var quiet []any
	for _, r := range all.all() {
		quiet = append(quiet, map[string]any{"eval_time": "3m", "alertname": r.Alert, "exp_alerts": []any{}}, map[string]any{"eval_time": "25m", "alertname": r.Alert, "exp_alerts": []any{}})
	}
	write(t, filepath.Join(dir, "test.yaml"), map[string]any{
		"rule_files": []string{"rules.yaml"}, "evaluation_interval": "1m",
		"tests": []any{map[string]any{"interval": "1m", "input_series": series, "alert_rule_test": quiet}},
	})
	if out, err := promtool(t.Context(), programs, dir, "test", "rules", "test.yaml"); err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
}

func write(t *testing.T, file string, content any) {
	t.Helper()
	raw, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func promtool(ctx context.Context, programs alerting.Programs, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, programs.Promtool, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("promtool %s: %w", args[0], err)
	}
	return string(out), err
}
