// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package drift

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// A field that is put back more often than fightAfter times within fightWindow
// is fought about; reverts of its object are then slowed down, each twice as
// long as the one before, from slowFirst to slowMost. A fight is over when
// nobody has touched the field for fightOver after it was put back.
const (
	fightAfter  = 5
	fightWindow = time.Minute
	slowFirst   = time.Second
	slowMost    = 30 * time.Second
	fightOver   = 30 * time.Second
)

// Fight is somebody and Mainstay writing the same field of an object again and
// again.
type Fight struct {
	ID ownership.ID
	// Path that is fought about; empty for an object that is deleted again and
	// again.
	Path string
	// Manager is the other side's field manager, as far as that can be told.
	Manager string
	// Since is when it was found, Times how often the field was put back.
	Since time.Time
	Times int
	// Every is the time between two reverts now.
	Every time.Duration
}

// Fights finds them. The zero value is ready, and safe for concurrent use. The
// caller gives the time.
type Fights struct {
	mu      sync.Mutex
	objects map[ownership.ID]*rounds
}

// rounds are what was put back of one object lately.
type rounds struct {
	fields map[string]*round
	// notBefore is when the next revert may be.
	notBefore time.Time
	fight     *Fight
	last      time.Time
}

// round is a field that was put back.
type round struct {
	times []time.Time // the last ones, within fightWindow
	total int
}

// Reverted notes that a field of an object was put back, against whom. It
// returns the fight that this shows or goes on with; began tells that it is
// news. For a deletion that was undone the path is empty.
func (f *Fights) Reverted(id ownership.ID, path, manager string, now time.Time) (fight Fight, began, found bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objects == nil {
		f.objects = map[ownership.ID]*rounds{}
	}
	o := f.objects[id]
	if o == nil {
		o = &rounds{fields: map[string]*round{}}
		f.objects[id] = o
	}
	r := o.fields[path]
	if r == nil {
		r = &round{}
		o.fields[path] = r
	}
	r.total++
	r.times = append(slices.DeleteFunc(r.times, func(t time.Time) bool { return now.Sub(t) >= fightWindow }), now)
	o.last = now
	switch {
	case o.fight != nil && o.fight.Path == path:
		o.fight.Times = r.total
		o.fight.Manager = cmp.Or(manager, o.fight.Manager)
		o.fight.Every = min(o.fight.Every*2, slowMost)
	case o.fight == nil && len(r.times) > fightAfter:
		o.fight = &Fight{ID: id, Path: path, Manager: manager, Since: now, Times: r.total, Every: slowFirst}
		began = true
	default:
		return Fight{}, false, false
	}
	o.notBefore = now.Add(o.fight.Every)
	return *o.fight, began, true
}

// Hold is how long the next revert of an object has to wait; zero where it need
// not.
func (f *Fights) Hold(id ownership.ID, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.objects[id]
	if o == nil || o.fight == nil {
		return 0
	}
	return max(o.notBefore.Sub(now), 0)
}

// Of returns the fight about an object.
func (f *Fights) Of(id ownership.ID) (Fight, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.objects[id]
	if o == nil || o.fight == nil {
		return Fight{}, false
	}
	return *o.fight, true
}

// All returns the fights that go on, by object, after it has forgotten those
// that are over.
func (f *Fights) All(now time.Time) []Fight {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Fight
	for id, o := range f.objects {
		quiet := fightWindow
		if o.fight != nil {
			quiet = fightOver + o.fight.Every
		}
		switch {
		case now.Sub(o.last) >= quiet:
			delete(f.objects, id)
		case o.fight != nil:
			all = append(all, *o.fight)
		}
	}
	slices.SortFunc(all, func(a, b Fight) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return all
}

// Forget drops what is known about an object.
func (f *Fights) Forget(id ownership.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.objects, id)
}
