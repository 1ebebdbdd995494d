// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"maps"
	"time"
)

// alert is one of Alertmanager's API v2. Its client module would bring the
// whole of OpenAPI's for this one request.
type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

// standing is how long an alert about something that happened stands: a notice
// tells of a moment, which nothing ends.
const standing = 15 * time.Minute

// newAlerts makes one alert for each kind of notice. Objects are in annotations,
// never in labels: each set of labels is an alert of its own.
func newAlerts(m *Message) []alert {
	var out []alert
	byKind := map[string]int{}
	for _, line := range m.Lines {
		if i, ok := byKind[line.Kind]; ok {
			out[i].Annotations["description"] += "\n" + line.Text
			continue
		}
		byKind[line.Kind] = len(out)
		labels := map[string]string{"alertname": "MainstayNotice", "kind": line.Kind, "severity": string(line.Severity), "source": "mainstay"}
		for name, value := range map[string]string{"cluster": m.Cluster, "gitsync": m.GitSync, "actor": m.Actor} {
			if value != "" {
				labels[name] = value
			}
		}
		annotations := map[string]string{"summary": m.Title(), "description": line.Text}
		maps.Copy(annotations, line.Fields)
		out = append(out, alert{Labels: labels, Annotations: annotations, StartsAt: line.Time.UTC(), EndsAt: line.Time.UTC().Add(standing)})
	}
	return out
}
