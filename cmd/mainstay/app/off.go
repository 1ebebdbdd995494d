// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/ending"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// The reasons of what is told of mainstay-off.
const (
	eventOff       = "MainstayOff"
	eventOffEnding = "MainstayOffEnding"
	eventOn        = "MainstayOn"
)

// offTeller tells that Mainstay is turned off, that this ends soon, and that it
// has ended: in the ledger, by an Event on the ConfigMap, and to who wants to
// know. The leader alone does; a new one says again what is in force.
type offTeller struct {
	off interface {
		State(now time.Time) (active bool, reason string, until time.Time)
		Asked() (reason string, from, until time.Time, ok bool)
		Changed() <-chan struct{}
	}
	recorder interface {
		Record(*policy.Change, policy.Decision)
	}
	namespace string
	// notices are how long before the end it is told, the longest first.
	notices []time.Duration
}

// NeedLeaderElection keeps every other replica from telling the same.
func (t offTeller) NeedLeaderElection() bool { return true }

// Start tells until ctx ends.
func (t offTeller) Start(ctx context.Context) error {
	var s offState
	for {
		changed := t.off.Changed()
		again := t.look(&s, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(again):
		}
	}
}

// offState is what was told.
type offState struct {
	// last is the end that was told; zero while git is enforced.
	last time.Time
	told *v1alpha1.EndNotice
}

// atMost bounds the time for which a clock that was set is not noticed.
const atMost = 10 * time.Second

// look tells what is new, and returns when to look again.
func (t offTeller) look(s *offState, now time.Time) time.Duration {
	active, reason, until := t.off.State(now)
	reason = audit.Cut(reason, 200)
	if !active {
		if !s.last.IsZero() {
			*s = offState{}
			t.tell(now, eventOn, "", nil, "git is enforced again; what was changed meanwhile goes back")
		}
		return time.Hour
	}
	if !until.Equal(s.last) {
		s.last = until
		t.tell(now, eventOff, audit.SeverityCritical, &until, fmt.Sprintf("nothing is refused or reverted until %s: %s", until.UTC().Format(time.RFC3339), reason))
	}
	_, from, _, _ := t.off.Asked()
	due, next := ending.Exception{From: from, End: until, Told: s.told}.Due(t.notices, now)
	if due != nil {
		s.told = due
		t.tell(now, eventOffEnding, "warning", &until, fmt.Sprintf(
			"%s ends %s: %s; then what was changed meanwhile goes back to what git says: put what has to stay into git first",
			v1alpha1.OffConfigMap, ending.When(until, now), reason))
	}
	if next == 0 {
		next = until.Sub(now)
	}
	return min(max(next, time.Millisecond), atMost)
}

func (t offTeller) tell(now time.Time, event, severity string, until *time.Time, reason string) {
	t.recorder.Record(&policy.Change{
		Origin: policy.OriginRequest, Operation: policy.Update, Time: now,
		User: &policy.User{Username: v1alpha1.FieldManager},
		Kind: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Resource: schema.GroupVersionResource{Version: "v1", Resource: "configmaps"},
		Record: &ownership.Record{
			Entry: &ownership.Entry{
				ID:      ownership.ID{Kind: "ConfigMap", Namespace: t.namespace, Name: v1alpha1.OffConfigMap},
				Version: "v1", Resource: "configmaps",
			},
			Sync: &ownership.Sync{Namespace: t.namespace, Mode: v1alpha1.ModeEnforce},
		},
	}, policy.Decision{
		ID: policy.NewDecisionID(), Verdict: policy.Permit, Class: policy.RuleOff, Event: event, Severity: severity, Reason: reason, Until: until,
	})
}
