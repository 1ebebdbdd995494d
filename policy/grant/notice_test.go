// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
)

// fakePermits are what is in the cluster.
type fakePermits struct{ list []permit.Permit }

func (f *fakePermits) All() []permit.Permit     { return f.list }
func (f *fakePermits) Changed() <-chan struct{} { return nil }

func permitted(path string, edits ...func(*permit.Permit)) permit.Permit {
	p := permit.Permit{
		ID:   ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
		Path: path, Rule: "grant." + system + "/hotfix", Grant: "uid-hotfix", Account: "alice", Decision: "7f3k2", At: now,
	}
	for _, edit := range edits {
		edit(&p)
	}
	return p
}

func TestNoticesBeforeAnEnd(t *testing.T) {
	image := permitted("spec.template.spec.containers[name=web].image")
	said := func(end, before time.Duration) *v1alpha1.EndNotice {
		return &v1alpha1.EndNotice{End: metav1.NewTime(now.Add(end)), Before: metav1.Duration{Duration: before}}
	}
	for name, tt := range map[string]struct {
		link    func(*link)
		told    *v1alpha1.EndNotice
		nothing bool // was changed
		after   time.Duration
		say     string // empty: nothing is due
		next    time.Duration
	}{
		"not long before the end": {after: 10 * time.Minute, next: 20 * time.Minute},
		"half an hour before it": {
			after: 30 * time.Minute, next: 25 * time.Minute,
			say: "break-glass hotfix of alice, approved by bob, ends in 30m0s, at 04:00 UTC; then this is held as it is until git says the same: Deployment.apps shop/web spec.template.spec.containers[name=web].image (which restarts its pods); bring it into git: kubectl mainstay breakglass patch hotfix -n mainstay-system",
		},
		"once":                          {after: 31 * time.Minute, told: said(time.Hour, 30*time.Minute), next: 24 * time.Minute},
		"and five minutes before it":    {after: 55 * time.Minute, told: said(time.Hour, 30*time.Minute), say: "ends in 5m0s, at 04:00 UTC"},
		"the last alone, after a pause": {after: 56 * time.Minute, say: "ends in 4m0s"},
		"where nothing was changed":     {after: 56 * time.Minute, nothing: true, say: "break-glass hotfix of alice, approved by bob, ends in 4m0s, at 04:00 UTC"},
		"no longer notice than the grant is": {
			link: func(l *link) { l.record.Begin("bob", now, 20*time.Minute, time.Hour) }, after: time.Minute, next: 14 * time.Minute,
		},
		"before git's values come back": {
			link: reverts, after: 56 * time.Minute,
			say: "break-glass hotfix of alice, approved by bob: in 4m0s, at 04:00 UTC, git's values come back: Deployment.apps shop/web",
		},
		"before what is held comes back": {
			after: 150 * time.Minute, told: said(time.Hour, 5*time.Minute), next: 25 * time.Minute, say: "in 30m0s, at 06:00 UTC, git's values come back",
		},
		"not where nothing is held":       {after: 150 * time.Minute, nothing: true},
		"not where it was given up":       {link: annotated, after: 150 * time.Minute},
		"not after the end":               {after: 4 * time.Hour},
		"also where it was revoked":       {link: func(l *link) { l.bg.Spec.Revoked = true }, after: 150 * time.Minute, next: 25 * time.Minute, say: "in 30m0s, at 06:00 UTC"},
		"not where it was only asked for": {link: unapproved, after: 56 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			l := given("hotfix")
			if tt.link != nil {
				tt.link(&l)
				l.record.Digest = l.bg.Spec.Digest()
			}
			permits := &fakePermits{list: []permit.Permit{image}}
			if tt.nothing {
				permits.list = nil
			}
			s := told(l)
			k := &Keeper{
				o: KeeperOptions{
					Store: s, Permits: permits, Clock: func() time.Time { return now.Add(tt.after) },
					Notices: []time.Duration{30 * time.Minute, 5 * time.Minute},
				},
				settled: map[change]string{},
			}
			l.bg.Status.Told = tt.told
			k.describe(l.bg)
			got, next := k.notice(l.bg)
			if tt.say == "" && got != nil || tt.say != "" && (got == nil || !strings.Contains(got.Text, tt.say)) {
				t.Errorf("%+v, want %q", got, tt.say)
			}
			if next != tt.next {
				t.Errorf("next after %s, want %s", next, tt.next)
			}
		})
	}
}

func TestTheStatusListsWhatAwaitsGit(t *testing.T) {
	l := given("hotfix")
	gone := permitted("", func(p *permit.Permit) { p.ID.Name = "api" })
	permits := &fakePermits{list: []permit.Permit{
		permitted("spec.replicas"), gone,
		permitted("spec.paused", func(p *permit.Permit) { p.At, p.Account, p.Decision = now.Add(time.Minute), "bob", "9x9x9" }),
		permitted("spec.minReadySeconds", func(p *permit.Permit) { p.Grant = "another" }),
		permitted("spec.strategy", func(p *permit.Permit) { p.Grant, p.Rule = "", "hpa.exception" }),
	}}
	k := &Keeper{o: KeeperOptions{Store: told(l), Permits: permits, Clock: func() time.Time { return now.Add(2 * time.Hour) }}, settled: map[change]string{}}
	k.describe(l.bg)
	want := []v1alpha1.BreakGlassChange{
		{Object: "Deployment.apps shop/api", By: "alice", Decision: "7f3k2"},
		{Object: "Deployment.apps shop/web", Paths: []string{"spec.paused", "spec.replicas"}, By: "bob", Decision: "9x9x9"},
	}
	if diff := cmp.Diff(want, l.bg.Status.AwaitingGit); diff != "" {
		t.Errorf("awaiting git (-want +got):\n%s", diff)
	}

	k.Settled(permits.list[0], v1alpha1.SettledInGit)
	k.Settled(gone, v1alpha1.SettledReverted)
	permits.list = permits.list[2:3]
	k.describe(l.bg)
	at := metav1.NewTime(now.Add(2 * time.Hour)).Rfc3339Copy()
	want = []v1alpha1.BreakGlassChange{
		{Object: "Deployment.apps shop/api", By: "alice", Decision: "7f3k2", How: v1alpha1.SettledReverted, At: &at},
		{Object: "Deployment.apps shop/web", Paths: []string{"spec.replicas"}, By: "bob", Decision: "9x9x9", How: v1alpha1.SettledInGit, At: &at},
	}
	if diff := cmp.Diff(want, l.bg.Status.Settled); diff != "" {
		t.Errorf("settled (-want +got):\n%s", diff)
	}
	if got := l.bg.Status.AwaitingGit; len(got) != 1 || len(got[0].Paths) != 1 || got[0].Paths[0] != "spec.paused" {
		t.Errorf("awaiting git %+v, want what still stands", got)
	}
}
