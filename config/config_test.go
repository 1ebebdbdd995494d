// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const header = "apiVersion: config.mainstay.dev/v1alpha1\nkind: MainstayConfig\n"

func TestDefaultIsTheGoldenFile(t *testing.T) {
	golden := filepath.Join("testdata", "default.yaml")
	got, err := yaml.Marshal(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("default configuration; accept it with -update (-want +got):\n%s", diff)
	}

	loaded, err := config.Load(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Default(), loaded); diff != "" {
		t.Errorf("the golden file read again (-want +got):\n%s", diff)
	}
}

func TestParseReadsOverTheDefaults(t *testing.T) {
	tests := map[string]struct {
		file string
		want func(*config.Config)
	}{
		"a file that says nothing is the default": {
			want: func(*config.Config) {},
		},
		"a list replaces the default list": {
			file: "policies: {personFieldManagers: [me]}",
			want: func(c *config.Config) { c.Policies.PersonFieldManagers = []string{"me"} },
		},
		"a duration is a string": {
			file: "policies: {deadline: 1s}",
			want: func(c *config.Config) { c.Policies.Deadline.Duration = time.Second },
		},
		"false is not absent": {
			file: "leaderElection: {enabled: false}",
			want: func(c *config.Config) { c.LeaderElection.Enabled = false },
		},
		"a URL replaces the default service": {
			file: `webhook: {url: "https://127.0.0.1:9443"}`,
			want: func(c *config.Config) {
				c.Webhook.URL = "https://127.0.0.1:9443"
				c.Webhook.Service = nil
			},
		},
		"a service keeps the defaults it does not set": {
			file: "webhook: {service: {name: gate}}",
			want: func(c *config.Config) { c.Webhook.Service.Name = "gate" },
		},
		"a replica may end at once": {
			file: "webhook: {shutdownDelay: 0s}",
			want: func(c *config.Config) { c.Webhook.ShutdownDelay.Duration = 0 },
		},
		"clients may have to show a certificate": {
			file: "webhook: {clientCAFile: /etc/ca.crt, clientNames: [kube-apiserver]}",
			want: func(c *config.Config) {
				c.Webhook.ClientCAFile, c.Webhook.ClientNames = "/etc/ca.crt", []string{"kube-apiserver"}
			},
		},
		"metrics can be turned off": {
			file: `metrics: {bindAddress: "0"}`,
			want: func(c *config.Config) { c.Metrics.BindAddress = "0" },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := config.Parse([]byte(header + tt.file))
			if err != nil {
				t.Fatal(err)
			}
			want := config.Default()
			tt.want(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct {
		file string
		want string
	}{
		"an empty file":                       {"", "the file is empty"},
		"a list":                              {"[]", "a mapping"},
		"two documents":                       {header + "---\n" + header, "exactly one document"},
		"a file that does not say what it is": {"clusterName: x", "apiVersion: must be config.mainstay.dev/v1alpha1"},
		"another kind":                        {"apiVersion: config.mainstay.dev/v1alpha1\nkind: Config", "kind: must be MainstayConfig"},
		"an unknown key, with the nearest":    {header + "clusterNmae: x", "line 3: clusterNmae: unknown key; did you mean clusterName?"},
		"an unknown nested key":               {header + "policies:\n  dedline: 1s", "line 4: policies.dedline: unknown key; did you mean deadline?"},
		"a key in the wrong case":             {header + "clustername: x", "did you mean clusterName?"},
		"a key inside an optional part":       {header + "webhook: {service: {nane: x}}", "webhook.service.nane: unknown key; did you mean name?"},
		"a repeated key":                      {header + "clusterName: x\nclusterName: y", "clusterName"},
		"a wrong type":                        {header + "sync: {parallelism: many}", "parallelism"},
		"a duration without a unit":           {header + `policies: {deadline: "50"}`, "missing unit"},
		"both a URL and a service":            {header + "webhook: {url: https://x, service: {name: y}}", "webhook: at most one of url and service"},
		"a URL without TLS":                   {header + "webhook: {url: http://x}", "webhook.url: must be https://"},
		"a time-out of a minute":              {header + "webhook: {timeoutSeconds: 60}", "webhook.timeoutSeconds: must be between 1 and 10, is 60"},
		"an unknown failure policy":           {header + "webhook: {scaleFailurePolicy: Deny}", "webhook.scaleFailurePolicy: must be Ignore or Fail"},
		"a delay before the past":             {header + "webhook: {shutdownDelay: -1s}", "webhook.shutdownDelay: must be between 0s and 5m, is -1s"},
		"a delay of an hour":                  {header + "webhook: {shutdownDelay: 1h}", "webhook.shutdownDelay: must be between 0s and 5m, is 1h0m0s"},
		"an address without a port":           {header + "health: {bindAddress: localhost}", "health.bindAddress: must be host:port"},
		"an address with a word for a port":   {header + `webhook: {bindAddress: ":https"}`, "webhook.bindAddress: must end in a port"},
		"no parallelism":                      {header + "sync: {parallelism: 0}", "sync.parallelism: must be between 1 and 256"},
		"a push webhook without a Secret":     {header + "sync: {pushWebhook: {bindAddress: ':9292'}}", "sync.pushWebhook.secretName: must name the Secret"},
		"a push webhook without an address":   {header + "sync: {pushWebhook: {secretName: push}}", "sync.pushWebhook.bindAddress: must be host:port"},
		"submodules from a server alone":      {header + "sync: {submodules: [git.example.org]}", "sync.submodules[0]: must be the beginning of an https URL"},
		"a negative bound on fetches":         {header + "sync: {maxFetchBytes: -1}", "sync.maxFetchBytes: must be 0 or a number of bytes, is -1"},
		"grants without a duration":           {header + "breakGlass: {maxDuration: 0s}", "breakGlass.maxDuration: must be more than 0s and at most 24h0m0s, is 0s"},
		"grants for days":                     {header + "breakGlass: {maxDuration: 25h}", "breakGlass.maxDuration: must be more than 0s and at most 24h0m0s"},
		"holding for good":                    {header + "breakGlass: {maxHold: 721h}", "breakGlass.maxHold: must be between 0s and 720h0m0s, is 721h0m0s"},
		"holding for less than nothing":       {header + "breakGlass: {maxHold: -1s}", "breakGlass.maxHold: must be between"},
		"an outage without end":               {header + "breakGlass: {afterOutage: 25h}", "breakGlass.afterOutage: must be between 0s and 24h0m0s, is 25h0m0s"},
		"a notice of nothing":                 {header + "breakGlass: {notices: [0s]}", "breakGlass.notices[0]: must be more than 0s"},
		"notices in the wrong order":          {header + "breakGlass: {notices: [5m, 30m]}", "breakGlass.notices[1]: must be shorter than the one before, is 30m0s"},
		"notices without number":              {header + "breakGlass: {notices: [6m, 5m, 4m, 3m, 2m, 1m]}", "breakGlass.notices: may be 5 at most, are 6"},
		"a group without a name":              {header + "breakGlass: {emergencyGroups: ['']}", "breakGlass.emergencyGroups[0]: must name a group"},
		"emergencies for everybody":           {header + "breakGlass: {emergencyGroups: [ops, 'system:authenticated']}", "breakGlass.emergencyGroups[1]: is system:authenticated, which is everybody"},
		"a deadline beyond the time-out":      {header + "policies: {deadline: 3s}", "policies.deadline: must be more than 0s and less than webhook.timeoutSeconds (3s)"},
		"a pattern that matches everybody":    {header + `policies: {personFieldManagers: ["*"]}`, "policies.personFieldManagers[0]: must name a field manager"},
		"a star in the middle":                {header + `policies: {personFieldManagers: [k, "a*b"]}`, "policies.personFieldManagers[1]: may have one *"},
		"a suspension without an end":         {header + "suspension: {max: 0s}", "suspension.max: must be between 1m and 720h, is 0s"},
		"a suspension of a year":              {header + "suspension: {max: 8760h}", "suspension.max: must be between 1m and 720h"},
		"a bad namespace":                     {header + "namespace: Main_Stay", "namespace: must be the name of a namespace"},
		"a client authority without a place":  {header + "webhook: {clientCAFile: ca.crt}", `webhook.clientCAFile: must be an absolute path, is "ca.crt"`},
		"names of clients and no authority":   {header + "webhook: {clientNames: [kube-apiserver]}", "webhook.clientNames: need webhook.clientCAFile"},
		"a client without a name":             {header + "webhook: {clientCAFile: /ca.crt, clientNames: [a, '']}", `webhook.clientNames[1]: must be the name in a certificate, is ""`},
		"a label that is none":                {header + "metrics: {gitSyncLabels: ['-team']}", `metrics.gitSyncLabels[0]: must be the key of a label, is "-team"`},
		"two labels of one name":              {header + "metrics: {gitSyncLabels: [a.b/team, a-b/team]}", "metrics.gitSyncLabels[1]: a-b/team would be called label_a_b_team in the metric, as a.b/team is"},
		"too many labels":                     {header + "metrics: {gitSyncLabels: [" + strings.Repeat("x, ", 21) + "]}", "metrics.gitSyncLabels: may be 20 at most, are 21"},
		"a bad port":                          {header + "webhook: {service: {port: 70000}}", "webhook.service.port: must be between"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse([]byte(tt.file))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one that holds %q", err, tt.want)
			}
		})
	}
}

func TestValidateNamesEveryProblem(t *testing.T) {
	_, err := config.Parse([]byte(header + "namespace: A\nsync: {parallelism: 0}"))
	if err == nil {
		t.Fatal("the configuration was accepted")
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 2 {
		t.Errorf("got %d lines, want one for each of the two problems:\n%v", len(lines), err)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: got error %v, want one that names it", err)
	}
	if err := os.WriteFile(path, []byte(header+"x: 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a bad file: got error %v, want one that names it", err)
	}
}

func TestWebhookServiceIsInTheOwnNamespace(t *testing.T) {
	cfg := config.Default()
	cfg.Namespace = "elsewhere"
	want := &config.Service{Name: "mainstay", Namespace: "elsewhere", Port: 443}
	if diff := cmp.Diff(want, cfg.WebhookService()); diff != "" {
		t.Errorf("service (-want +got):\n%s", diff)
	}
	cfg.Webhook.URL = "https://127.0.0.1:9443"
	if got := cfg.WebhookService(); got != nil {
		t.Errorf("reached by URL, yet there is a service: %+v", got)
	}
}

func TestPersonFieldManager(t *testing.T) {
	policies := config.Default().Policies
	tests := map[string]bool{
		"kubectl":                 true,
		"kubectl-edit":            true,
		"k9s":                     true,
		"k9s_linux_amd64":         true,
		"Mozilla":                 true,
		"kubectl2":                false,
		"kube-controller-manager": false,
		"mainstay":                false,
		"":                        false,
	}
	for manager, want := range tests {
		t.Run(manager, func(t *testing.T) {
			if got := policies.PersonFieldManager(manager); got != want {
				t.Errorf("PersonFieldManager(%q) = %t, want %t", manager, got, want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(header))
	f.Add([]byte(header + "webhook: {url: https://x}\npolicies: {deadline: 1s}"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("? {a: b}\n: c"))
	f.Fuzz(func(t *testing.T, content []byte) {
		parsed, err := config.Parse(content)
		if err != nil {
			return
		}
		if err := parsed.Validate(); err != nil {
			t.Errorf("accepted, yet invalid: %v", err)
		}
		written, err := yaml.Marshal(parsed)
		if err != nil {
			t.Fatal(err)
		}
		again, err := config.Parse(written)
		if err != nil {
			t.Fatalf("what was accepted is refused when it is written again: %v\n%s", err, written)
		}
		if diff := cmp.Diff(parsed, again); diff != "" {
			t.Errorf("written and read again (-want +got):\n%s", diff)
		}
	})
}
