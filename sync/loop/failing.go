// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// failingAfter is how long an object has to fail, again and again, until it is
// said: a moment's trouble mends itself.
const failingAfter = 2 * time.Second

// failing is an object that could not be compared or put back at the last try.
type failing struct {
	sync  types.NamespacedName
	since time.Time
	last  time.Time
	words string
}

// lasting tells that it has failed for long enough to be said.
func (f failing) lasting() bool { return f.last.Sub(f.since) >= failingAfter }

// failed remembers a failure, and makes an Event of one that lasts.
func (g *guard) failed(ctx context.Context, id ownership.ID, err error) {
	record, ok := g.l.Index.Lookup(id)
	if !ok || ctx.Err() != nil {
		return
	}
	now := time.Now()
	g.mu.Lock()
	before, known := g.failing[id]
	next := failing{sync: record.Sync.Key(), since: now, last: now, words: err.Error()}
	if known && before.sync == next.sync {
		next.since = before.since
	}
	g.failing[id] = next
	g.mu.Unlock()
	if next.lasting() && (!before.lasting() || before.words != next.words) {
		g.l.warn(record.Sync, record.Entry, "RevertFailed", "Revert", "can't be made what git says, and is tried again: "+next.words)
	}
}

// mended forgets that an object failed.
func (g *guard) mended(id ownership.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.failing, id)
}

// failures says which objects of a GitSync fail, and why; empty where none does.
func (g *guard) failures(key types.NamespacedName) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []string
	for id, f := range g.failing {
		if f.sync == key && f.lasting() {
			all = append(all, fmt.Sprintf("%s: %s", id, f.words))
		}
	}
	slices.Sort(all)
	if n := len(all) - 3; n > 0 {
		all = append(all[:3:3], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(all, "; ")
}
