// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
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
