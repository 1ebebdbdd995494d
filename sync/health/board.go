// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"sync"

	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// Board remembers the health of objects. It is safe for concurrent use.
type Board struct {
	// changed is called with each object whose health is another than before.
	changed func(ownership.ID)

	mu     sync.Mutex
	states map[ownership.ID]*state
}

type state struct {
	Result
	// version of the live object that was looked at.
	version string
}

// healthy is shared by all objects of which nothing else has to be known.
var healthy = &state{Result: Result{State: Current}}

// NewBoard returns an empty Board. changed may be nil; it must return quickly.
func NewBoard(changed func(ownership.ID)) *Board {
	if changed == nil {
		changed = func(ownership.ID) {}
	}
	return &Board{changed: changed, states: map[ownership.ID]*state{}}
}

// Saw notes the health of an object in the resourceVersion in which it was
// seen. What is older than the last is ignored: the answer to a write is often
// there before the watch says so.
func (b *Board) Saw(id ownership.ID, version string, r Result) {
	b.mu.Lock()
	before := b.states[id]
	if before != nil && before.version != "" && older(version, before.version) {
		b.mu.Unlock()
		return
	}
	next := healthy
	if r != healthy.Result {
		next = &state{r, version}
	}
	b.states[id] = next
	b.mu.Unlock()
	if before == nil || before.Result != r {
		b.changed(id)
	}
}

// Wrote notes what the answer to a write says. It replaces whatever was known,
// and what a watch saw before the write does not count any more.
func (b *Board) Wrote(id ownership.ID, version string, r Result) {
	b.mu.Lock()
	before := b.states[id]
	b.states[id] = &state{r, version}
	b.mu.Unlock()
	if before == nil || before.Result != r {
		b.changed(id)
	}
}

// Gone notes that an object is not there.
func (b *Board) Gone(id ownership.ID) {
	b.Saw(id, "", Result{State: NotFound, Message: "it does not exist"})
}

// Forget drops what is known about an object.
func (b *Board) Forget(id ownership.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.states, id)
}

// Of returns what is known about an object.
func (b *Board) Of(id ownership.ID) Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.states[id]; s != nil {
		return s.Result
	}
	return unseen
}

// unseen is what is known of an object that no watch has shown.
var unseen = Result{State: Unknown, Message: "not seen yet"}

// older tells whether one resourceVersion is before another; those that can't
// be compared are taken as they come.
func older(a, b string) bool {
	n, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && n < 0
}
