// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io/fs"
	"maps"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// rendered is what a rendering depended on beside the GitSync's spec: what it
// read, and what a chart could ask about the cluster. The zero value is that of
// one that has to be made again.
type rendered struct {
	commit string
	seen   source.Seen
	// roots are the folders that were rendered by themselves.
	roots   roots
	cluster [sha256.Size]byte
	// kind is the way of it; parsed are how many plain manifests it parsed, made
	// how many roots it rendered.
	kind         v1alpha1.RenderType
	parsed, made int
}

// seenBy notes what a rendering read. What SOPS has encrypted depends on keys,
// too, and is rendered for every commit.
func seenBy(gs *v1alpha1.GitSync, commit string, reads *source.Reads, kind v1alpha1.RenderType) rendered {
	r := rendered{commit: commit}
	if reads == nil || gs.Spec.Render.Decryption != nil {
		return r
	}
	r.seen, r.kind = reads.Seen(), kind
	return r
}

// clusterDigest is another one where a chart may render otherwise.
func clusterDigest(h *render.Helm) [sha256.Size]byte {
	text, err := json.Marshal([]any{h.KubeVersion, h.APIVersions, h.Undiscovered != nil})
	if err != nil {
		return [sha256.Size]byte{} // strings always encode
	}
	return sha256.Sum256(text)
}

// untouched tells that a commit would render to what is applied: everything was
// brought in, nobody asks for more, and all that was read is as it was.
func (l *Loop) untouched(gs *v1alpha1.GitSync, p *pass, tree fs.FS) bool {
	if !l.settled(gs, p) || !p.rendered.seen.In(tree) || !p.rendered.roots.in(tree) {
		return false
	}
	return p.rendered.kind != v1alpha1.RenderHelm && !p.rendered.roots.charts() || l.sameCluster(p)
}

// sameCluster tells that a chart could ask nothing about the cluster that it was
// told otherwise.
func (l *Loop) sameCluster(p *pass) bool {
	var now render.Helm
	return l.capabilities(&now) == nil && clusterDigest(&now) == p.rendered.cluster
}

// settled tells that what was rendered last is what is applied, all of it, and
// that nobody asks for more.
func (l *Loop) settled(gs *v1alpha1.GitSync, p *pass) bool {
	if p.commit == "" || p.rendered.commit == "" || p.generation != gs.Generation || p.pruning || observing(gs) || p.requested(gs) {
		return false
	}
	key := client.ObjectKeyFromObject(gs)
	if known, ok := l.Index.Sync(key); !ok || known.Applied.Commit != p.commit || known.AppliedSpec != gs.Generation {
		return false
	}
	for _, e := range l.Index.Entries(key) {
		if e.Attempted != nil || e.Applied == nil || unfinished(e) {
			return false
		}
	}
	return true
}

// carryOver has a commit applied that changes none of the objects: the
// inventory's head says so, and nothing else is written.
func (l *Loop) carryOver(ctx context.Context, gs *v1alpha1.GitSync, p *pass, revision ownership.Revision) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := l.begin(gs, revision)
	a.entries = maps.Clone(a.before)
	for id, e := range a.entries {
		if applied := asOf(e.Applied, revision); applied != e.Applied {
			entry := *e
			entry.Applied = applied
			a.entries[id] = &entry
		}
	}
	if err := l.maySync(a); err != nil {
		return err
	}
	defer func() { p.summarize(revision, a.tally) }()
	if err := l.finish(ctx, a); err != nil {
		return err
	}
	p.brought(gs, revision)
	l.announce(ctx, gs, a)
	return nil
}

// brought notes that a commit was brought in.
func (p *pass) brought(gs *v1alpha1.GitSync, revision ownership.Revision) {
	p.commit, p.generation = revision.Commit, gs.Generation
	p.request = gs.Annotations[v1alpha1.RequestedAtAnnotation]
}
