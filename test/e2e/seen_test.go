// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/mainstay-gitops/mainstay/test/alerting"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// prompted is what people read about the Secret and what became of it.
func (n *night) prompted(ns, id string) map[string]string {
	seen := map[string]string{}
	for _, args := range [][]string{
		{"log", "--since", "1h", "--all"},
		{"log", "--id", id, "-o", "json"},
		{"explain", "secret/creds", "-n", ns},
		{"why", id},
		{"decisions", "export", "--since", "1h"},
		{"policy", "capture", id, "--dir", n.t.TempDir()},
		{"policy", "suggest", "--since", "1h"},
		{"diff", "shop"},
		{"diff", ".", "shop"},
		{"status", "shop"},
		{"status", "shop", "-o", "json"},
		{"report", "--since", "1h"},
		{"breakglass", "show", "alerts-now"},
		{"breakglass", "patch", "alerts-now"},
		{"render", "."},
	} {
		status, out := atPrompt(n.t, "alice", args...)
		if status == 2 {
			n.t.Errorf("mainstay %s: %s", strings.Join(args, " "), out)
		}
		seen["mainstay "+strings.Join(args, " ")] = out
	}
	return seen
}

// runbook runs each command that the runbook shows, but for the logs of Pods, which
// there are none of here.
func (n *night) runbook() {
	raw, err := os.ReadFile(filepath.Join("..", "..", "charts", "mainstay", "RUNBOOK.md"))
	world.Must(n.t, err)
	ran := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^\$ (.*)$`).FindAllStringSubmatch(string(raw), -1) {
		line := match[1]
		if ran[line] || strings.Contains(line, "logs deploy/mainstay") {
			continue
		}
		ran[line] = true
		name := "shop"
		switch {
		case strings.Contains(line, "breakglass approve"):
			name = "alerts-waits"
		case strings.Contains(line, "breakglass"):
			name = "alerts-now"
		case strings.Contains(line, "resume"):
			name = "alerts-missing"
		}
		command := strings.NewReplacer("NAMESPACE", system, "NAME", name, "RULE", "alerts_ending", "DIR", "policies").Replace(line)
		cmd := exec.CommandContext(n.t.Context(), "sh", "-c", command)
		cmd.Env = append(os.Environ(), shared.State.Environment(filepath.Dir(shared.Program)+":"+os.Getenv("PATH"))...)
		cmd.Dir = shared.Repo
		out, err := cmd.CombinedOutput()
		// 1 says that there is something to see, or nothing.
		if code := cmd.ProcessState.ExitCode(); err != nil && (code != 1 || strings.HasPrefix(command, "kubectl")) {
			n.t.Errorf("the runbook's %s: %v: %s", command, err, out)
		}
	}
	if len(ran) < 12 {
		n.t.Errorf("the runbook has only %d commands", len(ran))
	}
}

// dashboard asks Prometheus each query of the dashboard, which shows what was done
// tonight.
func (n *night) dashboard() {
	raw, err := os.ReadFile(filepath.Join("..", "..", "charts", "mainstay", "files", "dashboard.json"))
	world.Must(n.t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	world.Must(n.t, json.Unmarshal(raw, &dashboard))
	asked := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			asked++
			if found, answer := n.stack.Query(n.t, strings.ReplaceAll(target.Expr, "$__rate_interval", "1m")); found == 0 {
				n.t.Errorf("panel %q shows nothing: %s: %s", panel.Title, target.Expr, answer)
			}
		}
	}
	if asked < 20 {
		n.t.Errorf("the dashboard has only %d queries", asked)
	}
}

// metrics compares what the controller exports with the table, which names each
// metric with its labels, and has promtool look at it.
func (n *night) metrics(programs alerting.Programs) {
	_, exported := get(strings.TrimSuffix(strings.TrimPrefix(shared.State.MetricsURL(), "http://"), "/metrics"), "/metrics")
	cmd := exec.CommandContext(n.t.Context(), programs.Promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(exported)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(exported))
	world.Must(n.t, err)
	got := map[string][]string{}
	for name, family := range families {
		if !strings.HasPrefix(name, "mainstay_") {
			continue
		}
		got[name] = []string{}
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if !slices.Contains(got[name], label.GetName()) {
					got[name] = append(got[name], label.GetName())
				}
				for _, word := range []string{"alice", "bob", "creds", "many-", "alerts-fought"} {
					if strings.Contains(label.GetValue(), word) {
						n.t.Errorf("%s: %s=%q names a person or an object", name, label.GetName(), label.GetValue())
					}
				}
			}
		}
		if len(family.GetMetric()) > 500 {
			n.t.Errorf("%s has %d series", name, len(family.GetMetric()))
		}
	}
	table, err := os.ReadFile(filepath.Join("..", "..", "charts", "mainstay", "METRICS.md"))
	world.Must(n.t, err)
	documented := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(mainstay_[a-z0-9_]+)` \\| ([^|]*)\\|").FindAllStringSubmatch(string(table), -1) {
		labels := []string{}
		for label := range strings.SplitSeq(regexp.MustCompile(`\([^)]*\)`).ReplaceAllString(row[2], ""), ",") {
			if label = strings.TrimSpace(label); label != "" {
				labels = append(labels, label)
			}
		}
		documented[row[1]] = labels
	}
	for name, labels := range documented {
		have, ok := got[name]
		if !ok {
			n.t.Errorf("METRICS.md has %s, which is not exported", name)
		}
		slices.Sort(labels)
		slices.Sort(have)
		if ok && !slices.Equal(labels, have) {
			n.t.Errorf("METRICS.md: %s has the labels %v, exported are %v", name, labels, have)
		}
	}
	for name := range got {
		if documented[name] == nil {
			n.t.Errorf("METRICS.md lacks %s", name)
		}
	}
}
