// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

var jobKind = schema.GroupKind{Group: "batch", Kind: "Job"}

// finished tells whether a live Job has run to its end.
func finished(live *fastjson.Value) bool {
	for _, c := range live.GetArray("status", "conditions") {
		switch string(c.GetStringBytes("type")) {
		case "Complete", "Failed":
			if string(c.GetStringBytes("status")) == "True" {
				return true
			}
		}
	}
	return false
}

// ended remembers a Job that is seen to have run to its end: the event that it
// is gone may follow at once. It must be called with mu held.
func (g *guard) ended(id ownership.ID, raw []byte) {
	if id.GroupKind() != jobKind || raw == nil {
		return
	}
	live, err := fastjson.ParseBytes(raw)
	if err != nil {
		return // comparing it says so
	}
	delete(g.finished, id)
	if finished(live) {
		g.finished[id] = true
	}
}

// collected tells whether a Job that is gone had run to its end, so that it is
// not to be made again until git changes it. One that was not seen, but that is
// collected by its own spec, counts as well: to run it twice would be worse.
func (g *guard) collected(record *ownership.Record, first bool) bool {
	if record.GroupKind() != jobKind {
		return false
	}
	if record.Applied.Finished {
		return true
	}
	g.mu.Lock()
	seen := g.finished[record.ID]
	g.mu.Unlock()
	if seen || !first {
		return seen
	}
	spec, err := fastjson.ParseBytes(record.Applied.Desired)
	return err == nil && spec.Exists("spec", "ttlSecondsAfterFinished")
}

// keepEnd puts into the inventory that a Job has run to its end: a new leader
// has not seen it.
func (g *guard) keepEnd(ctx context.Context, record *ownership.Record) error {
	if record.GroupKind() != jobKind || record.Applied.Finished {
		return nil
	}
	content := *record.Applied
	content.Finished = true
	return g.learn(ctx, record, &content, func(*ownership.Sync, *ownership.Entry) {})
}

// learn puts what was found out about an applied object into the inventory, and
// then tells of it, unless a sync was faster.
func (g *guard) learn(ctx context.Context, record *ownership.Record, content *ownership.Content, tell func(*ownership.Sync, *ownership.Entry)) error {
	key := record.Sync.Key()
	p := g.l.pass(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	entries := g.l.Index.Entries(key)
	current := entries[record.ID]
	known, ok := g.l.Index.Sync(key)
	if !ok || current == nil || current.Applied != record.Applied {
		return nil
	}
	entry := *current
	entry.Applied = content
	entries[record.ID] = &entry
	all := make([]*ownership.Entry, 0, len(entries))
	for _, e := range entries {
		all = append(all, e)
	}
	sync := *known
	if err := g.l.Inventory.Save(ctx, &sync, all); err != nil {
		return fmt.Errorf("note what was learned of %s: %w", record.ID, err)
	}
	tell(&sync, &entry)
	return nil
}
