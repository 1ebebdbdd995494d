// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

func shop() *v1alpha1.GitSync {
	until := before(-12 * time.Minute)
	return &v1alpha1.GitSync{
		ObjectMeta: metav1.ObjectMeta{Namespace: "mainstay-system", Name: "shop"},
		Spec: v1alpha1.GitSyncSpec{
			Source:      v1alpha1.Source{URL: "https://git.example/shop.git", Ref: v1alpha1.Ref{Branch: "main"}, Path: "prod"},
			Enforcement: v1alpha1.Enforcement{Mode: v1alpha1.ModeEnforce}, Contact: "#shop",
		},
		Status: v1alpha1.GitSyncStatus{
			Conditions: []metav1.Condition{
				{Type: "Ready", Status: "False", Reason: "RenderFailed", Message: "web.yaml:3: wrong\nmain@sha1:aaaaaaaaa stays enforced"},
				{Type: "Stalled", Status: "False", Reason: "Retrying"},
				{Type: "Enforcing", Status: "True", Reason: "Enforcing"},
			},
			LastAppliedRevision: "main@sha1:aaaaaaaaa", LastAttemptedRevision: "main@sha1:bbbbbbbbb",
			History: []v1alpha1.AppliedRevision{{Revision: "main@sha1:aaaaaaaaa", Author: "Bo", Subject: "web: more", AppliedAt: before(3 * time.Minute)}},
			Objects: v1alpha1.ObjectCounts{
				Declared: 3, Ready: 2,
				Kinds:    []v1alpha1.KindCounts{{Group: "apps", Kind: "Deployment", Declared: 1}, {Kind: "Service", Declared: 2, Ready: 2}},
				NotReady: []v1alpha1.NotReady{{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web", State: "InProgress", Message: "1 of 3 replicas"}},
			},
			Drift: v1alpha1.DriftCounts{Permitted: 1, Refused24h: 4, Objects: []v1alpha1.DriftedObject{{
				Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web", State: "Permitted", Paths: []string{"spec.replicas"}, Rule: "grant", Until: &until,
			}}},
		},
	}
}

func TestTree(t *testing.T) {
	want := `GitSync mainstay-system/shop  Enforce  #shop
  repository  https://git.example/shop.git, branch main, path prod
  applied     main@sha1:aaaaaaa  Bo: web: more, applied 3m ago
  attempted   main@sha1:bbbbbbb
  Ready       False RenderFailed: web.yaml:3: wrong
              main@sha1:aaaaaaaaa stays enforced
  Enforcing   True Enforcing
  objects     2 of 3 ready
    Deployment.apps                          0 of 1
      shop/web  InProgress: 1 of 3 replicas
    Service                                  2 of 2
  drift       0 differ, 1 permitted; in 24 hours 4 refused, 0 put back
    Deployment.apps shop/web  Permitted: spec.replicas, rule grant, until 2026-11-26T12:12:00Z (in 12m)
  commits
    aaaaaaa  applied 3m ago    Bo: web: more
  next        mend the files that the message names, commit and push; mainstay diff shows what comes of it
`
	if diff := cmp.Diff(want, Tree(shop(), now)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNextSaysWhatToDo(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*v1alpha1.GitSync)
		want   string
	}{
		"nothing": {func(*v1alpha1.GitSync) {}, ""},
		"it waits": {func(gs *v1alpha1.GitSync) {
			gs.Status.Conditions[0].Status, gs.Status.Conditions[0].Reason = "Unknown", "Progressing"
		}, "wait: mainstay sync shop"},
		"it is suspended":  {func(gs *v1alpha1.GitSync) { gs.Status.Suspended = &v1alpha1.Suspended{} }, "mainstay resume shop"},
		"nobody has a say": {func(gs *v1alpha1.GitSync) { gs.Status.Conditions = nil }, "does it run?"},
		"an object drifts": {func(gs *v1alpha1.GitSync) {
			gs.Status.Conditions = append(gs.Status.Conditions, metav1.Condition{Type: "Drifted", Status: "True", Reason: "Drift"})
		}, "mainstay diff shop"},
		"somebody fights": {func(gs *v1alpha1.GitSync) {
			gs.Status.Conditions = append(gs.Status.Conditions, metav1.Condition{Type: "Drifted", Status: "True", Reason: "Fight"})
		}, "stop the other side"},
	} {
		t.Run(name, func(t *testing.T) {
			gs := shop()
			gs.Status.Conditions[0].Status, gs.Status.Conditions[0].Reason = "True", "Applied"
			tt.change(gs)
			got := next(gs)
			if !strings.Contains(got, tt.want) || (tt.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
