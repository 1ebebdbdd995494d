// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/permit"
)

func TestTheStatusSaysHowARequestStands(t *testing.T) {
	ended := metav1.NewTime(now.Add(-time.Hour))
	later := metav1.NewTime(now.Add(time.Hour))
	for name, tt := range map[string]struct {
		record func(*Record)
		bg     func(*v1alpha1.BreakGlass)
		phase  string
		ends   bool
	}{
		"it was asked for": {record: func(*Record) {}, phase: v1alpha1.PhaseRequested},
		"it is active": {
			record: func(r *Record) { r.Begin("bob", now, time.Hour, 0) }, bg: func(bg *v1alpha1.BreakGlass) { bg.Spec.ApprovedBy = "bob" },
			phase: v1alpha1.PhaseActive, ends: true,
		},
		"the approval was judged and is not there yet": {
			record: func(r *Record) { r.Begin("bob", now, time.Hour, 0) }, phase: v1alpha1.PhaseRequested,
		},
		"the approval is there and was not judged": {
			record: func(*Record) {}, bg: func(bg *v1alpha1.BreakGlass) { bg.Spec.ApprovedBy = "bob" }, phase: v1alpha1.PhaseRequested,
		},
		"it has ended": {
			record: func(r *Record) { r.Begin("bob", now.Add(-2*time.Hour), time.Hour, 0) }, bg: func(bg *v1alpha1.BreakGlass) { bg.Spec.ApprovedBy = "bob" },
			phase: v1alpha1.PhaseEnded, ends: true,
		},
		"it has ended long ago": {bg: func(bg *v1alpha1.BreakGlass) { bg.Status.ExpiresAt = &ended }, phase: v1alpha1.PhaseEnded, ends: true},
		"it was revoked": {
			record: func(r *Record) { r.Begin("bob", now, time.Hour, 0) },
			bg:     func(bg *v1alpha1.BreakGlass) { bg.Spec.ApprovedBy, bg.Spec.Revoked = "bob", true },
			phase:  v1alpha1.PhaseRevoked, ends: true,
		},
		"its status was painted": {
			record: func(*Record) {},
			bg: func(bg *v1alpha1.BreakGlass) {
				bg.Status.Phase, bg.Status.ExpiresAt = v1alpha1.PhaseActive, &later
			},
			phase: v1alpha1.PhaseRequested, ends: false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			bg := request("hotfix")
			if tt.record != nil {
				r := f.record(bg)
				tt.record(&r)
				if err := f.Put(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			if tt.bg != nil {
				tt.bg(bg)
			}
			k := &Keeper{o: KeeperOptions{Store: f.Store, Permits: &fakePermits{}, Clock: f.now}}
			again := k.describe(bg)
			if bg.Status.Phase != tt.phase || (bg.Status.ExpiresAt != nil) != tt.ends {
				t.Errorf("status %+v, want the phase %s, and an end: %t", bg.Status, tt.phase, tt.ends)
			}
			if want := tt.phase == v1alpha1.PhaseActive; (again > 0) != want {
				t.Errorf("it is looked at again after %s", again)
			}
		})
	}
}

func TestWhatWasGivenUpIsSealed(t *testing.T) {
	for name, tt := range map[string]struct {
		begun time.Duration
		edit  func(*v1alpha1.BreakGlass)
		want  bool
	}{
		"after the end":         {begun: -2 * time.Hour, want: true},
		"while it is revoked":   {begun: -time.Minute, edit: func(bg *v1alpha1.BreakGlass) { bg.Spec.Revoked = true }, want: true},
		"not while it counts":   {begun: -time.Minute},
		"not where nobody says": {begun: -2 * time.Hour, edit: func(bg *v1alpha1.BreakGlass) { bg.Annotations = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			bg := request("hotfix")
			bg.Spec.ApprovedBy, bg.Annotations = "bob", map[string]string{v1alpha1.RevertAnnotation: "it was wrong"}
			r := f.record(bg)
			r.Begin("bob", now.Add(tt.begun), time.Hour, 0)
			r.version = "1" // which the API server would have set
			secret, err := encode(r, f.options.Key, system)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.client.CoreV1().Secrets(system).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			f.seeRecord(secret)
			if tt.edit != nil {
				tt.edit(bg)
			}
			k := &Keeper{o: KeeperOptions{Store: f.Store, Permits: &fakePermits{}, Clock: f.now}}
			for range 2 { // which is the same as once
				if err := k.giveUp(t.Context(), bg); err != nil {
					t.Fatal(err)
				}
			}
			if got, _, err := f.Read(t.Context(), bg.UID); err != nil || (got.GivenUpAt != nil) != tt.want {
				t.Errorf("given up at %v, %v, want it: %t", got.GivenUpAt, err, tt.want)
			}
		})
	}
}

func TestWhatStandsKeepsItsGrant(t *testing.T) {
	f := newFixture(t)
	bg := request("hotfix")
	r := f.record(bg)
	r.Begin("bob", now.Add(-2*time.Hour), time.Hour, 0)
	if err := f.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if f.Holds(bg.UID) {
		t.Error("one that has ended, and that reverts, holds something")
	}
	// As it stands while git can't be read.
	f.options.Permits = &fakePermits{list: []permit.Permit{permitted("spec.replicas", func(p *permit.Permit) { p.Grant = bg.UID })}}
	if !f.Holds(bg.UID) {
		t.Error("what stands is not held")
	}
	if f.Holds("another") || f.Holds("") {
		t.Error("another one holds it")
	}
}
