// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/permit"
)

// Fate is what becomes of a change that a grant permitted.
type Fate string

// The fates.
const (
	// Stands: the grant, or one that extends it, is active.
	Stands Fate = "Stands"
	// Held: it has ended, and the change is held as it is.
	Held Fate = "Held"
	// Ended: it has ended, and git's value comes back.
	Ended Fate = "Ended"
	// Undone: somebody has given the change up. Git's value comes back at once.
	Undone Fate = "Undone"
)

// Outcome is the fate of a change, and how long it lasts.
type Outcome struct {
	Fate Fate
	// At is when a fate that lasts came, Until when it may become another one; nil
	// for never.
	At, Until *time.Time
	// Grant that decides, for people: its key, and who asked and approved.
	Grant, Requester, Approver string
}

const (
	// settling is how long a permit counts whose grant this replica does not know:
	// the watches of permits and grants may tell in another order.
	settling = 10 * time.Second
	// postponed is how long git's values wait for an extension that was asked
	// for before the end.
	postponed = 15 * time.Minute
)

// Outcome says what becomes of a change by the permit that a grant gave for it.
// It is the same for every replica and after every restart: it rests on the
// sealed records, on the BreakGlasses and on the clock alone.
func (s *Store) Outcome(p permit.Permit, now time.Time) Outcome {
	key, ok := policy.GrantOf(p.Rule)
	if !ok {
		return Outcome{Fate: Ended}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := Outcome{Grant: key.String(), Requester: p.Account}
	bg := s.requests[key]
	if bg == nil || p.Grant != "" && bg.UID != p.Grant {
		if since := now.Sub(p.At); since >= 0 && since < settling {
			out.Fate, out.Until = Stands, new(p.At.Add(settling))
			return out
		}
		out.Fate = Undone
		return out
	}
	chain := s.chain(bg)
	last := s.records[bg.UID]
	for _, link := range chain {
		if !link.started() {
			continue
		}
		r := link.record
		if r.live(now) && r.standsFor(link.bg) {
			out.Fate, out.Until = Stands, later(out.Until, r.ExpiresAt)
		}
		if last.StartsAt == nil || r.StartsAt.After(*last.StartsAt) {
			last = r
		}
	}
	since := now.Sub(p.At)
	if last.StartsAt == nil && !bg.Spec.Revoked && since >= 0 && since < settling {
		out.Fate, out.Until = Stands, new(p.At.Add(settling))
		return out
	}
	if last.Name != "" {
		out.Grant, out.Requester, out.Approver = last.Key().String(), last.Requester, last.Approver
	}
	if out.Fate == Stands {
		return out
	}
	for _, link := range chain {
		if link.undone() {
			out.Fate, out.Until = Undone, nil
			return out
		}
	}
	return ended(out, p, chain, last, now)
}

// ended is the outcome where no grant of the chain is active any more. Where the
// record of the grant is gone the permit's own times count.
func ended(out Outcome, p permit.Permit, chain []link, last Record, now time.Time) Outcome {
	end, held := p.Until, p.Held
	if last.ExpiresAt != nil {
		end, held = last.ExpiresAt, last.HeldUntil
	}
	out.At = end
	if held != nil {
		if now.Before(*held) {
			out.Fate, out.Until = Held, held
			return out
		}
		out.At = held
	} else if until := waiting(chain, end, now); until != nil {
		out.Fate, out.Until = Held, until
		return out
	}
	out.Fate = Ended
	return out
}

// waiting is until when git's values wait for an extension that somebody has
// asked for before the end, and that nobody has approved yet; nil where there is
// none.
func waiting(chain []link, end *time.Time, now time.Time) *time.Time {
	if end == nil {
		return nil
	}
	until := end.Add(postponed)
	for _, l := range chain[1:] {
		if l.known && !l.started() && !l.bg.Spec.Revoked && l.record.At.Before(*end) && now.Before(until) {
			return &until
		}
	}
	return nil
}

// link is a BreakGlass in a chain of extensions.
type link struct {
	bg     *v1alpha1.BreakGlass
	record Record
	known  bool
}

func (l link) started() bool { return l.known && l.record.StartsAt != nil && l.record.ExpiresAt != nil }

// undone tells whether somebody has given up what was changed.
func (l link) undone() bool {
	return l.bg == nil || l.bg.DeletionTimestamp != nil || l.bg.Annotations[v1alpha1.RevertAnnotation] != "" || l.record.GivenUpAt != nil
}

// chain is a BreakGlass and what extends it, the extensions of those included.
// s.mu is held.
func (s *Store) chain(bg *v1alpha1.BreakGlass) []link {
	r, known := s.records[bg.UID]
	out := []link{{bg, r, known}}
	seen := map[types.UID]bool{bg.UID: true}
	for i := 0; i < len(out); i++ {
		for _, r := range s.records {
			next := s.requests[r.Key()]
			if r.Extends != out[i].bg.UID || seen[r.UID] || next == nil || next.UID != r.UID {
				continue
			}
			seen[r.UID] = true
			out = append(out, link{next, r, true})
		}
	}
	return out
}

// Extendable finds the record of a BreakGlass that may be extended: one that is
// active, or has ended while what was changed under it stands. The error is for
// whoever asks.
func (s *Store) Extendable(key types.NamespacedName, now time.Time) (Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	bg := s.requests[key]
	if bg == nil {
		return Record{}, fmt.Errorf("there is no BreakGlass %s in namespace %s", key.Name, key.Namespace)
	}
	r, known := s.records[bg.UID]
	switch {
	case bg.Spec.Revoked:
		return Record{}, fmt.Errorf("%s was revoked, and what was revoked stays revoked: make a request with a decision or a scope", key.Name)
	case (link{bg, r, known}).undone():
		return Record{}, fmt.Errorf("what was changed under %s was given up: make a request with a decision or a scope", key.Name)
	case !(link{bg, r, known}).started():
		return Record{}, fmt.Errorf("%s was never active: there is nothing to extend", key.Name)
	case !r.live(now) && (r.HeldUntil == nil || !now.Before(*r.HeldUntil)):
		return Record{}, fmt.Errorf("%s has ended, and nothing of it is held: make a request with a decision or a scope", key.Name)
	}
	return r, nil
}

// GoesOn names the grant that is active and goes on with a BreakGlass that it
// extends; empty where there is none.
func (s *Store) GoesOn(uid types.UID) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, known := s.records[uid]
	bg := s.requests[r.Key()]
	if !known || bg == nil || bg.UID != uid {
		return ""
	}
	now := s.options.Clock()
	for _, l := range s.chain(bg)[1:] {
		if l.record.live(now) && l.record.standsFor(l.bg) {
			return l.bg.Name
		}
	}
	return ""
}

// Spent says why nothing may go on with a BreakGlass: it was revoked, or what was
// changed under it was given up. It is empty where something may.
func (s *Store) Spent(uid types.UID) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, known := s.records[uid]
	bg := s.requests[r.Key()]
	switch {
	case !known || bg == nil || bg.UID != uid:
		return "what it goes on with is gone"
	case bg.Spec.Revoked:
		return bg.Name + " was revoked, and what was revoked stays revoked"
	case (link{bg: bg, record: r}).undone():
		return "what was changed under " + bg.Name + " was given up"
	}
	return ""
}

func later(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.After(*a) {
		return b
	}
	return a
}
