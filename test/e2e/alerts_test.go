// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/charts"
	"github.com/mainstay-gitops/mainstay/test/alerting"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// notProvoked are the alerts that nothing here can bring about in time. promtool
// tries their rules in charts/alerts_test.go.
var notProvoked = map[string]string{
	"MainstayEnforcementHole":   "the webhook would have to permit what it must refuse",
	"MainstayNotEnforcing":      "an API server that never reaches the webhook",
	"MainstayWebhookErrors":     "the program would have to fail",
	"MainstayRevertFailing":     "an API server that refuses git's values",
	"MainstayFight":             "needs writers that get past the webhook for longer than this test lasts",
	"MainstayAwaitingGit":       "needs the end of a grant",
	"MainstayCertificate":       "the serving certificate is renewed days before",
	"MainstayPolicyQuarantined": "rules have to exceed their limit for longer than this test lasts",
	"MainstayLedgerLoses":       "standard output would have to be blocked",
	"MainstayNotificationsLost": "a message is given up after a quarter of an hour",
	"MainstayUnreachable":       "its metric is the API server's, which is not scraped here",
	"MainstayFailsOpen":         "the same",
}

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

// A real Prometheus scrapes the real controller; each alert that can be provoked
// is, once, and arrives at a real Alertmanager. The alerts' for is a second here.
func TestEveryAlertIsProvokedOnce(t *testing.T) {
	const ns = "alerts"
	programs, err := alerting.Build(t.Context(), os.Stderr)
	world.Must(t, err)
	names, rules := quickRules(t)
	app(t, ns, "many.yaml", manyDeployments(8), "secret.yaml",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: creds, namespace: NS}\ndata: {password: "+base64.StdEncoding.EncodeToString([]byte(plantedInGit))+"}\n")
	stack := alerting.Run(t, programs, alerting.StackOptions{Rules: rules, Scrape: scrapes(t)})
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(stack.State(t))
		}
	})
	chat := new(hears)
	receiver := httptest.NewServer(chat)
	t.Cleanup(receiver.Close)
	withNotifications(t, receiver.URL, stack.AlertmanagerURL)
	alice := aliceClient(t)
	var outputs strings.Builder

	arrived := func() map[string]bool {
		found := map[string]bool{}
		for _, a := range stack.Received() {
			found[a.Labels["alertname"]] = true
		}
		return found
	}
	awaitAlerts := func(again func(), wanted ...string) {
		t.Helper()
		last := time.Now()
		shared.Await(t, strings.Join(wanted, ", "), func() (bool, string) {
			got := arrived()
			missing := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return got[name] })
			if again != nil && len(missing) > 0 && time.Since(last) > 2*time.Second {
				again()
				last = time.Now()
			}
			return len(missing) == 0, "missing " + strings.Join(missing, ", ")
		})
	}

	// Sources that can't be brought in, each in its way.
	for name, spec := range map[string]string{
		"alerts-unreachable": `{source: {url: "https://127.0.0.1:1/x.git", ref: {branch: main}}, interval: 1s, enforcement: {mode: Enforce}}`,
		"alerts-missing":     `{source: {url: "file://` + shared.State.Repository + `", ref: {branch: main}, path: there-is-none}, interval: 1s, enforcement: {mode: Enforce}}`,
		"alerts-unsigned": `{source: {url: "file://` + shared.State.Repository + `", ref: {branch: main}, path: api,
			verify: {mode: Head, secretRef: {name: alerts-signers}}}, interval: 1s, enforcement: {mode: Enforce}}`,
	} {
		create(t, "{apiVersion: mainstay.dev/v1alpha1, kind: GitSync, metadata: {name: "+name+", namespace: mainstay-system}, spec: "+spec+"}")
	}
	create(t, `{apiVersion: v1, kind: Secret, metadata: {name: alerts-signers, namespace: mainstay-system}, stringData: {allowed_signers: "cy@shop.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJzLzzXWLjJ7jTCSRBCFVHUOYaPVOnQ8pGJq6BOqNvOd"}}`)
	kubectl(t, "-n", "mainstay-system", "annotate", "gitsync", "alerts-missing", "mainstay.dev/suspend=2m INC-1 an alert is tried")
	// Policies that don't load, and one that fails.
	shared.Push(t, map[string]string{"policies/alerts/broken.rego": "package alerts\n\nexception contains {\n"})
	t.Cleanup(func() { shared.Removed(t, "policies/alerts") })
	create(t, `{apiVersion: mainstay.dev/v1alpha1, kind: ChangePolicy, metadata: {name: alerts, namespace: mainstay-system}, spec: {modules: {"alerts.rego": "`+
		`package alerts_failing\n\nboth := 1 if input.operation == \"UPDATE\"\n\nboth := 2 if input.namespace == \"alerts\"\n\n`+
		`# METADATA\n# title: it fails\nexception contains {\"reason\": \"never\", \"paths\": [\"**\"]} if both == 1\n"}}}`)

	// An account that is refused again and again, at a Secret.
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "creds"}}
	refuse := func() string {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"stringData":{"password":"`+plantedAsked+`"}}`))
		err := alice.Patch(t.Context(), secret.DeepCopy(), patch)
		if err == nil {
			t.Fatal("alice changed the Secret")
		}
		return err.Error()
	}
	outputs.WriteString(refuse())
	id := regexp.MustCompile(`breakglass request (\w+) --for`).FindStringSubmatch(outputs.String())
	if id == nil {
		t.Fatalf("the refusal names no decision: %s", outputs.String())
	}
	for range 25 {
		outputs.WriteString(refuse())
	}
	awaitAlerts(func() { refuse() }, "MainstayRefusedOften", "MainstaySensitiveRefused", "MainstayPolicyErrors")
	// The id of the refusal leads to the ledger, the Event and the notification.
	shared.Await(t, "the decision is found from anywhere", func() (bool, string) {
		events, _ := shared.Kubectl(t, "admin", "", "-n", ns, "get", "events", "-o", "yaml")
		copies, _ := shared.Kubectl(t, "admin", "", "-n", system, "get", "events", "-o", "yaml")
		in := map[string]bool{
			"ledger":       slices.ContainsFunc(ledger(t), func(line string) bool { return strings.Contains(line, `"decision":"`+id[1]+`"`) }),
			"Event":        strings.Contains(events, "decision "+id[1]),
			"its copy":     strings.Contains(copies, "decision "+id[1]),
			"notification": strings.Contains(chat.all(), id[1]),
		}
		return !slices.Contains(slices.Collect(maps.Values(in)), false), fmt.Sprint(in)
	})

	// Grants: one that waits, and an emergency, under which the Secret is changed.
	scope := `"scope":{"namespaces":["` + ns + `"],"operations":["UPDATE"]}`
	if out, err := asked(t, "alice", "alerts-waits", scope); err != nil {
		t.Fatal(out)
	}
	if out, err := shared.Kubectl(t, "alice", fmt.Sprintf(`{"apiVersion":"mainstay.dev/v1alpha1","kind":"BreakGlass","metadata":{"name":"alerts-now","namespace":%q},
		"spec":{"requestedBy":"alice","reason":"INC-1","duration":"10m","emergency":true,%s}}`, system, scope), "create", "-f", "-"); err != nil {
		t.Fatal(out)
	}
	permitted(t, "alice changes the Secret", func() (string, error) {
		return shared.Kubectl(t, "alice", "", "-n", ns, "patch", "secret", "creds", "--type=merge", "-p", `{"stringData":{"password":"`+plantedAsked+`"}}`)
	})

	// The webhook configuration is altered again and again.
	for range 3 {
		kubectl(t, "delete", "validatingwebhookconfiguration", "mainstay")
		shared.Await(t, "it is put back", func() (bool, string) {
			out, err := shared.Kubectl(t, "admin", "", "get", "validatingwebhookconfiguration", "mainstay")
			return err == nil, out
		})
	}
	awaitAlerts(nil, "MainstayConfigurationAltered")
	awaitAlerts(nil, "MainstaySyncFailing", "MainstayGitUnreachable", "MainstayUnverified", "MainstaySuspended", "MainstayPoliciesNotLoaded",
		"MainstayEmergencyGrant", "MainstayGrantRequested", "MainstayGrantActive", "MainstayGrantEnding")

	// Nobody answers: what is held can't be changed, what is scaled passes and is
	// put back afterwards, without a request that explains it.
	shared.Await(t, "the configuration is in force again", func() (bool, string) {
		out := failurePolicies(t)
		return strings.Contains(out, "Fail"), out
	})
	controller := shared.Controller(t)
	world.Must(t, syscall.Kill(controller.PID(), syscall.SIGSTOP))
	resumed := false
	resume := func() {
		if !resumed {
			_ = syscall.Kill(controller.PID(), syscall.SIGCONT)
			resumed = true
		}
	}
	t.Cleanup(resume)
	n := 0
	scale := func() {
		n++
		var calls sync.WaitGroup
		for i := range 8 {
			calls.Go(func() {
				_, _ = shared.Kubectl(t, "admin", "", "-n", ns, "scale", fmt.Sprintf("deployment/many-%d", i), fmt.Sprintf("--replicas=%d", 3+n%2))
			})
		}
		calls.Go(func() { _, _ = setImage(t, "alice", ns, "nginx:1.29") })
		calls.Wait()
	}
	scale()
	awaitAlerts(nil, "MainstayDown")
	resume()
	awaitAlerts(nil, "MainstayDriftReverted", "MainstayUnattributedDrift")

	kubectl(t, "-n", system, "create", "configmap", "mainstay-off", "--from-literal=reason=INC-1", "--from-literal=for=20s")
	awaitAlerts(nil, "MainstayOff")
	shared.Await(t, "the notifications tell of the emergency and of the way out", func() (bool, string) {
		said := chat.all()
		atAlertmanager := stack.Alertmanager(t)
		return strings.Contains(said, "MainstayOff") && strings.Contains(said, "EmergencyGrant") && strings.Contains(atAlertmanager, `"kind":"EmergencyGrant"`), said
	})
	kubectl(t, "-n", system, "delete", "configmap", "mainstay-off", "--ignore-not-found") // it may be over

	got := arrived()
	for name := range notProvoked {
		if !slices.Contains(names, name) {
			t.Errorf("there is no alert %s", name)
		}
	}
	for _, name := range names {
		if notProvoked[name] == "" && !got[name] {
			t.Errorf("%s did not arrive", name)
		}
	}
	for _, a := range stack.Received() {
		for name, text := range a.Annotations {
			if strings.Contains(text, "{{") || strings.Contains(text, "<error") || strings.Contains(text, "no value") {
				t.Errorf("%s: %s is %q", a.Labels["alertname"], name, text)
			}
		}
		if a.Labels["source"] != "mainstay" && a.Labels["cluster"] != "sandbox" {
			t.Errorf("%s does not say in which cluster: %v", a.Labels["alertname"], a.Labels)
		}
	}
	nowhere(t, map[string]string{
		"the refusals": outputs.String(), "the notifications": chat.all(),
		"the alerts": fmt.Sprint(stack.Received()) + stack.Alertmanager(t),
	})
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
		for _, planted := range []string{plantedInGit, plantedAsked} {
			for _, form := range []string{planted, base64.StdEncoding.EncodeToString([]byte(planted))} {
				if strings.Contains(text, form) {
					t.Errorf("%s: a value of a Secret is seen: %s", where, form)
				}
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

// scrapes is the controller.
func scrapes(t *testing.T) []map[string]any {
	t.Helper()
	own, err := url.Parse(shared.State.MetricsURL())
	world.Must(t, err)
	return []map[string]any{{
		"job_name": "mainstay", "honor_labels": true,
		"static_configs": []any{map[string]any{"targets": []string{own.Host}}},
	}}
}

// withNotifications starts the controller again with two routes, and as it was
// when the test ends.
func withNotifications(t *testing.T, webhook, alertmanager string) {
	t.Helper()
	for name, address := range map[string]string{"alerts-webhook": webhook, "alerts-alertmanager": alertmanager} {
		create(t, `{apiVersion: v1, kind: Secret, metadata: {name: `+name+`, namespace: mainstay-system}, stringData: {url: "`+address+`"}}`)
	}
	file := filepath.Join(shared.State.Dir, "config.yaml")
	raw, err := os.ReadFile(file)
	world.Must(t, err)
	config := map[string]any{}
	world.Must(t, yaml.Unmarshal(raw, &config))
	route := func(name, receiver string, severities ...string) map[string]any {
		return map[string]any{"name": name, "type": receiver, "severities": severities, "secretRef": map[string]any{"name": "alerts-" + name}}
	}
	config["notifications"] = map[string]any{
		"window": "1s", "routes": []any{route("webhook", "Webhook", "critical", "warning", "info"), route("alertmanager", "Alertmanager", "critical")},
	}
	changed, err := yaml.Marshal(config)
	world.Must(t, err)
	t.Cleanup(func() {
		_ = shared.Controller(t).Stop(world.Lasting(t), 5*time.Second)
		shared.RestartIfDown(t)
	})
	world.Must(t, shared.Controller(t).Stop(t.Context(), 5*time.Second))
	world.Must(t, os.WriteFile(file, changed, 0o600))
	shared.Start(t)
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
