// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package alerting

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// StackOptions say what a Stack looks at.
type StackOptions struct {
	// Rules is the content of a file of rules. Required.
	Rules []byte
	// Scrape are the scrape configurations in Prometheus' own words. Required.
	Scrape []map[string]any
}

// Stack is a Prometheus that evaluates rules every second, the Alertmanager that
// it tells, and who that one tells.
type Stack struct {
	// AlertmanagerURL is where its API is.
	AlertmanagerURL string

	prometheus string
	mu         sync.Mutex
	received   []Alert
	log        *os.File
}

// Alert is one that Alertmanager has sent on.
type Alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// Run starts a Stack that ends with the test.
func Run(t testing.TB, programs Programs, o StackOptions) *Stack {
	t.Helper()
	dir := t.TempDir()
	s := new(Stack)
	var err error
	if s.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.log.Close() })
	receiver := httptest.NewServer(http.HandlerFunc(s.receive))
	t.Cleanup(receiver.Close)

	at := free(t)
	s.AlertmanagerURL = "http://" + at
	file := put(t, dir, "alertmanager.yml", map[string]any{
		"route": map[string]any{
			"receiver": "test", "group_by": []string{"..."}, "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h",
		},
		"receivers": []any{map[string]any{
			"name": "test", "webhook_configs": []any{map[string]any{"url": receiver.URL, "send_resolved": false}},
		}},
	})
	s.start(t, programs.Alertmanager, "--config.file="+file, "--storage.path="+filepath.Join(dir, "alertmanager"),
		"--web.listen-address="+at, "--cluster.listen-address=")

	if err := os.WriteFile(filepath.Join(dir, "rules.yml"), o.Rules, 0o600); err != nil {
		t.Fatal(err)
	}
	file = put(t, dir, "prometheus.yml", map[string]any{
		"global":         map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files":     []string{filepath.Join(dir, "rules.yml")},
		"scrape_configs": o.Scrape,
		"alerting":       map[string]any{"alertmanagers": []any{map[string]any{"static_configs": []any{map[string]any{"targets": []string{at}}}}}},
	})
	s.ready(t, s.AlertmanagerURL)
	at = free(t)
	s.prometheus = "http://" + at
	s.start(t, programs.Prometheus, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "prometheus"), "--web.listen-address="+at)
	s.ready(t, s.prometheus)
	return s
}

// Received are the alerts that arrived so far.
func (s *Stack) Received() []Alert {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Alert(nil), s.received...)
}

// Alertmanager is what its API has to say about alerts.
func (s *Stack) Alertmanager(t testing.TB) string { return get(t, s.AlertmanagerURL+"/api/v2/alerts") }

// State is what Prometheus thinks of its targets and rules, for a test that fails.
func (s *Stack) State(t testing.TB) string {
	return get(t, s.prometheus+"/api/v1/targets") + "\n" + get(t, s.prometheus+"/api/v1/alerts")
}

// Query is how many series Prometheus finds for an expression now, and its answer.
func (s *Stack) Query(t testing.TB, expr string) (int, string) {
	t.Helper()
	raw := get(t, s.prometheus+"/api/v1/query?"+url.Values{"query": {expr}}.Encode())
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	if err := json.Unmarshal([]byte(raw), &answer); err != nil {
		t.Errorf("query %s: %v: %s", expr, err, raw)
	}
	return len(answer.Data.Result), raw
}

func (s *Stack) receive(_ http.ResponseWriter, r *http.Request) {
	var message struct {
		Alerts []Alert `json:"alerts"`
	}
	if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, message.Alerts...)
}

func (s *Stack) start(t testing.TB, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...) //nolint:noctx // It ends in the cleanup.
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// ready waits until a program is.
func (s *Stack) ready(t testing.TB, url string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		response, err := http.Get(url + "/-/ready") //nolint:noctx // It is on this machine.
		if err != nil {
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return
		}
	}
	said, _ := os.ReadFile(s.log.Name())
	t.Fatalf("%s does not become ready:\n%s", url, said)
}

func free(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It is closed at once.
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func put(t testing.TB, dir, name string, content any) string {
	t.Helper()
	raw, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func get(t testing.TB, url string) string {
	t.Helper()
	response, err := http.Get(url) //nolint:noctx // It is on this machine.
	if err != nil {
		return fmt.Sprint(err)
	}
	defer response.Body.Close()
	var out strings.Builder
	if _, err := io.Copy(&out, response.Body); err != nil {
		t.Log(err)
	}
	return out.String()
}
