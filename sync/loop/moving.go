// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// moving turns the failure of an attempt into one that says so where all it
// lacks are objects that other GitSyncs are about to hand over.
func (l *Loop) moving(ctx context.Context, a *attempt, err error) error {
	if a == nil || len(a.conflicting) == 0 || a.observe {
		return err
	}
	byOwner := map[types.NamespacedName][]*ownership.Record{}
	for _, r := range a.conflicting {
		byOwner[r.Sync.Key()] = append(byOwner[r.Sync.Key()], r)
	}
	for key, records := range byOwner {
		owner := new(v1alpha1.GitSync)
		if getErr := l.Client.Get(ctx, key, owner); getErr != nil {
			return err
		}
		declared, asked := l.declaredBy(ctx, owner)
		if asked != nil {
			return err
		}
		for _, r := range records {
			if declared(r.ID) {
				return err
			}
		}
	}
	for key := range byOwner {
		l.wake(key)
	}
	first := a.conflicting[0]
	return &failure{"MovePending", fmt.Errorf("%s comes from GitSync %s, which no longer declares it and hands it over with its next sync (%d objects in all)",
		first.ID, first.Sync.Key(), len(a.conflicting))}
}

// wake has a GitSync looked at now.
func (l *Loop) wake(key types.NamespacedName) {
	l.pass(key).soon.Store(true)
	gs := new(v1alpha1.GitSync)
	gs.Namespace, gs.Name = key.Namespace, key.Name
	select {
	case l.news <- event.GenericEvent{Object: gs}:
	default: // its next look is soon enough
	}
}

// emptyRender is the reason where a commit declares nothing any more.
const emptyRender = "EmptyRender"

// emptied tells that a look failed because git has nothing where the objects of
// a GitSync were.
func emptied(err error) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && (f.reason == emptyRender || f.reason == source.ReasonPathNotFound)
}

// givesAway hands over what other GitSyncs declare of the objects of one that
// declares nothing any more, so that all of them can move in one commit. The
// others stay what they are, and err says so. The pass must be locked.
func (l *Loop) givesAway(ctx context.Context, gs *v1alpha1.GitSync, err error) error {
	known, ok := l.Index.Sync(client.ObjectKeyFromObject(gs))
	if !ok || !emptied(err) || observing(gs) {
		return err
	}
	before := l.Index.Entries(known.Key())
	a := &attempt{sync: *known, before: before, entries: maps.Clone(before), fates: map[ownership.ID]fate{}}
	if l.maySync(a) != nil {
		return err
	}
	var ids []ownership.ID
	for id, e := range before {
		if !e.Pruning && !e.Released {
			ids = append(ids, id)
		}
	}
	claims, unknown := l.claims(ctx, a, ids)
	if unknown != nil {
		return errors.Join(err, unknown)
	}
	for _, id := range sorted(claims) {
		if c := claims[id]; c.doubt == nil && !c.observes {
			a.leaving, a.fates[id] = append(a.leaving, id), fate{what: handedOver, to: c.by, as: c.as}
		}
	}
	if len(a.leaving) == 0 {
		return err
	}
	if failed := l.prune(ctx, a); failed != nil {
		return errors.Join(err, failed)
	}
	for _, f := range a.fates {
		l.wake(f.to)
	}
	return errors.Join(err, l.persist(ctx, a))
}

// mentioned tells whether a file under folder, or one that was read, has the
// kind and the name of an object in it, and no other namespace: that it declares
// the object can't be ruled out.
func mentioned(id ownership.ID, tree fs.FS, folder string, reads *source.Reads) bool {
	var files []string
	walk := func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, name)
		}
		return nil // what can't be read declares nothing
	}
	if reads != nil {
		files = reads.Files()
	}
	if fs.WalkDir(tree, path.Clean(folder), walk) != nil {
		return false
	}
	word := func(text string) *regexp.Regexp {
		return regexp.MustCompile(`(^|[^\w.-])` + regexp.QuoteMeta(text) + `($|[^\w.-])`)
	}
	kind, name, namespace := word(id.Kind), word(id.Name), word(id.Namespace)
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := fs.ReadFile(tree, file)
		return err == nil && bytes.Contains(text, []byte(id.Name)) && name.Match(text) && kind.Match(text) &&
			(id.Namespace == "" || !bytes.Contains(text, []byte("namespace:")) || namespace.Match(text))
	})
}
