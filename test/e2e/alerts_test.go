// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/charts"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/process"
	"github.com/mainstay-gitops/mainstay/test/alerting"
	"github.com/mainstay-gitops/mainstay/test/world"
)

const (
	plantedInGit = "pl4nted-in-git-Zq7"
	plantedAsked = "pl4nted-by-alice-Xw3"
)

// hears is an HTTP receiver of notifications.
type hears struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *hears) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text.Write(body)
	h.text.WriteByte('\n')
}

func (h *hears) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// night is one run of the test of alerts: a real Prometheus scrapes the real
// controller and the real API server, and tells a real Alertmanager.
type night struct {
	t     *testing.T
	stack *alerting.Stack
	chat  *hears
	alice client.Client
	// outputs is what people saw.
	outputs strings.Builder
}

// arrived are the alerts that Alertmanager has sent on.
func (n *night) arrived() map[string]bool {
	found := map[string]bool{}
	for _, a := range n.stack.Received() {
		found[a.Labels["alertname"]] = true
	}
	return found
}

// await waits until alerts have arrived. again is done every second while one is
// missing: what counts has to be seen to rise.
func (n *night) await(again func(), wanted ...string) {
	n.t.Helper()
	last := time.Now()
	shared.Await(n.t, strings.Join(wanted, ", "), func() (bool, string) {
		got := n.arrived()
		missing := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return got[name] })
		if again != nil && len(missing) > 0 && time.Since(last) > time.Second {
			again()
			last = time.Now()
		}
		return len(missing) == 0, "missing " + strings.Join(missing, ", ")
	})
}

// Each alert is provoked once, and arrives at a real Alertmanager; the alerts' for
// is a second here.
func TestEveryAlertIsProvokedOnce(t *testing.T) {
	const ns = "alerts"
	programs, err := alerting.Build(t.Context(), os.Stderr)
	world.Must(t, err)
	names, rules := quickRules(t)
	app(t, ns, "many.yaml", manyDeployments(8), "secret.yaml",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: creds, namespace: NS}\ndata: {password: "+base64.StdEncoding.EncodeToString([]byte(plantedInGit))+"}\n")
	n := &night{t: t, stack: alerting.Run(t, programs, alerting.StackOptions{Rules: rules, Scrape: scrapes(t)}), chat: new(hears), alice: aliceClient(t)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(n.stack.State(t))
		}
	})
	over := make(chan struct{})
	receiver, stuck := httptest.NewServer(n.chat), httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	t.Cleanup(receiver.Close)
	t.Cleanup(func() {
		close(over)
		stuck.Close()
	})
	withNotifications(t, receiver.URL, n.stack.AlertmanagerURL, stuck.URL)

	n.sources()
	n.policies()
	id := n.refusals(ns)
	n.grants(ns)
	own := n.ownNamespace()
	n.configurationAltered()
	n.shortAuthority()
	n.await(nil, "MainstayRevertFailing") // a fight would be said in its place
	n.await(own, "MainstayFight", "MainstayDriftReverted")
	n.await(func() {
		n.refuse(ns)
		n.refuseAnother(ns)
	}, "MainstayRefusedOften", "MainstaySensitiveRefused", "MainstayPolicyErrors", "MainstayPolicyQuarantined", "MainstayNotificationsLost")
	n.await(nil, "MainstaySyncFailing", "MainstayGitUnreachable", "MainstayUnverified", "MainstaySuspended", "MainstayPoliciesNotLoaded",
		"MainstayExceptionEnding", "MainstayCertificate", "MainstayConfigurationAltered",
		"MainstayEmergencyGrant", "MainstayGrantRequested", "MainstayGrantActive", "MainstayGrantEnding")
	n.found(ns, id)
	n.revoked()
	n.dashboard()
	n.metrics(programs)
	seen := n.prompted(ns, id)

	kubectl(t, "-n", system, "create", "configmap", "mainstay-off", "--from-literal=reason=INC-1", "--from-literal=for=5m")
	n.await(nil, "MainstayOff")
	n.runbook()
	shared.Await(t, "the notifications tell of the emergency and of the way out", func() (bool, string) {
		said := n.chat.all()
		atAlertmanager := n.stack.Alertmanager(t)
		return strings.Contains(said, "MainstayOff") && strings.Contains(said, "EmergencyGrant") && strings.Contains(atAlertmanager, `"kind":"EmergencyGrant"`), said
	})
	kubectl(t, "-n", system, "delete", "configmap", "mainstay-off", "--ignore-not-found") // it may be over
	seen["the ledger of the controller that nobody read"] = n.outage(ns)

	got := n.arrived()
	for _, name := range names {
		if !got[name] {
			t.Errorf("%s did not arrive", name)
		}
	}
	for _, a := range n.stack.Received() {
		for name, text := range a.Annotations {
			if strings.Contains(text, "{{") || strings.Contains(text, "<error") || strings.Contains(text, "no value") {
				t.Errorf("%s: %s is %q", a.Labels["alertname"], name, text)
			}
		}
		if a.Labels["source"] != "mainstay" && a.Labels["cluster"] != "sandbox" {
			t.Errorf("%s does not say in which cluster: %v", a.Labels["alertname"], a.Labels)
		}
		if a.Labels["alertname"] == "MainstayFight" && (a.Labels["team"] != "night" || a.Annotations["contact"] != "#night-oncall") {
			t.Errorf("MainstayFight does not say who answers: %v %v", a.Labels, a.Annotations)
		}
	}
	seen["the refusals"], seen["the notifications"] = n.outputs.String(), n.chat.all()
	seen["the alerts"] = fmt.Sprint(n.stack.Received()) + n.stack.Alertmanager(t)
	nowhere(t, seen)
}

// nowhere fails where a planted value of a Secret is seen, plain or as the API
// writes it.
func nowhere(t *testing.T, seen map[string]string) {
	t.Helper()
	log, err := os.ReadFile(shared.State.ControllerLog())
	world.Must(t, err)
	seen["the controller's log and ledger"] = string(log)
	seen["the Events"] = kubectl(t, "get", "events", "-A", "-o", "yaml")
	seen["the GitSyncs, grants and policies"] = kubectl(t, "get", "gitsyncs,breakglasses,changepolicies", "-A", "-o", "yaml")
	response, err := http.Get(shared.State.MetricsURL()) //nolint:noctx // It is on this machine.
	world.Must(t, err)
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	world.Must(t, err)
	seen["the metrics"] = string(metrics)
	for where, text := range seen {
		if text == "" {
			t.Errorf("%s: nothing was seen", where)
		}
		for _, form := range plantedForms() {
			if strings.Contains(text, form) {
				t.Errorf("%s: a value of a Secret is seen: %s", where, form)
			}
		}
	}
}

// quickRules are the chart's rules, with the same short for, and their names.
func quickRules(t *testing.T) ([]string, []byte) {
	t.Helper()
	objects, err := charts.Render(charts.Options{Namespace: system, Values: map[string]any{
		"monitoring": map[string]any{"enabled": true}, "config": map[string]any{"clusterName": "sandbox"},
	}})
	world.Must(t, err)
	for _, object := range objects {
		if object.GetKind() != "PrometheusRule" {
			continue
		}
		raw, err := yaml.Marshal(object.Object["spec"])
		world.Must(t, err)
		raw = regexp.MustCompile(`(?m)^(\s+for: ).*$`).ReplaceAll(raw, []byte("${1}1s"))
		var names []string
		for _, match := range regexp.MustCompile(`(?m)^\s+(?:- )?alert: (\w+)$`).FindAllSubmatch(raw, -1) {
			names = append(names, string(match[1]))
		}
		if len(names) < 20 {
			t.Fatalf("only %d rules were found", len(names))
		}
		return names, raw
	}
	t.Fatal("the chart has no rules")
	return nil, nil
}

// scrapes are the controller and, of the API server, what it counts of webhooks.
func scrapes(t *testing.T) []map[string]any {
	t.Helper()
	own, err := url.Parse(shared.State.MetricsURL())
	world.Must(t, err)
	admin, err := shared.State.RESTConfig("admin")
	world.Must(t, err)
	server, err := url.Parse(admin.Host)
	world.Must(t, err)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	world.Must(t, os.WriteFile(ca, admin.CAData, 0o600))
	return []map[string]any{{
		"job_name": "mainstay", "honor_labels": true,
		"static_configs": []any{map[string]any{"targets": []string{own.Host}}},
	}, {
		"job_name": "apiserver", "scheme": "https", "scrape_interval": "2s", "scrape_timeout": "2s",
		"tls_config": map[string]any{"ca_file": ca}, "authorization": map[string]any{"credentials": admin.BearerToken},
		"metric_relabel_configs": []any{map[string]any{"source_labels": []string{"__name__"}, "regex": "apiserver_admission_webhook_.+_count", "action": "keep"}},
		"static_configs":         []any{map[string]any{"targets": []string{server.Host}}},
	}}
}

// withNotifications starts the controller again with routes, and as it was when
// the test ends. The receiver of one route never answers, and there is little room.
func withNotifications(t *testing.T, webhook, alertmanager, stuck string) {
	t.Helper()
	for name, address := range map[string]string{"alerts-webhook": webhook, "alerts-alertmanager": alertmanager, "alerts-stuck": stuck} {
		create(t, `{apiVersion: v1, kind: Secret, metadata: {name: `+name+`, namespace: mainstay-system}, stringData: {url: "`+address+`"}}`)
	}
	file := filepath.Join(shared.State.Dir, "config.yaml")
	config := readConfig(t)
	route := func(name, receiver string, severities ...string) map[string]any {
		return map[string]any{"name": name, "type": receiver, "severities": severities, "secretRef": map[string]any{"name": "alerts-" + name}}
	}
	config["notifications"] = map[string]any{
		"window": "200ms", "queue": 8, "routes": []any{
			route("webhook", "Webhook", "critical", "warning", "info"), route("alertmanager", "Alertmanager", "critical"),
			route("stuck", "Webhook", "critical", "warning", "info"),
		},
	}
	changed, err := yaml.Marshal(config)
	world.Must(t, err)
	t.Cleanup(func() {
		if readConfig(t)["notifications"] == nil {
			return // it was started again since
		}
		if p, _, running, err := process.Find("controller", filepath.Join(shared.State.Dir, "run", "controller.json"), ""); err == nil && running {
			_ = p.Stop(world.Lasting(t), 5*time.Second)
		}
		shared.RestartIfDown(t)
	})
	world.Must(t, shared.Controller(t).Stop(t.Context(), 5*time.Second))
	world.Must(t, os.WriteFile(file, changed, 0o600))
	shared.Start(t)
}

func readConfig(t *testing.T) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(shared.State.Dir, "config.yaml"))
	world.Must(t, err)
	config := map[string]any{}
	world.Must(t, yaml.Unmarshal(raw, &config))
	return config
}

func aliceClient(t *testing.T) client.Client {
	t.Helper()
	config, err := shared.State.RESTConfig("alice")
	world.Must(t, err)
	c, err := client.New(config, client.Options{Scheme: shared.Client.Scheme()})
	world.Must(t, err)
	return c
}

// create makes an object that goes when the test ends.
func create(t *testing.T, manifest string) {
	t.Helper()
	if out, err := shared.Kubectl(t, "admin", manifest, "create", "-f", "-"); err != nil {
		t.Fatalf("%s\n%s", out, manifest)
	}
	t.Cleanup(func() {
		if out, err := shared.Kubectl(t, "admin", manifest, "delete", "--wait=false", "-f", "-"); err != nil {
			t.Logf("delete: %s", out)
		}
	})
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := shared.Kubectl(t, "admin", "", args...)
	if err != nil {
		t.Fatalf("kubectl %v: %s", args, out)
	}
	return out
}

func manyDeployments(n int) string {
	var out strings.Builder
	for i := range n {
		name := fmt.Sprintf("many-%d", i)
		out.WriteString(strings.NewReplacer("name: web, namespace", "name: "+name+", namespace", "app: web", "app: "+name).Replace(held) + "---\n")
	}
	return out.String()
}
