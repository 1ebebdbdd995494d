// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

const (
	// askedWithin bounds a look at another GitSync's repository, askedAtOnce how
	// many are looked at.
	askedWithin = 20 * time.Second
	askedAtOnce = 4
)

// claim is what another GitSync says of an object that leaves.
type claim struct {
	by types.NamespacedName
	// as is the account by which by writes; empty for Mainstay's own.
	as string
	// observes tells that by declares it and writes nothing.
	observes bool
	// doubt is why it can't be told whether by declares it.
	doubt error
}

// beats tells which of two claims of an object counts.
func (c claim) beats(other claim) bool {
	rank := func(c claim) int {
		switch {
		case c.doubt != nil:
			return 2
		case c.observes:
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(rank(c), rank(other)), strings.Compare(c.by.String(), other.by.String())) < 0
}

// claims finds which of the objects that leave a GitSync another one declares,
// in its inventory or by what its ref says now: an object that moves must not be
// deleted, whichever of the two is looked at first. A repository that can't be
// read claims nothing.
func (l *Loop) claims(ctx context.Context, a *attempt, ids []ownership.ID) (map[ownership.ID]claim, error) {
	others, err := l.others(ctx, a)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	claimed := map[ownership.ID]claim{}
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for key, other := range others {
		may := l.mayDeclare(other, ids)
		if len(may) == 0 {
			continue
		}
		group.Go(func() error {
			declared, doubt := l.declaredBy(ctx, other)
			if doubt != nil {
				ctrl.LoggerFrom(ctx).Info("not known what another GitSync declares", "gitsync", key.String(), "error", doubt.Error())
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range may {
				c := claim{by: key, as: serviceAccount(other), observes: observing(other), doubt: doubt}
				if before, taken := claimed[id]; declared(id) && (!taken || c.beats(before)) {
					claimed[id] = c
				}
			}
			return nil
		})
	}
	return claimed, group.Wait()
}

// others are the GitSyncs that an object of an attempt may move to: those of the
// cluster, and those that the commit itself brings, as it has them.
func (l *Loop) others(ctx context.Context, a *attempt) (map[types.NamespacedName]*v1alpha1.GitSync, error) {
	var all v1alpha1.GitSyncList
	if err := l.Client.List(ctx, &all); err != nil {
		return nil, fmt.Errorf("list gitsyncs: %w", err)
	}
	others := map[types.NamespacedName]*v1alpha1.GitSync{}
	for i := range all.Items {
		others[client.ObjectKeyFromObject(&all.Items[i])] = &all.Items[i]
	}
	for id := range a.planned {
		if id.GroupKind() != gitSyncKind {
			continue
		}
		said, err := a.gitSync(id)
		if err != nil {
			return nil, err
		}
		key := client.ObjectKeyFromObject(said)
		if live, exists := others[key]; exists {
			live.Spec, live.Generation = said.Spec, 0 // no inventory is of that spec yet
		} else {
			others[key] = said
		}
	}
	delete(others, a.sync.Key())
	maps.DeleteFunc(others, func(_ types.NamespacedName, gs *v1alpha1.GitSync) bool { return !gs.DeletionTimestamp.IsZero() })
	return others, nil
}

const notFromDisk = "it may not read repositories from Mainstay's own disk"

// forbidden tells that a GitSync follows what only the platform's may: the disk
// of the controller.
func (l *Loop) forbidden(gs *v1alpha1.GitSync) bool {
	return l.tenant(gs) && !l.o.TenantFileSources && onDisk(gs.Spec.Source.URL)
}

// gitSync is one that the commit declares, as the commit has it.
func (a *attempt) gitSync(id ownership.ID) (*v1alpha1.GitSync, error) {
	content := a.entries[id].Attempted
	said := new(v1alpha1.GitSync)
	text := content.Baseline // with what the API server defaults
	if len(text) == 0 {
		text = content.Desired
	}
	if err := json.Unmarshal(text, said); err != nil {
		return nil, fmt.Errorf("%s:%d: decode %s: %w", content.File, content.Line, id, err)
	}
	return said, nil
}

var gitSyncKind = schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: "GitSync"}

// mayDeclare are those of the objects that a GitSync is allowed to declare.
func (l *Loop) mayDeclare(gs *v1alpha1.GitSync, ids []ownership.ID) []ownership.ID {
	if !l.tenant(gs) {
		return ids
	}
	var out []ownership.ID
	for _, id := range ids {
		if id.Namespace == gs.Namespace {
			out = append(out, id)
		}
	}
	return out
}

// declaredBy tells what a GitSync's ref declares now. Where that can't be told,
// it returns why, and what the commit seems to declare.
func (l *Loop) declaredBy(ctx context.Context, gs *v1alpha1.GitSync) (func(ownership.ID) bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askedWithin)
	defer cancel()
	nothing := func(ownership.ID) bool { return false }
	if l.forbidden(gs) {
		return nothing, errors.New(notFromDisk)
	}
	unseen := &pass{}
	request, err := l.request(ctx, gs, unseen)
	if err != nil {
		return nothing, err
	}
	snapshot, err := l.fetch(ctx, gs, unseen, request)
	if emptied(err) {
		return nothing, nil
	}
	if err != nil {
		return nothing, err
	}
	reads := source.Watch(snapshot.FS)
	if reads != nil {
		snapshot.FS = reads
	}
	named := func(id ownership.ID) bool { return mentioned(id, snapshot.FS, gs.Spec.Source.Path, reads) }
	if err := l.accept(ctx, gs, unseen, request, snapshot); err != nil {
		return named, err // what may not be applied hands nothing over
	}
	if l.tenant(gs) && gs.Spec.ServiceAccountName == "" {
		return named, errors.New("it has no spec.serviceAccountName")
	}
	key := client.ObjectKeyFromObject(gs)
	if known, ok := l.Index.Sync(key); ok && known.Applied.Commit == snapshot.Revision.Commit && known.AppliedSpec == gs.Generation {
		entries := l.Index.Entries(key)
		return func(id ownership.ID) bool { return entries[id] != nil && !unfinished(entries[id]) }, nil
	}
	objects, _, err := l.render(ctx, gs, unseen, snapshot)
	if err != nil {
		return named, err
	}
	if objects, err = render.Settle(objects, gs.Spec.TargetNamespace, newKinds(l.Mapper, objects).namespaced); err != nil {
		return named, err
	}
	declared := make(map[ownership.ID]bool, len(objects))
	for i := range objects {
		declared[objects[i].ID] = true
	}
	return func(id ownership.ID) bool { return declared[id] }, nil
}
