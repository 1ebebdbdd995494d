// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Validate returns all that is wrong, one line for each field by its path, or
// nil.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	}
	check := func(path string, err error) {
		if err != nil {
			wrong(path, "%v", err)
		}
	}

	if c.APIVersion != APIVersion {
		wrong("apiVersion", "must be %s, is %q", APIVersion, c.APIVersion)
	}
	if c.Kind != Kind {
		wrong("kind", "must be %s, is %q", Kind, c.Kind)
	}
	check("namespace", dnsLabel(c.Namespace))
	check("webhook.bindAddress", bindAddress(c.Webhook.BindAddress))
	c.Webhook.validateTarget(wrong)
	c.Webhook.validateClients(wrong)
	if seconds := c.Webhook.TimeoutSeconds; seconds < 1 || seconds > 10 {
		wrong("webhook.timeoutSeconds", "must be between 1 and 10, is %d", seconds)
	}
	switch c.Webhook.ScaleFailurePolicy {
	case FailurePolicyIgnore, FailurePolicyFail:
	default:
		wrong("webhook.scaleFailurePolicy", "must be Ignore or Fail, is %q", c.Webhook.ScaleFailurePolicy)
	}
	if d := c.Webhook.ShutdownDelay.Duration; d < 0 || d > 5*time.Minute {
		wrong("webhook.shutdownDelay", "must be between 0s and 5m, is %s", d)
	}
	if c.Metrics.BindAddress != "0" {
		check("metrics.bindAddress", bindAddress(c.Metrics.BindAddress))
	}
	c.Metrics.validateLabels(wrong)
	check("health.bindAddress", bindAddress(c.Health.BindAddress))
	if c.Decisions.BindAddress != "0" {
		check("decisions.bindAddress", bindAddress(c.Decisions.BindAddress))
	}
	if u, err := url.Parse(c.Decisions.URL); c.Decisions.URL != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		wrong("decisions.url", "must be like https://host:port, is %q", c.Decisions.URL)
	}
	if c.Sync.CacheDir == "" {
		wrong("sync.cacheDir", "must name a folder")
	}
	if n := c.Sync.Parallelism; n < 1 || n > 256 {
		wrong("sync.parallelism", "must be between 1 and 256, is %d", n)
	}
	if push := c.Sync.PushWebhook; push != nil {
		check("sync.pushWebhook.bindAddress", bindAddress(push.BindAddress))
		if len(validation.IsDNS1123Subdomain(push.SecretName)) > 0 {
			wrong("sync.pushWebhook.secretName", "must name the Secret with what the git servers sign with, is %q", push.SecretName)
		}
	}
	for i, prefix := range c.Sync.Submodules {
		if u, err := url.Parse(prefix); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
			wrong(fmt.Sprintf("sync.submodules[%d]", i), "must be the beginning of an https URL, for example https://git.example.org/shared/, is %q", prefix)
		}
	}
	if n := c.Sync.MaxFetchBytes; n < 0 {
		wrong("sync.maxFetchBytes", "must be 0 or a number of bytes, is %d", n)
	}
	timeout := time.Duration(c.Webhook.TimeoutSeconds) * time.Second
	if d := c.Policies.Deadline.Duration; d <= 0 || d >= timeout {
		wrong("policies.deadline", "must be more than 0s and less than webhook.timeoutSeconds (%s), is %s", timeout, d)
	}
	for i, pattern := range c.Policies.PersonFieldManagers {
		path := fmt.Sprintf("policies.personFieldManagers[%d]", i)
		if strings.Trim(pattern, "*") == "" {
			wrong(path, "must name a field manager, is %q", pattern)
		} else if strings.Contains(pattern[:len(pattern)-1], "*") {
			wrong(path, "may have one *, at its end, is %q", pattern)
		}
	}
	if d := c.Suspension.Max.Duration; d < time.Minute || d > 30*24*time.Hour {
		wrong("suspension.max", "must be between 1m and 720h, is %s", d)
	}
	if d := c.BreakGlass.MaxDuration.Duration; d <= 0 || d > maxGrant {
		wrong("breakGlass.maxDuration", "must be more than 0s and at most %s, is %s", maxGrant, d)
	}
	if d := c.BreakGlass.MaxHold.Duration; d < 0 || d > maxHold {
		wrong("breakGlass.maxHold", "must be between 0s and %s, is %s", maxHold, d)
	}
	if d := c.BreakGlass.AfterOutage.Duration; d < 0 || d > maxGrant {
		wrong("breakGlass.afterOutage", "must be between 0s and %s, is %s", maxGrant, d)
	}
	if n := len(c.BreakGlass.Notices); n > maxNotices {
		wrong("breakGlass.notices", "may be %d at most, are %d", maxNotices, n)
	}
	for i, d := range c.BreakGlass.Notices {
		path := fmt.Sprintf("breakGlass.notices[%d]", i)
		if d.Duration <= 0 || d.Duration > maxGrant {
			wrong(path, "must be more than 0s and at most %s, is %s", maxGrant, d.Duration)
		} else if i > 0 && d.Duration >= c.BreakGlass.Notices[i-1].Duration {
			wrong(path, "must be shorter than the one before, is %s", d.Duration)
		}
	}
	for i, group := range c.BreakGlass.EmergencyGroups {
		switch group {
		case "":
			wrong(fmt.Sprintf("breakGlass.emergencyGroups[%d]", i), "must name a group")
		case "system:authenticated", "system:unauthenticated", "system:serviceaccounts":
			wrong(fmt.Sprintf("breakGlass.emergencyGroups[%d]", i), "is %s, which is everybody: name the group of those on call", group)
		}
	}
	c.Notifications.validate(wrong)
	return errors.Join(errs...)
}

const (
	// maxGrant is what the schema of BreakGlass allows.
	maxGrant = 24 * time.Hour
	// maxHold is that what was meant for an incident does not stay for good.
	maxHold    = 30 * 24 * time.Hour
	maxNotices = 5
)

// maxLabels bounds what mainstay_gitsync_labels shows of one GitSync.
const maxLabels = 20

// validateLabels checks that each label of a GitSync becomes one of the metric.
func (m *Metrics) validateLabels(wrong func(path, format string, args ...any)) {
	if n := len(m.GitSyncLabels); n > maxLabels {
		wrong("metrics.gitSyncLabels", "may be %d at most, are %d", maxLabels, n)
	}
	names, seen := m.LabelNames(), map[string]string{}
	for i, key := range m.GitSyncLabels {
		path := fmt.Sprintf("metrics.gitSyncLabels[%d]", i)
		if problems := validation.IsQualifiedName(key); len(problems) > 0 {
			wrong(path, "must be the key of a label, is %q", key)
		}
		if other, again := seen[names[key]]; again {
			wrong(path, "%s would be called %s in the metric, as %s is", key, names[key], other)
		}
		seen[names[key]] = key
	}
}

// validateTarget checks how the API server reaches the webhook.
func (w *Webhook) validateTarget(wrong func(path, format string, args ...any)) {
	switch {
	case w.URL != "" && w.Service != nil:
		wrong("webhook", "at most one of url and service may be given")
	case w.URL != "":
		u, err := url.Parse(w.URL)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			wrong("webhook.url", "must be https://host[:port][/path], is %q", w.URL)
		}
	case w.Service == nil:
		wrong("webhook", "one of url and service is required")
	default:
		if problems := validation.IsDNS1035Label(w.Service.Name); len(problems) > 0 {
			wrong("webhook.service.name", "must be the name of a Service, is %q", w.Service.Name)
		}
		if w.Service.Namespace != "" {
			if err := dnsLabel(w.Service.Namespace); err != nil {
				wrong("webhook.service.namespace", "%v", err)
			}
		}
		if port := w.Service.Port; port < 1 || port > 65535 {
			wrong("webhook.service.port", "must be between 1 and 65535, is %d", port)
		}
	}
}

// validateClients checks who may ask.
func (w *Webhook) validateClients(wrong func(path, format string, args ...any)) {
	if w.ClientCAFile != "" && !filepath.IsAbs(w.ClientCAFile) {
		wrong("webhook.clientCAFile", "must be an absolute path, is %q", w.ClientCAFile)
	}
	if len(w.ClientNames) > 0 && w.ClientCAFile == "" {
		wrong("webhook.clientNames", "need webhook.clientCAFile: without it no client shows a certificate")
	}
	for i, name := range w.ClientNames {
		if strings.TrimSpace(name) != name || name == "" {
			wrong(fmt.Sprintf("webhook.clientNames[%d]", i), "must be the name in a certificate, is %q", name)
		}
	}
}

func dnsLabel(name string) error {
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		return fmt.Errorf("must be the name of a namespace, is %q", name)
	}
	return nil
}

func bindAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("must be host:port or :port, is %q", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("must end in a port between 0 and 65535, is %q", address)
	}
	return nil
}
