// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/policy/audit"
)

// Query selects decisions. Every member that is set has to match.
type Query struct {
	Since     time.Time
	Until     time.Time
	ID        string
	Namespace string
	// Kind as a person writes it: deployment, deployments, deployments.apps or
	// Deployment.
	Kind, Name string
	User       string
	// Verdict is permit, refuse or correct.
	Verdict string
	// Sync is the GitSync's name, or namespace/name.
	Sync string
	// Basis asks for what the decisions rest on, Follow for those to come, and
	// DryRuns for those as well.
	Basis, Follow, DryRuns bool
}

// Values are the query as it is sent.
func (q *Query) Values() url.Values {
	v := url.Values{}
	for key, value := range map[string]string{
		"id": q.ID, "namespace": q.Namespace, "kind": q.Kind, "name": q.Name, "user": q.User, "verdict": q.Verdict, "sync": q.Sync,
	} {
		if value != "" {
			v.Set(key, value)
		}
	}
	for key, value := range map[string]bool{"basis": q.Basis, "follow": q.Follow, "dryRuns": q.DryRuns} {
		if value {
			v.Set(key, "true")
		}
	}
	for key, value := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !value.IsZero() {
			v.Set(key, value.UTC().Format(time.RFC3339Nano))
		}
	}
	return v
}

// ParseQuery reads what Values wrote. What it does not know is an error.
func ParseQuery(v url.Values) (*Query, error) {
	q := &Query{}
	for key, values := range v {
		value := values[0]
		var err error
		switch key {
		case "id":
			q.ID = value
		case "namespace":
			q.Namespace = value
		case "kind":
			q.Kind = value
		case "name":
			q.Name = value
		case "user":
			q.User = value
		case "verdict":
			q.Verdict = value
		case "sync":
			q.Sync = value
		case "basis":
			q.Basis, err = strconv.ParseBool(value)
		case "follow":
			q.Follow, err = strconv.ParseBool(value)
		case "dryRuns":
			q.DryRuns, err = strconv.ParseBool(value)
		case "since":
			q.Since, err = time.Parse(time.RFC3339Nano, value)
		case "until":
			q.Until, err = time.Parse(time.RFC3339Nano, value)
		default:
			return nil, fmt.Errorf("the parameter %q is unknown", key)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	return q, nil
}

// Matches tells whether a line is one of those that are asked for.
func (q *Query) Matches(l *audit.Line) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	username := ""
	if l.User != nil {
		username = l.User.Username
	}
	return (q.Since.IsZero() || !l.Time.Before(q.Since)) && (q.Until.IsZero() || l.Time.Before(q.Until)) &&
		(is(q.ID, l.Decision) || slices.Contains(l.Decisions, q.ID)) && is(q.Namespace, l.Object.Namespace) && is(q.Name, l.Object.Name) &&
		is(q.User, username) && is(q.Verdict, l.Verdict) &&
		(q.Sync == "" || q.Sync == l.Sync || strings.HasSuffix(l.Sync, "/"+q.Sync)) &&
		KindMatches(q.Kind, &l.Object) && (q.DryRuns || q.ID != "" || !l.DryRun)
}

// short are kubectl's own short names.
func short(kind string) string {
	switch kind {
	case "deploy":
		return "deployments"
	case "cm":
		return "configmaps"
	case "svc":
		return "services"
	case "sts":
		return "statefulsets"
	case "ds":
		return "daemonsets"
	case "ns":
		return "namespaces"
	case "ing":
		return "ingresses"
	case "sa":
		return "serviceaccounts"
	case "cj":
		return "cronjobs"
	case "hpa":
		return "horizontalpodautoscalers"
	case "gsync":
		return "gitsyncs"
	case "bg":
		return "breakglasses"
	}
	return kind
}

// KindMatches tells whether what a person calls a kind is that of an object;
// empty is any.
func KindMatches(kind string, o *audit.LineObject) bool {
	if kind == "" {
		return true
	}
	kind, group, grouped := strings.Cut(strings.ToLower(kind), ".")
	if grouped && group != o.Group {
		return false
	}
	return kind == strings.ToLower(o.Kind) || short(kind) == o.Resource || kind+"s" == o.Resource
}
