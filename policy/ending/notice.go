// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// Exception is one that ends by itself.
type Exception struct {
	// From and End are its beginning and its end.
	From, End time.Time
	// Told is the last notice that was given of an end; nil for none.
	Told *v1alpha1.EndNotice
}

// Due is the notice that is due at now, nil for none, and how long to wait for
// the next; zero where none is to come. notices are how long before an end it is
// told, the longest first. Where several are due at once, the last alone is. None
// is due at or before the beginning, nor from the end on.
func (e Exception) Due(notices []time.Duration, now time.Time) (due *v1alpha1.EndNotice, next time.Duration) {
	for _, before := range notices {
		at := e.End.Add(-before)
		switch {
		case !at.After(e.From), !now.Before(e.End), e.told(before):
		case now.Before(at):
			if next == 0 {
				next = at.Sub(now)
			}
		default:
			due = &v1alpha1.EndNotice{End: metav1.NewTime(e.End), Before: metav1.Duration{Duration: before}}
		}
	}
	return due, next
}

// told tells whether this notice of this end was given, or a later one.
func (e Exception) told(before time.Duration) bool {
	return e.Told != nil && e.Told.End.Time.Equal(e.End) && e.Told.Before.Duration <= before
}

// When says when something comes, for example "in 5m0s, at 04:00 UTC".
func When(end, now time.Time) string {
	left := max(end.Sub(now).Round(time.Second), time.Second)
	return fmt.Sprintf("in %s, at %s", left, end.UTC().Format("15:04 UTC"))
}

// maxNamed is how many objects a sentence names, and fields of each.
const maxNamed = 5

// Changes names objects and fields, and whose pods restart when git's values come
// back; empty for none.
func Changes(list []v1alpha1.BreakGlassChange) string {
	var parts []string
	for i, c := range list {
		if i == maxNamed {
			parts = append(parts, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		text := c.Object + " " + strings.Join(c.Paths[:min(len(c.Paths), maxNamed)], ", ")
		if len(c.Paths) == 0 {
			text = c.Object + " is gone"
		} else if more := len(c.Paths) - maxNamed; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		if c.RestartsPods {
			text += " (which restarts its pods)"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
