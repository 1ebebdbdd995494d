// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"iter"
	"slices"
	"time"
)

// Select says which decisions to read.
type Select struct {
	// Since is the time of the oldest; zero for all.
	Since time.Time
	// After is the number of the last one that is known already.
	After uint64
	// Whole asks for what the decisions rest on, too.
	Whole bool
}

// Numbered is a record with its number, which grows from one to the next.
type Numbered struct {
	Record
	Number uint64
}

// Read yields decisions, the oldest first. It reads what there is when it is
// called, and holds up nobody.
func (r *Ring) Read(s Select) iter.Seq2[Numbered, error] {
	oldest := r.o.Clock().Add(-r.o.MaxAge)
	if s.Since.Before(oldest) {
		s.Since = oldest
	}
	return func(yield func(Numbered, error) bool) {
		for _, b := range r.snapshot() {
			wanted := func(s2 span) bool { return s2.seq > s.After && !s2.time.Before(s.Since) }
			if !slices.ContainsFunc(b.spans, wanted) {
				continue
			}
			lines, bases, err := b.texts(s.Whole)
			if err != nil {
				yield(Numbered{}, err)
				return
			}
			for _, at := range b.spans {
				if !wanted(at) {
					continue
				}
				record, err := at.decode(lines, bases, s.Whole)
				if !yield(Numbered{record, at.seq}, err) {
					return
				}
			}
		}
	}
}

// snapshot are the blocks as they are now.
func (r *Ring) snapshot() []*block {
	r.mu.Lock()
	defer r.mu.Unlock()
	blocks := slices.Clone(r.blocks)
	if n := len(blocks); n > 0 && !blocks[n-1].sealed {
		// It is appended to, which does not touch what is there.
		open := *blocks[n-1]
		blocks[n-1] = &open
	}
	return blocks
}

// Find returns one decision with what it rests on. For one that is the same as
// an earlier one, that is what the earlier one rests on.
func (r *Ring) Find(id string) (Record, bool, error) {
	record, ok, err := r.find(id)
	if err != nil || !ok || record.SameAs == "" || record.Basis != nil {
		return record, ok, err
	}
	before, ok, err := r.find(record.SameAs)
	if err != nil {
		return record, true, err
	}
	if ok {
		record.Basis = before.Basis
	}
	return record, true, nil
}

func (r *Ring) find(id string) (Record, bool, error) {
	for _, b := range slices.Backward(r.snapshot()) {
		for _, at := range b.spans {
			if at.id != id {
				continue
			}
			lines, bases, err := b.texts(true)
			if err != nil {
				return Record{}, false, err
			}
			record, err := at.decode(lines, bases, true)
			return record, err == nil, err
		}
	}
	return Record{}, false, nil
}

// Changed returns a channel that is closed when the next decision is there.
// Take it before reading, so that none is missed.
func (r *Ring) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}
