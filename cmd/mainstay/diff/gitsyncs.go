// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/loop"
	"github.com/mainstay-gitops/mainstay/sync/render/sops"
)

// pull compares two revisions of a repository.
type pull struct {
	from, to git
	// system is Mainstay's namespace, addresses those of the clone's remotes.
	system    string
	addresses []string
	keys      *sops.Keys
}

// gitSyncs are the GitSyncs that one side of a folder declares.
func gitSyncs(all declarations) (map[ownership.ID]*v1alpha1.GitSync, error) {
	found := map[ownership.ID]*v1alpha1.GitSync{}
	for id, d := range all {
		if id.Group != v1alpha1.GroupVersion.Group || id.Kind != "GitSync" {
			continue
		}
		gs := new(v1alpha1.GitSync)
		if err := json.Unmarshal(d.desired, gs); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", d.file, d.line, err)
		}
		found[id] = gs
	}
	return found, nil
}

// here tells that a GitSync follows the repository of the clone, as far as can be
// told: one without remotes may be any.
func (p *pull) here(gs *v1alpha1.GitSync) bool {
	return len(p.addresses) == 0 || slices.Contains(p.addresses, bare(gs.Spec.Source.URL))
}

// bare is what addresses of one repository have in common: host and path,
// however it is reached.
func bare(address string) string {
	if _, rest, ok := strings.Cut(address, "://"); ok {
		address = rest
	}
	if at := strings.Index(address, "@"); at >= 0 && at < strings.IndexAny(address+"/", "/") {
		address = address[at+1:]
	}
	if host, rest, ok := strings.Cut(address, ":"); ok && !strings.Contains(host, "/") {
		port, below, _ := strings.Cut(rest, "/")
		if strings.Trim(port, "0123456789") == "" {
			rest = below
		}
		address = host + "/" + rest
	}
	return strings.TrimSuffix(strings.Trim(address, "/"), ".git")
}

// below compares what the GitSyncs of a folder would apply, each rendered by
// what its manifest says on that side. own tells that one of them follows the
// folder itself.
func (p *pull) below(ctx context.Context, folder string, old, next declarations) (results []Result, own bool, err error) {
	before, err := gitSyncs(old)
	if err != nil {
		return nil, false, err
	}
	after, err := gitSyncs(next)
	if err != nil {
		return nil, false, err
	}
	for _, id := range union(old, next) {
		a, b := before[id], after[id]
		if a == nil && b == nil {
			continue
		}
		r := Result{From: p.from.name, To: p.to.name, Folder: folder, GitSync: id.Namespace + "/" + id.Name, Objects: []Object{}}
		if a != nil && !p.here(a) || b != nil && !p.here(b) {
			r.Note = "it follows another repository, and was not compared"
			results = append(results, r)
			continue
		}
		one, err := p.applied(ctx, p.from, a)
		if err != nil {
			return nil, false, fmt.Errorf("GitSync %s: %w", r.GitSync, err)
		}
		two, err := p.applied(ctx, p.to, b)
		if err != nil {
			return nil, false, fmt.Errorf("GitSync %s: %w", r.GitSync, err)
		}
		own = own || b != nil && path.Clean(b.Spec.Source.Path) == folder
		r.Compared = len(union(one, two))
		if r.Objects, err = changed(one, two, newMask()); err != nil {
			return nil, false, err
		}
		results = append(results, r)
	}
	slices.SortFunc(results, func(a, b Result) int { return strings.Compare(a.GitSync, b.GitSync) })
	return results, own, nil
}

// applied is what a GitSync would apply of a side; nothing where there is no
// GitSync, or not its folder.
func (p *pull) applied(ctx context.Context, g git, gs *v1alpha1.GitSync) (declarations, error) {
	if gs == nil {
		return declarations{}, nil
	}
	options, err := loop.RenderOptions(gs, p.system)
	if err != nil {
		return nil, err
	}
	if _, err := fs.Stat(g.tree, path.Clean(strings.TrimPrefix(options.Path, "/"))); errors.Is(err, fs.ErrNotExist) {
		return declarations{}, nil
	}
	options.Keys = p.keys
	return g.objects(ctx, manner{Options: options, target: gs.Spec.TargetNamespace})
}
