// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Notifications tells people in chats, by mail and by pager what happened.
// They inform; what has to wake somebody is an alert of Prometheus.
type Notifications struct {
	// Window is how long notices about one GitSync and one account are gathered
	// into one message. The first critical one is sent at once.
	Window metav1.Duration `json:"window"`
	// Queue is how many notices may wait for being sorted, and how many messages
	// for one route. What finds no room is dropped and counted.
	Queue int `json:"queue"`
	// Routes say who hears of what; without any nothing is sent.
	Routes []Route `json:"routes,omitempty"`
}

// Route says who hears of what. A notice goes to every route that it fits.
type Route struct {
	// Name is shown in metrics and logs.
	Name string `json:"name"`
	// GitSyncs are namespace/name, in which a * stands for any characters but a
	// slash; empty: all, and what concerns no GitSync.
	GitSyncs []string `json:"gitSyncs,omitempty"`
	// Severities are critical, warning or info; empty: critical and warning.
	Severities []Severity `json:"severities,omitempty"`
	// Kinds are the reasons of Events, for example DriftReverted; a * stands for
	// any characters. Empty: all.
	Kinds []string `json:"kinds,omitempty"`
	// Type is the service behind the address.
	Type Receiver `json:"type"`
	// SecretRef names the Secret that holds the address.
	SecretRef SecretKey `json:"secretRef"`
}

// SecretKey is one value of a Secret in Mainstay's namespace. Beside it, the
// keys token and ca.crt of the same Secret are used where the receiver is a
// Webhook or an Alertmanager: a bearer token, and the authorities to trust. The
// Secret is read for each message, so a new value needs no restart.
type SecretKey struct {
	Name string `json:"name"`
	// Key is url where it is empty.
	Key string `json:"key,omitempty"`
}

// Severity of a notice.
type Severity string

// The severities.
const (
	SeverityCritical Severity = "critical"
	SeverityWarning  Severity = "warning"
	SeverityInfo     Severity = "info"
)

// Receiver is a kind of service that takes messages.
type Receiver string

// The receivers, and what their address looks like.
const (
	// ReceiverSlack takes https://hooks.slack.com/services/….
	ReceiverSlack Receiver = "Slack"
	// ReceiverTeams takes the address of a workflow or of a connector.
	ReceiverTeams Receiver = "Teams"
	// ReceiverDiscord takes https://discord.com/api/webhooks/….
	ReceiverDiscord Receiver = "Discord"
	// ReceiverEmail takes smtp://user:password@host:port/?from=…&to=….
	ReceiverEmail Receiver = "Email"
	// ReceiverPagerDuty takes an integration key of the Events API v2.
	ReceiverPagerDuty Receiver = "PagerDuty"
	// ReceiverWebhook takes any http or https address; it is sent JSON.
	ReceiverWebhook Receiver = "Webhook"
	// ReceiverAlertmanager takes the base address of an Alertmanager.
	ReceiverAlertmanager Receiver = "Alertmanager"
)

func severities() []Severity {
	return []Severity{SeverityCritical, SeverityWarning, SeverityInfo}
}

func receivers() []Receiver {
	return []Receiver{
		ReceiverSlack, ReceiverTeams, ReceiverDiscord, ReceiverEmail, ReceiverPagerDuty, ReceiverWebhook, ReceiverAlertmanager,
	}
}

func (n *Notifications) validate(wrong func(path, format string, args ...any)) {
	if d := n.Window.Duration; d < 0 || d > time.Hour {
		wrong("notifications.window", "must be between 0s and 1h, is %s", d)
	}
	if n.Queue < 1 || n.Queue > 100_000 {
		wrong("notifications.queue", "must be between 1 and 100000, is %d", n.Queue)
	}
	seen := map[string]int{}
	for i, route := range n.Routes {
		at := fmt.Sprintf("notifications.routes[%d]", i)
		if other, again := seen[route.Name]; again {
			wrong(at+".name", "is the name of notifications.routes[%d], too: %q", other, route.Name)
		}
		seen[route.Name] = i
		route.validate(at, wrong)
	}
}

func (r *Route) validate(at string, wrong func(path, format string, args ...any)) {
	if len(validation.IsDNS1123Label(r.Name)) > 0 {
		wrong(at+".name", "must be lower-case letters, digits and dashes, is %q", r.Name)
	}
	for i, pattern := range r.GitSyncs {
		if _, err := path.Match(pattern, ""); err != nil || strings.Count(pattern, "/") != 1 {
			wrong(fmt.Sprintf("%s.gitSyncs[%d]", at, i), "must be namespace/name, of which each may hold a *, is %q", pattern)
		}
	}
	for i, severity := range r.Severities {
		if !slices.Contains(severities(), severity) {
			wrong(fmt.Sprintf("%s.severities[%d]", at, i), "must be one of %v, is %q", severities(), severity)
		}
	}
	for i, kind := range r.Kinds {
		if !isKind(kind) {
			wrong(fmt.Sprintf("%s.kinds[%d]", at, i), "must be the reason of an Event like DriftReverted, in which a * may stand, is %q", kind)
		}
	}
	if !slices.Contains(receivers(), r.Type) {
		wrong(at+".type", "must be one of %v, is %q", receivers(), r.Type)
	}
	if len(validation.IsDNS1123Subdomain(r.SecretRef.Name)) > 0 {
		wrong(at+".secretRef.name", "must name the Secret with the address, is %q", r.SecretRef.Name)
	}
	if key := r.SecretRef.Key; key != "" && len(validation.IsConfigMapKey(key)) > 0 {
		wrong(at+".secretRef.key", "must be a key of the Secret, is %q", key)
	}
}

func isKind(kind string) bool {
	return kind != "" && strings.Trim(kind, "*ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == "" &&
		(kind[0] == '*' || kind[0] >= 'A' && kind[0] <= 'Z')
}

// Takes tells whether a notice goes to the route. gitSync is namespace/name, or
// empty for what concerns none.
func (r *Route) Takes(gitSync string, severity Severity, kind string) bool {
	wanted := r.Severities
	if len(wanted) == 0 {
		wanted = []Severity{SeverityCritical, SeverityWarning}
	}
	return slices.Contains(wanted, severity) && anyMatches(r.GitSyncs, gitSync) && anyMatches(r.Kinds, kind)
}

func anyMatches(patterns []string, name string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}
