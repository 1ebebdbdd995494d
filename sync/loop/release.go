// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/apply"
)

// release takes an ownership label off an object that no GitSync declares,
// though the label fits: somebody has made it up. It would lock the object,
// since a replica that sees such a label takes itself for late. The leader
// knows better: nothing is labelled before it is in the leader's index.
func (g *guard) release(ctx context.Context, id ownership.ID, raw []byte) error {
	if raw == nil || g.l.off() {
		return nil
	}
	live, err := fastjson.ParseBytes(raw)
	if err != nil {
		return fmt.Errorf("parse %s: %w", id, err)
	}
	label := string(live.GetStringBytes("metadata", "labels", v1alpha1.SyncLabel))
	resource, known := g.resource(id)
	if !known || live.Exists("metadata", "deletionTimestamp") || !g.claims(label, id) {
		return nil
	}
	target := apply.Target{Resource: resource, Namespace: id.Namespace, Name: id.Name}
	if err := g.l.Applier.Unlabel(ctx, target); err != nil {
		return fmt.Errorf("take a made-up label off %s: %w", id, err)
	}
	return nil
}

// claims tells whether a label fits an object of a GitSync whose inventory was
// read and is applied. Where an inventory could not be read, nothing is known.
func (g *guard) claims(label string, id ownership.ID) bool {
	if label == "" {
		return false
	}
	for _, sync := range g.l.Index.Syncs() {
		readable := sync.URL != "" && sync.Applied.Commit != "" && sync.Mode != v1alpha1.ModeObserve
		if _, suspended := g.l.suspended(sync.Key()); readable && !suspended && ownership.Fits(label, sync.Key(), id) {
			return true
		}
	}
	return false
}

func (g *guard) resource(id ownership.ID) (schema.GroupVersionResource, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for resource, kind := range g.kind {
		if resource.Group == id.Group && kind == id.Kind {
			return resource, true
		}
	}
	return schema.GroupVersionResource{}, false
}
