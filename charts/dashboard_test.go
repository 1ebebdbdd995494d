// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package charts_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/test/alerting"
)

// queries are those of the dashboard, by the title of the panel.
func queries(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("mainstay", "files", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Type, Title, Description string
			Targets                  []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal(raw, &dashboard); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, panel := range dashboard.Panels {
		if panel.Type != "row" && (len(panel.Targets) == 0 || panel.Description == "") {
			t.Errorf("panel %q shows nothing, or does not say what", panel.Title)
		}
		for _, target := range panel.Targets {
			found[panel.Title+" "+target.RefID] = target.Expr
		}
	}
	if len(found) < 20 {
		t.Fatalf("%d queries were found", len(found))
	}
	return found
}

func TestEveryQueryOfTheDashboardParses(t *testing.T) {
	programs, err := alerting.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var recorded []map[string]string
	for where, expr := range queries(t) {
		name := "dashboard:" + regexp.MustCompile(`\W+`).ReplaceAllString(where, "_")
		recorded = append(recorded, map[string]string{"record": name, "expr": strings.ReplaceAll(expr, "$__rate_interval", "5m")})
	}
	write(t, filepath.Join(dir, "rules.yaml"), map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": recorded}}})
	if out, err := promtool(t.Context(), programs, dir, "check", "rules", "rules.yaml"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

var (
	inSource  = regexp.MustCompile(`(?:Opts\{\s*Name:\s+|NewDesc\(\s*)"(mainstay_[a-z0-9_]+)"`)
	inQuery   = regexp.MustCompile(`\bmainstay_[a-z0-9_]+`)
	inTable   = regexp.MustCompile("(?m)^\\| `(mainstay_[a-z0-9_]+)` \\|")
	histogram = regexp.MustCompile(`_(bucket|count|sum)$`)
)

// registered are the metrics that the program makes.
func registered(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, half := range []string{"cmd", "policy", "sync", "webhook"} {
		err := filepath.WalkDir(filepath.Join("..", half), func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
				return err
			}
			source, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			for _, match := range inSource.FindAllStringSubmatch(string(source), -1) {
				found[match[1]] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func TestDashboardAndAlertsNameOnlyMetricsThatExist(t *testing.T) {
	known := registered(t)
	asked := queries(t)
	for _, r := range rendered(t).all() {
		asked[r.Alert] = r.Expr
	}
	for where, expr := range asked {
		for _, name := range inQuery.FindAllString(expr, -1) {
			if !known[name] && !known[histogram.ReplaceAllString(name, "")] {
				t.Errorf("%s asks for %s, which there is not", where, name)
			}
		}
	}
}

func TestEveryMetricIsInTheTable(t *testing.T) {
	table, err := os.ReadFile(filepath.Join("mainstay", "METRICS.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, match := range inTable.FindAllStringSubmatch(string(table), -1) {
		documented[match[1]] = true
	}
	known := registered(t)
	for name := range known {
		if !documented[name] {
			t.Errorf("METRICS.md lacks %s", name)
		}
	}
	for name := range documented {
		if !known[name] {
			t.Errorf("METRICS.md has %s, which there is not", name)
		}
	}
	for _, name := range regexp.MustCompile(`Mainstay[A-Z]\w+`).FindAllString(string(table), -1) {
		if !strings.Contains(alertNames(t), fmt.Sprintf(" %s ", name)) {
			t.Errorf("METRICS.md names the alert %s, which there is not", name)
		}
	}
}

func alertNames(t *testing.T) string {
	t.Helper()
	names := " "
	for _, r := range rendered(t).all() {
		names += r.Alert + " "
	}
	return names
}
