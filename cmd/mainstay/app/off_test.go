// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/policy"
)

// offUntil is mainstay-off, made at noon for two hours.
type offUntil struct{ gone bool }

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func (o *offUntil) Asked() (string, time.Time, time.Time, bool) {
	return "INC-4711", noon, noon.Add(2 * time.Hour), !o.gone
}

func (o *offUntil) State(now time.Time) (bool, string, time.Time) {
	return !o.gone && now.Before(noon.Add(2*time.Hour)), "INC-4711", noon.Add(2 * time.Hour)
}

func (o *offUntil) Changed() <-chan struct{} { return nil }

// heard are the steps that were recorded.
type heard []string

func (h *heard) Record(c *policy.Change, d policy.Decision) {
	*h = append(*h, d.Event+" "+d.Severity+" "+c.ID().String()+": "+d.Reason)
}

func TestMainstayOffIsToldFromItsBeginningToItsEnd(t *testing.T) {
	off, said := new(offUntil), new(heard)
	teller := offTeller{off: off, recorder: said, namespace: "mainstay-system", notices: []time.Duration{30 * time.Minute, 5 * time.Minute}}
	var s offState
	step := func(minutes int, want ...string) {
		t.Helper()
		*said = nil
		if again := teller.look(&s, noon.Add(time.Duration(minutes)*time.Minute)); again <= 0 {
			t.Errorf("after %d minutes it looks again in %s", minutes, again)
		}
		if len(*said) != len(want) {
			t.Fatalf("after %d minutes it said %q, want %q", minutes, *said, want)
		}
		for i, w := range want {
			if !strings.HasPrefix((*said)[i], w) {
				t.Errorf("after %d minutes it said %q, want %q", minutes, (*said)[i], w)
			}
		}
	}
	const object = "ConfigMap mainstay-system/mainstay-off: "
	step(0, "MainstayOff critical "+object+"nothing is refused or reverted until 2026-11-26T14:00:00Z: INC-4711")
	step(1)
	step(90, "MainstayOffEnding warning "+object+"mainstay-off ends in 30m0s, at 14:00 UTC: INC-4711; then what was changed meanwhile goes back")
	step(91)
	step(115, "MainstayOffEnding warning "+object+"mainstay-off ends in 5m0s")
	step(119)
	step(120, "MainstayOn  "+object+"git is enforced again")
	step(121)

	// The next leader begins in the middle.
	s = offState{}
	step(100, "MainstayOff critical ", "MainstayOffEnding warning ")
	off.gone = true
	step(101, "MainstayOn ")
}
