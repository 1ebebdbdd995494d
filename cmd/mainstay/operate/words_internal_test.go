// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package operate

import (
	"testing"
	"time"
)

func TestADurationIsWrittenWithoutZeros(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Hour: "1h", 90 * time.Minute: "1h30m", 30 * time.Minute: "30m", 45 * time.Second: "45s",
		10 * time.Second: "10s", 100 * time.Minute: "1h40m", time.Hour + time.Second: "1h0m1s",
	} {
		got := compact(d)
		if back, err := time.ParseDuration(got); got != want || err != nil || back != d {
			t.Errorf("%s is written %s, want %s", d, got, want)
		}
	}
}

func TestARequestBeginsWhenItWasMade(t *testing.T) {
	// What the status says is in whole seconds.
	if at := begun("2026-11-26T12:00:00.7Z"); !at.Before(time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("it begins at %s, after what was said in the same second", at)
	}
	if at := begun("now, please"); !at.IsZero() {
		t.Errorf("somebody else's request begins at %s", at)
	}
}
