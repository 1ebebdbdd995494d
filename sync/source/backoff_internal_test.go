// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/sync/source/wire"
)

func TestAServerThatFailsIsLeftAloneLongerAndLonger(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	down := errors.New("down")
	b := backoff{least: time.Second, most: time.Minute}
	for i, most := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute} {
		b.note(now, down)
		if pause := b.until.Sub(now); pause < most/2 || pause > most {
			t.Errorf("after %d failures it is left alone for %s, want between %s and %s", i+1, pause, most/2, most)
		}
		if !errors.Is(b.waiting(now), down) || b.waiting(b.until) != nil {
			t.Errorf("the failure is not told until %s, and no longer", b.until)
		}
	}
	for range 100 {
		b.note(now, down)
	}
	if pause := b.until.Sub(now); pause > time.Minute || pause < time.Minute/2 {
		t.Errorf("after many failures it is left alone for %s", pause)
	}
	b.note(now, nil)
	b.note(now, down)
	if pause := b.until.Sub(now); pause > time.Second {
		t.Errorf("after it answered once, %s, want at most a second", pause)
	}
}

func TestServersAreNotAskedInStep(t *testing.T) {
	pauses := map[time.Duration]bool{}
	for range 20 {
		b := backoff{least: time.Minute, most: time.Hour}
		now := time.Now()
		b.note(now, errors.New("down"))
		pauses[b.until.Sub(now)] = true
	}
	if len(pauses) < 2 {
		t.Error("twenty pauses are all the same")
	}
}

func TestAServerSaysHowLongItWantsToBeLeftAlone(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{10 * time.Minute: 10 * time.Minute, 100 * time.Hour: maxLimited} {
		b := backoff{least: time.Second, most: time.Minute}
		now := time.Now()
		b.note(now, &wire.StatusError{RetryAfter: asked})
		if pause := b.until.Sub(now); pause != want {
			t.Errorf("it asked for %s and gets %s, want %s", asked, pause, want)
		}
	}
}
