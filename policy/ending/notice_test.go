// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

var (
	noon    = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	notices = []time.Duration{30 * time.Minute, 5 * time.Minute}
)

func TestWhenAnEndIsTold(t *testing.T) {
	told := func(before time.Duration) *v1alpha1.EndNotice {
		return &v1alpha1.EndNotice{End: metav1.NewTime(noon), Before: metav1.Duration{Duration: before}}
	}
	for name, tt := range map[string]struct {
		lasts, left time.Duration
		told        *v1alpha1.EndNotice
		due, next   time.Duration
	}{
		"long before":                        {lasts: 2 * time.Hour, left: time.Hour, next: 30 * time.Minute},
		"half an hour before":                {lasts: 2 * time.Hour, left: 30 * time.Minute, due: 30 * time.Minute, next: 25 * time.Minute},
		"once":                               {lasts: 2 * time.Hour, left: 29 * time.Minute, told: told(30 * time.Minute), next: 24 * time.Minute},
		"five minutes before":                {lasts: 2 * time.Hour, left: 5 * time.Minute, told: told(30 * time.Minute), due: 5 * time.Minute},
		"the last alone, where both are due": {lasts: 2 * time.Hour, left: time.Minute, due: 5 * time.Minute},
		"none after the last":                {lasts: 2 * time.Hour, left: time.Minute, told: told(5 * time.Minute)},
		"none at the end":                    {lasts: 2 * time.Hour},
		"none after it":                      {lasts: 2 * time.Hour, left: -time.Minute},
		"one of another end says nothing": {
			lasts: 2 * time.Hour, left: time.Minute, due: 5 * time.Minute,
			told: &v1alpha1.EndNotice{End: metav1.NewTime(noon.Add(time.Hour)), Before: metav1.Duration{Duration: 5 * time.Minute}},
		},
		"none that is longer than it lasts":          {lasts: 20 * time.Minute, left: 20 * time.Minute, next: 15 * time.Minute},
		"a clock that goes back tells nothing again": {lasts: 2 * time.Hour, left: 31 * time.Minute, told: told(30 * time.Minute), next: 26 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			due, next := Exception{From: noon.Add(-tt.lasts), End: noon, Told: tt.told}.Due(notices, noon.Add(-tt.left))
			if got := due; (got == nil) != (tt.due == 0) || got != nil && (got.Before.Duration != tt.due || !got.End.Time.Equal(noon)) || next != tt.next {
				t.Errorf("due %+v, next in %s, want %s, %s", due, next, tt.due, tt.next)
			}
		})
	}
}

func TestWordsForWhatComesBack(t *testing.T) {
	change := func(object string, restarts bool, paths ...string) v1alpha1.BreakGlassChange {
		return v1alpha1.BreakGlassChange{Object: object, Paths: paths, RestartsPods: restarts}
	}
	for name, tt := range map[string]struct {
		list []v1alpha1.BreakGlassChange
		want string
	}{
		"nothing":            {nil, ""},
		"one that is gone":   {[]v1alpha1.BreakGlassChange{change("ConfigMap a/b", false)}, "ConfigMap a/b is gone"},
		"one that restarts":  {[]v1alpha1.BreakGlassChange{change("Deployment.apps a/b", true, "x", "y")}, "Deployment.apps a/b x, y (which restarts its pods)"},
		"many of its fields": {[]v1alpha1.BreakGlassChange{change("ConfigMap a/b", false, "1", "2", "3", "4", "5", "6", "7")}, "ConfigMap a/b 1, 2, 3, 4, 5 and 2 more"},
		"many of them": {
			[]v1alpha1.BreakGlassChange{change("A 1", false), change("A 2", false), change("A 3", false), change("A 4", false), change("A 5", false), change("A 6", false)},
			"A 1 is gone; A 2 is gone; A 3 is gone; A 4 is gone; A 5 is gone; and 1 more",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Changes(tt.list); got != tt.want {
				t.Errorf("Changes = %q, want %q", got, tt.want)
			}
		})
	}
	if got := When(noon, noon.Add(-90*time.Second)); got != "in 1m30s, at 12:00 UTC" {
		t.Errorf("When = %q", got)
	}
}
