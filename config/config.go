// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The type that a configuration file has to name.
const (
	APIVersion = "config.mainstay.dev/v1alpha1"
	Kind       = "MainstayConfig"
)

// Config is the configuration of one installation.
type Config struct {
	// APIVersion is config.mainstay.dev/v1alpha1. Required.
	APIVersion string `json:"apiVersion"`
	// Kind is MainstayConfig. Required.
	Kind string `json:"kind"`
	// ClusterName is shown in alerts and to policies.
	ClusterName string `json:"clusterName"`
	// ClusterLabels are shown to policies, as input.cluster.labels.
	ClusterLabels map[string]string `json:"clusterLabels,omitempty"`
	// Namespace is Mainstay's own namespace.
	Namespace string `json:"namespace"`

	Webhook        Webhook        `json:"webhook"`
	Metrics        Metrics        `json:"metrics"`
	Health         Health         `json:"health"`
	Decisions      Decisions      `json:"decisions"`
	LeaderElection LeaderElection `json:"leaderElection"`
	Sync           Sync           `json:"sync"`
	Policies       Policies       `json:"policies"`
	Suspension     Suspension     `json:"suspension"`
	BreakGlass     BreakGlass     `json:"breakGlass"`
	Notifications  Notifications  `json:"notifications"`
}

// Webhook says where the webhook listens and how the API server reaches it.
type Webhook struct {
	// BindAddress is where it listens, host:port or :port.
	BindAddress string `json:"bindAddress"`
	// URL is how the API server reaches it where it runs outside the cluster.
	// At most one of URL and Service may be given.
	URL string `json:"url,omitempty"`
	// Service is how the API server reaches it inside the cluster; the default
	// where there is no URL.
	Service *Service `json:"service,omitempty"`
	// ClientCAFile holds the PEM of the authorities that sign the certificates
	// of API servers. Where it is set, nobody else is served. It is read again
	// when it changes.
	ClientCAFile string `json:"clientCAFile,omitempty"`
	// ClientNames are the common names and alternative names that such a
	// certificate may have; empty means any that those authorities signed.
	ClientNames []string `json:"clientNames,omitempty"`
	// TimeoutSeconds is how long the API server waits for a decision, 1 to 10.
	TimeoutSeconds int32 `json:"timeoutSeconds"`
	// ScaleFailurePolicy says what happens to a scale request while no replica
	// answers.
	ScaleFailurePolicy FailurePolicy `json:"scaleFailurePolicy"`
	// ShutdownDelay is how long a replica that was told to end goes on accepting
	// requests while it is no longer ready: as long as endpoint controllers and
	// API servers may take to notice. At most 5 minutes; 0s does not wait.
	ShutdownDelay metav1.Duration `json:"shutdownDelay"`
}

// FailurePolicy says what happens to a request while no replica answers.
type FailurePolicy string

// The failure policies, in the API server's words.
const (
	FailurePolicyIgnore FailurePolicy = "Ignore"
	FailurePolicyFail   FailurePolicy = "Fail"
)

// Service is a Service of the cluster.
type Service struct {
	Name string `json:"name"`
	// Namespace is Config.Namespace where it is empty; Config.WebhookService
	// fills it in.
	Namespace string `json:"namespace,omitempty"`
	Port      int32  `json:"port"`
}

// Metrics is the endpoint for Prometheus.
type Metrics struct {
	// BindAddress is where it listens; "0" turns it off.
	BindAddress string `json:"bindAddress"`
	// GitSyncLabels are the labels of GitSyncs that mainstay_gitsync_labels has,
	// as label_NAME, so that alerts can be routed by them.
	GitSyncLabels []string `json:"gitSyncLabels"`
}

// LabelNames are what the GitSyncLabels are called in the metric: as
// kube-state-metrics calls them.
func (m *Metrics) LabelNames() map[string]string {
	out := make(map[string]string, len(m.GitSyncLabels))
	for _, key := range m.GitSyncLabels {
		out[key] = "label_" + strings.Map(func(r rune) rune {
			if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
				return r
			}
			return '_'
		}, key)
	}
	return out
}

// Decisions is the endpoint at which people read what the replicas decided, by
// HTTPS.
type Decisions struct {
	// BindAddress is where it listens; "0" turns it off.
	BindAddress string `json:"bindAddress"`
	// URL is how people reach it where it runs outside the cluster; inside they
	// reach each replica through the API server.
	URL string `json:"url,omitempty"`
}

// Health is the endpoint for the kubelet's probes.
type Health struct {
	BindAddress string `json:"bindAddress"`
}

// LeaderElection makes sure that one replica alone applies git.
type LeaderElection struct {
	// Enabled may be false only where there is one replica.
	Enabled bool `json:"enabled"`
}

// Sync configures the sync loop.
type Sync struct {
	// CacheDir holds the clones of the repositories. It may be lost at any time.
	CacheDir string `json:"cacheDir"`
	// Parallelism is the number of objects written at the same time, 1 to 256.
	Parallelism int `json:"parallelism"`
	// MaxFetchBytes bounds what one fetch from a git server may transfer; 8 GiB
	// where it is 0. More is an error.
	MaxFetchBytes int64 `json:"maxFetchBytes,omitempty"`
	// Submodules are the beginnings of https URLs, for example
	// https://git.example.org/shared/, from which the submodules of GitSyncs with
	// spec.source.submodules: Follow may come. Those on the server of their own
	// repository may always; no credentials are sent to others.
	Submodules []string `json:"submodules,omitempty"`
	// PushWebhook hears from git servers that something was pushed; absent: each
	// GitSync looks when its interval is over.
	PushWebhook *PushWebhook `json:"pushWebhook,omitempty"`
	// TenantFileSources lets GitSyncs outside Mainstay's namespace follow file://
	// repositories. Off by default: they could read what Mainstay's own process
	// can, the clones of other teams' repositories among it.
	TenantFileSources bool `json:"tenantFileSources,omitempty"`
}

// PushWebhook is where the push webhooks of git servers are heard, at the path
// /push. It speaks plain HTTP: put an Ingress with TLS in front.
type PushWebhook struct {
	// BindAddress is where it listens, host:port or :port.
	BindAddress string `json:"bindAddress"`
	// SecretName is that of a Secret in Mainstay's namespace. Its key token is
	// what the git servers sign with, at least 16 characters.
	SecretName string `json:"secretName"`
}

// Policies configures judging.
type Policies struct {
	// Deadline bounds one evaluation of the policies; it has to be shorter than
	// the webhook's timeout. Too slow never permits.
	Deadline metav1.Duration `json:"deadline"`
	// PersonFieldManagers are the field managers whose drift counts as a
	// person's; a * at the end matches any ending. Anyone can choose the name of
	// a field manager: this guards against habit and is no security boundary.
	PersonFieldManagers []string `json:"personFieldManagers"`
	// DisabledBuiltins are built-in policies to leave out, by name, for example
	// hpa: then an exception of your own has to permit what they did.
	DisabledBuiltins []string `json:"disabledBuiltins,omitempty"`
}

// Suspension configures how enforcing one GitSync can be suspended.
type Suspension struct {
	// Max is the longest that somebody may suspend a GitSync for at a time.
	Max metav1.Duration `json:"max"`
}

// BreakGlass bounds what grants may do.
type BreakGlass struct {
	// MaxDuration of a grant, at most 24h.
	MaxDuration metav1.Duration `json:"maxDuration"`
	// MaxHold is how long at most what was changed under a grant is held after
	// its end, at most 720h; then git's values come back. 0s holds nothing: every
	// grant then reverts at its end.
	MaxHold metav1.Duration `json:"maxHold"`
	// AfterOutage is how long nothing that has ended is put back once a
	// repository that could not be read can be read again, at most 24h.
	AfterOutage metav1.Duration `json:"afterOutage"`
	// Notices are how long before an end people are told that it comes, the
	// longest first; at most five.
	Notices []metav1.Duration `json:"notices"`
	// EmergencyGroups are the groups whose members may grant themselves what
	// they ask for, without a second person. While there are none, nobody can
	// act alone but by suspending a GitSync or turning Mainstay off.
	EmergencyGroups []string `json:"emergencyGroups,omitempty"`
}

// Default returns the configuration of an empty file. The result is the
// caller's own to change.
func Default() *Config {
	config := base()
	config.complete()
	return config
}

// base returns the defaults that a file is read over.
func base() *Config {
	return &Config{
		APIVersion: APIVersion,
		Kind:       Kind,
		Namespace:  "mainstay-system",
		Webhook: Webhook{
			BindAddress:        ":10250",
			TimeoutSeconds:     3,
			ScaleFailurePolicy: FailurePolicyIgnore,
			ShutdownDelay:      metav1.Duration{Duration: 10 * time.Second},
		},
		Metrics:        Metrics{BindAddress: ":8080", GitSyncLabels: []string{"team"}},
		Health:         Health{BindAddress: ":8081"},
		Decisions:      Decisions{BindAddress: ":8443"},
		LeaderElection: LeaderElection{Enabled: true},
		Sync:           Sync{CacheDir: "/var/cache/mainstay", Parallelism: 32},
		BreakGlass: BreakGlass{
			MaxDuration: metav1.Duration{Duration: 4 * time.Hour},
			MaxHold:     metav1.Duration{Duration: 72 * time.Hour},
			AfterOutage: metav1.Duration{Duration: 30 * time.Minute},
			Notices:     []metav1.Duration{{Duration: 30 * time.Minute}, {Duration: 5 * time.Minute}},
		},
		Policies: Policies{
			Deadline: metav1.Duration{Duration: 50 * time.Millisecond},
			PersonFieldManagers: []string{
				// Whoever wrote an object before managed fields were kept, or wiped
				// them.
				"before-first-apply",
				// Every kubectl command has its own: kubectl-edit, kubectl-patch, …
				"kubectl", "kubectl-*", "oc", "oc-*",
				"k9s*", "lens", "openlens", "freelens",
				// Lens and its descendants, when they send no name of their own.
				"node-fetch",
				"dashboard*", "kubernetes-dashboard*", "headlamp*", "octant*",
				// Consoles in a browser that pass its requests on.
				"Mozilla",
				"curl",
			},
		},
		Suspension:    Suspension{Max: metav1.Duration{Duration: 24 * time.Hour}},
		Notifications: Notifications{Window: metav1.Duration{Duration: time.Minute}, Queue: 1000},
	}
}

// complete sets the defaults that depend on what a file says.
func (c *Config) complete() {
	if c.Webhook.URL != "" {
		return
	}
	if c.Webhook.Service == nil {
		c.Webhook.Service = &Service{}
	}
	if c.Webhook.Service.Name == "" {
		c.Webhook.Service.Name = "mainstay"
	}
	if c.Webhook.Service.Port == 0 {
		c.Webhook.Service.Port = 443
	}
}

// WebhookService returns the Service through which the API server reaches the
// webhook, with its namespace filled in; nil where it is reached by URL.
func (c *Config) WebhookService() *Service {
	if c.Webhook.URL != "" || c.Webhook.Service == nil {
		return nil
	}
	service := *c.Webhook.Service
	if service.Namespace == "" {
		service.Namespace = c.Namespace
	}
	return &service
}

// PersonFieldManager tells whether drift written by that field manager counts
// as a person's.
func (p *Policies) PersonFieldManager(manager string) bool {
	for _, pattern := range p.PersonFieldManagers {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
			if strings.HasPrefix(manager, prefix) {
				return true
			}
		} else if manager == pattern {
			return true
		}
	}
	return false
}
