// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"time"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/policy"
)

// Line is one line of the ledger.
type Line struct {
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"` // always decision
	Decision string    `json:"decision"`
	// Count, Since and Decisions are of a refusal that came again: how often since
	// its first line, since when, and the ids of the first 50 of them.
	Count       int         `json:"count,omitempty"`
	Since       *time.Time  `json:"since,omitempty"`
	Decisions   []string    `json:"decisions,omitempty"`
	Cluster     string      `json:"cluster,omitempty"`
	Origin      string      `json:"origin"`
	Operation   string      `json:"operation"`
	SubResource string      `json:"subResource,omitempty"`
	Verdict     string      `json:"verdict"`
	Mode        string      `json:"mode"`
	Class       string      `json:"class"`
	Rule        string      `json:"rule,omitempty"`
	Reason      string      `json:"reason,omitempty"`
	Severity    string      `json:"severity,omitempty"`
	Until       *time.Time  `json:"until,omitempty"`
	User        *LineUser   `json:"user,omitempty"`
	Object      LineObject  `json:"object"`
	Pod         string      `json:"pod,omitempty"`
	Sync        string      `json:"sync,omitempty"`
	Source      LineSource  `json:"source"`
	Changes     []LineField `json:"changes,omitempty"`
	// Uncovered are the changed paths that no exception covers.
	Uncovered []string `json:"uncovered,omitempty"`
	// Policies is the digest of the policies that were asked, and Revision the
	// one that the GitSync had applied then.
	Policies string `json:"policies,omitempty"`
	Revision string `json:"revision,omitempty"`
	DryRun   bool   `json:"dryRun,omitempty"`
	// Library are policies of the library that are made for what was refused.
	Library []string `json:"library,omitempty"`
	Errors  []string `json:"errors,omitempty"`
	// Unattributed: the drift was made while nobody judged, or past the API
	// server; who did it is not known, and manager is only a hint.
	Unattributed bool    `json:"unattributed,omitempty"`
	ElapsedMS    float64 `json:"elapsedMs"`
}

// LineUser is who asked.
type LineUser struct {
	Username string   `json:"username"`
	Groups   []string `json:"groups,omitempty"`
}

// LineObject is what the decision is about.
type LineObject struct {
	Group     string `json:"group,omitempty"`
	Version   string `json:"version"`
	Kind      string `json:"kind"`
	Resource  string `json:"resource,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
}

// LineSource is where git declares the object.
type LineSource struct {
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Revision string `json:"revision,omitempty"`
}

// LineField is one changed field. Values of Secrets are keyed hashes.
type LineField struct {
	Path     string          `json:"path"`
	Op       string          `json:"op"`
	From     json.RawMessage `json:"from,omitempty"`
	To       json.RawMessage `json:"to,omitempty"`
	Git      json.RawMessage `json:"git,omitempty"`
	Declared bool            `json:"declared"`
	Manager  string          `json:"manager,omitempty"`
}

// A value longer than this is not copied into the ledger.
const maxLedgerValue = 4096

// NewLine is the ledger's line about a decision. mask makes the keyed hashes that
// stand for the values of Secrets.
func NewLine(change *policy.Change, decision policy.Decision, cluster string, mask func([]byte) string) Line {
	record := change.Record
	line := Line{
		Time: change.Time.UTC(), Kind: "decision", Decision: decision.ID, Cluster: cluster,
		Origin: string(change.Origin), Operation: string(change.Operation), SubResource: change.SubResource,
		Verdict: string(decision.Verdict), Mode: string(change.Mode()), Class: decision.Class, Rule: decision.Rule,
		Reason: decision.Reason, Severity: decision.Severity, Until: decision.Until, Errors: decision.Errors, Library: decision.Library,
		Object: LineObject{
			Group: record.Group, Version: record.Version, Kind: record.Kind, Resource: record.Resource,
			Namespace: record.Namespace, Name: record.Name,
		},
		Pod: change.Pod, Policies: decision.Policies, Revision: record.Sync.Applied.Name, DryRun: change.DryRun,
		Unattributed: decision.Unattributed,
		ElapsedMS:    float64(decision.Elapsed.Microseconds()) / 1000,
	}
	if record.Sync.Name != "" {
		line.Sync = record.Sync.Key().String()
	}
	object, _ := references(change)
	line.Object.UID = string(object.UID)
	if content := record.Current(); content != nil {
		line.Source = LineSource{File: content.File, Line: content.Line, Revision: content.Revision.Name}
	}
	if change.User != nil {
		line.User = &LineUser{Username: change.User.Username, Groups: change.User.Groups}
	}
	hide := secret(change)
	for _, f := range change.Fields {
		line.Changes = append(line.Changes, LineField{
			Path: f.Path.String(), Op: string(f.Op), Declared: f.Declared, Manager: f.Manager,
			From: raw(mask, f.From, hide), To: raw(mask, f.To, hide), Git: raw(mask, f.Git, hide),
		})
	}
	for _, f := range decision.Uncovered {
		line.Uncovered = append(line.Uncovered, f.Path.String())
	}
	return line
}

func raw(mask func([]byte) string, v *fastjson.Value, hide bool) json.RawMessage {
	if v == nil {
		return nil
	}
	if !hide {
		if raw := v.MarshalTo(nil); len(raw) <= maxLedgerValue {
			return raw
		}
	}
	text, err := json.Marshal(masked(mask, v))
	if err != nil {
		return nil // a string always encodes
	}
	return text
}
