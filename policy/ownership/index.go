// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// Record is an entry with its GitSync, prepared for judging.
type Record struct {
	*Entry
	Sync *Sync
	// AppliedSet and AttemptedSet are the parsed Fields of the contents; nil
	// where there is none.
	AppliedSet, AttemptedSet *fieldset.Set
}

// Mode in which the object is held: its own where git gives it one, else that
// of its GitSync. A GitSync that only observes observes all of its objects.
func (r *Record) Mode() v1alpha1.Mode {
	if r.OwnMode != "" && r.Sync.Mode != v1alpha1.ModeObserve {
		return r.OwnMode
	}
	return r.Sync.Mode
}

// Index finds the record of an object. It is safe for concurrent use.
type Index struct {
	mu     sync.RWMutex
	syncs  map[types.NamespacedName]*Sync
	bySync map[types.NamespacedName]map[ID]*Record
	byID   map[ID]*Record
	// kinds knows the kind of each resource that was ever declared.
	kinds   map[schema.GroupResource]string
	changed chan struct{}
}

// NewIndex returns an empty Index.
func NewIndex() *Index {
	return &Index{
		syncs:   map[types.NamespacedName]*Sync{},
		bySync:  map[types.NamespacedName]map[ID]*Record{},
		byID:    map[ID]*Record{},
		kinds:   map[schema.GroupResource]string{},
		changed: make(chan struct{}),
	}
}

// Lookup returns the record of the object id.
func (x *Index) Lookup(id ID) (*Record, bool) {
	x.mu.RLock()
	r, ok := x.byID[id]
	x.mu.RUnlock()
	return r, ok
}

// LookupResource is Lookup by resource: a review of a subresource such as scale
// does not say the kind of the parent.
func (x *Index) LookupResource(resource schema.GroupResource, namespace, name string) (*Record, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	kind, ok := x.kinds[resource]
	if !ok {
		return nil, false
	}
	r, ok := x.byID[ID{Group: resource.Group, Kind: kind, Namespace: namespace, Name: name}]
	return r, ok
}

// Sync returns what is known about a GitSync.
func (x *Index) Sync(key types.NamespacedName) (*Sync, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s, ok := x.syncs[key]
	return s, ok
}

// Syncs returns all GitSyncs, sorted by key.
func (x *Index) Syncs() []*Sync {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.SortedFunc(maps.Values(x.syncs), func(a, b *Sync) int {
		return compareKeys(a.Key(), b.Key())
	})
}

// Entries returns the entries of one GitSync by identity, those that it lets go
// or has handed over included. The map is the caller's; the entries are not.
func (x *Index) Entries(key types.NamespacedName) map[ID]*Entry {
	x.mu.RLock()
	defer x.mu.RUnlock()
	entries := make(map[ID]*Entry, len(x.bySync[key]))
	for id, r := range x.bySync[key] {
		entries[id] = r.Entry
	}
	return entries
}

// Count returns how many objects one GitSync declares.
func (x *Index) Count(key types.NamespacedName) int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.bySync[key])
}

// Replace makes entries the whole of what sync declares. A generation that is
// not newer than the known one changes nothing. Entries that another GitSync
// declares already stay with that one: the first owner keeps an object.
func (x *Index) Replace(sync *Sync, entries []*Entry) error {
	key := sync.Key()
	x.mu.RLock()
	old := x.bySync[key]
	x.mu.RUnlock()

	records := make(map[ID]*Record, len(entries))
	sets := parsed{}
	for _, e := range entries {
		// Field sets are parsed once for each content, outside the lock.
		r := &Record{Entry: e, Sync: sync}
		if prev := old[e.ID]; prev != nil {
			if prev.Applied == e.Applied {
				r.AppliedSet = prev.AppliedSet
			}
			if prev.Attempted == e.Attempted {
				r.AttemptedSet = prev.AttemptedSet
			}
			if prev.Attempted != nil && prev.Attempted == e.Applied {
				r.AppliedSet = prev.AttemptedSet
			}
		}
		var err error
		if r.AppliedSet, err = sets.of(e.Applied, r.AppliedSet); err != nil {
			return fmt.Errorf("fields of %s: %w", e.ID, err)
		}
		if r.AttemptedSet, err = sets.of(e.Attempted, r.AttemptedSet); err != nil {
			return fmt.Errorf("attempted fields of %s: %w", e.ID, err)
		}
		records[e.ID] = r
	}

	x.mu.Lock()
	defer x.mu.Unlock()
	if known, ok := x.syncs[key]; ok && known.Generation >= sync.Generation {
		return nil
	}
	for id, r := range x.bySync[key] {
		if next := records[id]; (next == nil || next.Released) && x.byID[id] == r {
			x.handOver(id, key)
		}
	}
	x.syncs[key] = sync
	x.bySync[key] = records
	for id, r := range records {
		x.place(id, r)
	}
	x.notify()
	return nil
}

// parsed are field sets by their FieldsV1: objects of one kind mostly declare
// the same fields, and a set is larger than all else that is kept of an object.
type parsed map[string]*fieldset.Set

// of returns the set of a content: the known one if there is one, else that of
// a content that declares the same fields, else a new one. It is nil where the
// content has no fields.
func (p parsed) of(c *Content, known *fieldset.Set) (*fieldset.Set, error) {
	if c == nil || len(c.Fields) == 0 {
		return known, nil
	}
	if same := p[string(c.Fields)]; same != nil {
		return same, nil
	}
	if known == nil {
		var err error
		if known, err = fieldset.ParseSet(c.Fields); err != nil {
			return nil, err
		}
	}
	p[string(c.Fields)] = known
	return known, nil
}

// place makes r the record by which an object is judged, unless another GitSync
// has the object: the one that had it first, or the one that it is handed to.
// It must be called with mu held.
func (x *Index) place(id ID, r *Record) {
	if r.Released {
		return
	}
	if heir := x.heir(id, r); heir != nil {
		r = heir
	} else if other, taken := x.byID[id]; taken && other.Sync.Key() != r.Sync.Key() && x.heir(id, other) != r {
		return
	}
	x.byID[id] = r
	x.kinds[schema.GroupResource{Group: id.Group, Resource: r.Resource}] = id.Kind
}

// heir is the record of the GitSync that r's object is handed to, if that one
// has it.
func (x *Index) heir(id ID, r *Record) *Record {
	if r.HandedTo == "" {
		return nil
	}
	namespace, name, _ := strings.Cut(r.HandedTo, "/")
	heir := x.bySync[types.NamespacedName{Namespace: namespace, Name: name}][id]
	if heir == nil || heir.Released {
		return nil
	}
	return heir
}

// Remove forgets a GitSync and all that it declares.
func (x *Index) Remove(key types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.syncs[key]; !ok {
		return
	}
	for id, r := range x.bySync[key] {
		if x.byID[id] == r {
			x.handOver(id, key)
		}
	}
	delete(x.syncs, key)
	delete(x.bySync, key)
	x.notify()
}

// handOver takes an object from the GitSync key and gives it to another that
// declares it as well, if there is one: the first by key. It must be called
// with mu held.
func (x *Index) handOver(id ID, key types.NamespacedName) {
	delete(x.byID, id)
	var heir types.NamespacedName
	for other, records := range x.bySync {
		if other == key || records[id] == nil || records[id].Released {
			continue
		}
		if x.byID[id] == nil || compareKeys(other, heir) < 0 {
			x.byID[id], heir = records[id], other
		}
	}
}

// Changed returns a channel that is closed at the next change of the Index.
func (x *Index) Changed() <-chan struct{} {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.changed
}

// Await calls done after every change of the Index until done reports true or
// ctx ends, and returns what done said last.
func (x *Index) Await(ctx context.Context, done func() bool) bool {
	for {
		changed := x.Changed()
		if done() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

// Declared is a resource that some GitSync declares.
type Declared struct {
	GVR  schema.GroupVersionResource
	Kind string
	// Namespaces that hold declared objects of it; empty for cluster scope.
	Namespaces []string
}

// Declared returns the declared resources, sorted, for the registration of the
// webhook and for the watches.
func (x *Index) Declared() []Declared {
	x.mu.RLock()
	defer x.mu.RUnlock()
	type key struct {
		gvr  schema.GroupVersionResource
		kind string
	}
	namespaces := map[key]map[string]bool{}
	for _, r := range x.byID {
		k := key{r.GVR(), r.Kind}
		if namespaces[k] == nil {
			namespaces[k] = map[string]bool{}
		}
		if r.Namespace != "" {
			namespaces[k][r.Namespace] = true
		}
	}
	declared := make([]Declared, 0, len(namespaces))
	for k, ns := range namespaces {
		declared = append(declared, Declared{GVR: k.gvr, Kind: k.kind, Namespaces: slices.Sorted(maps.Keys(ns))})
	}
	slices.SortFunc(declared, func(a, b Declared) int {
		return compareStrings(a.GVR.Group, b.GVR.Group, a.GVR.Resource, b.GVR.Resource, a.GVR.Version, b.GVR.Version)
	})
	return declared
}

// Len is the number of declared objects.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.byID)
}

// notify must be called with mu held.
func (x *Index) notify() {
	close(x.changed)
	x.changed = make(chan struct{})
}

func compareKeys(a, b types.NamespacedName) int {
	return compareStrings(a.Namespace, b.Namespace, a.Name, b.Name)
}

// compareStrings compares pairs, the first difference decides.
func compareStrings(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		switch {
		case pairs[i] < pairs[i+1]:
			return -1
		case pairs[i] > pairs[i+1]:
			return 1
		}
	}
	return 0
}
