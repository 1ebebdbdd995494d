// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package facts

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
)

// retry is how long a kind that is not installed is left alone.
const retry = 10 * time.Second

// Engine wants to know objects of some kinds. policy.Engine does.
type Engine interface {
	Needs() []schema.GroupKind
	NeedsChanged() <-chan struct{}
	SetObject(group, kind, namespace, name string, object map[string]any)
	DeleteObject(group, kind, namespace, name string)
	// SetKnown says whether all objects of a kind have been handed over.
	SetKnown(kind schema.GroupKind, known bool)
}

// Options are all required.
type Options struct {
	Client dynamic.Interface
	Mapper meta.RESTMapper
	Engine Engine
}

// Facts watches what the engine needs.
type Facts struct {
	o Options
	// look asks Start to follow what is needed by now, and is answered when it
	// does.
	look chan chan struct{}

	mu      sync.Mutex
	watches map[schema.GroupKind]*watched
}

type watched struct {
	stop      context.CancelFunc
	hasSynced cache.InformerSynced
}

// New checks the options.
func New(o Options) (*Facts, error) {
	switch {
	case o.Client == nil:
		return nil, errors.New("facts: Options.Client is required")
	case o.Mapper == nil:
		return nil, errors.New("facts: Options.Mapper is required")
	case o.Engine == nil:
		return nil, errors.New("facts: Options.Engine is required")
	}
	return &Facts{o: o, look: make(chan chan struct{}), watches: map[schema.GroupKind]*watched{}}, nil
}

// NeedLeaderElection tells the manager that every replica needs its facts.
func (f *Facts) NeedLeaderElection() bool { return false }

// Start follows the engine's needs until ctx ends.
func (f *Facts) Start(ctx context.Context) error {
	timer := time.NewTicker(retry)
	defer timer.Stop()
	for {
		changed := f.o.Engine.NeedsChanged()
		f.follow(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-timer.C:
		case followed := <-f.look:
			f.follow(ctx)
			close(followed)
		}
	}
}

// Synced waits until every needed kind that is installed was listed once, and
// the engine knows that. Start has to run: the watches are its own, and outlive
// ctx.
func (f *Facts) Synced(ctx context.Context) error {
	followed := make(chan struct{})
	select {
	case f.look <- followed:
		<-followed
	case <-ctx.Done():
		return ctx.Err()
	}
	f.mu.Lock()
	var synced []cache.InformerSynced
	var kinds []schema.GroupKind
	for gk, w := range f.watches {
		synced, kinds = append(synced, w.hasSynced), append(kinds, gk)
	}
	f.mu.Unlock()
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return ctx.Err()
	}
	for _, gk := range kinds {
		f.o.Engine.SetKnown(gk, true)
	}
	return nil
}

// follow starts and stops watches; a kind that is not installed has no objects,
// and is looked for again later.
func (f *Facts) follow(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	needed := map[schema.GroupKind]bool{}
	for _, gk := range f.o.Engine.Needs() {
		if gk.Group == "core" {
			gk.Group = ""
		}
		needed[gk] = true
		if f.watches[gk] != nil {
			continue
		}
		mapping, err := f.o.Mapper.RESTMapping(gk)
		if err != nil {
			if meta.IsNoMatchError(err) {
				f.o.Engine.SetKnown(gk, true) // it has no objects
			}
			ctrl.LoggerFrom(ctx).V(1).Info("kind that policies read is not watched", "kind", gk.String(), "why", err.Error())
			continue
		}
		f.watches[gk] = f.watch(ctx, gk, mapping.Resource)
	}
	for gk, w := range f.watches {
		if !needed[gk] {
			w.stop()
			delete(f.watches, gk)
			f.o.Engine.SetKnown(gk, false)
		}
	}
}

func (f *Facts) watch(ctx context.Context, gk schema.GroupKind, resource schema.GroupVersionResource) *watched {
	ctx, cancel := context.WithCancel(ctx)
	informer := dynamicinformer.NewFilteredDynamicInformer(f.o.Client, resource, "", 0, cache.Indexers{}, nil).Informer()
	log := ctrl.LoggerFrom(ctx).WithValues("kind", gk.String())
	group := gk.Group
	if group == "" {
		group = "core"
	}
	set := func(obj any) {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return
		}
		f.o.Engine.SetObject(group, gk.Kind, u.GetNamespace(), u.GetName(), u.Object)
	}
	// Neither can fail before the informer runs.
	if err := informer.SetTransform(withoutManagedFields); err != nil {
		log.Error(err, "set transform")
	}
	handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, obj any) { set(obj) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if u, ok := obj.(*unstructured.Unstructured); ok {
				f.o.Engine.DeleteObject(group, gk.Kind, u.GetNamespace(), u.GetName())
			}
		},
	})
	synced := func() bool { return err == nil && handler.HasSynced() }
	f.o.Engine.SetKnown(gk, false)
	go informer.RunWithContext(ctx)
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), synced) {
			f.o.Engine.SetKnown(gk, true)
		}
	}()
	return &watched{stop: cancel, hasSynced: synced}
}

func withoutManagedFields(obj any) (any, error) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		u.SetManagedFields(nil)
	}
	return obj, nil
}
