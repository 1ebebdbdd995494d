// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// Handler receives what the watches see. Its methods must return quickly.
type Handler interface {
	// Seen is called with each object that is listed, added or changed. raw is
	// the handler's to keep.
	Seen(resource schema.GroupVersionResource, namespace, name string, raw []byte)
	// Gone is called when an object was deleted, or lost the label.
	Gone(resource schema.GroupVersionResource, namespace, name string)
	// Listed is called after a list, with everything that it had.
	Listed(resource schema.GroupVersionResource, names map[Name]bool)
}

// Name of an object within its resource.
type Name struct{ Namespace, Name string }

// Options are all required.
type Options struct {
	// Config of the API server.
	Config  *rest.Config
	Client  *http.Client
	Handler Handler
}

// Watcher follows a changing set of resources.
type Watcher struct {
	o       Options
	mu      sync.Mutex
	follows map[schema.GroupVersionResource]*follow
}

type follow struct {
	stop   context.CancelFunc
	synced chan struct{}
	once   sync.Once
}

// New checks the options.
func New(o Options) (*Watcher, error) {
	switch {
	case o.Config == nil:
		return nil, errors.New("watch: Options.Config is required")
	case o.Client == nil:
		return nil, errors.New("watch: Options.Client is required")
	case o.Handler == nil:
		return nil, errors.New("watch: Options.Handler is required")
	}
	return &Watcher{o: o, follows: map[schema.GroupVersionResource]*follow{}}, nil
}

// Follow watches exactly these resources from now on, until ctx ends. It does
// not wait.
func (w *Watcher) Follow(ctx context.Context, resources []schema.GroupVersionResource) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	wanted := make(map[schema.GroupVersionResource]bool, len(resources))
	for _, r := range resources {
		wanted[r] = true
		if w.follows[r] != nil {
			continue
		}
		client, err := clientFor(w.o.Config, w.o.Client, r.GroupVersion())
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		f := &follow{stop: cancel, synced: make(chan struct{})}
		w.follows[r] = f
		go run(ctx, client, r, w.o.Handler, f)
	}
	for r, f := range w.follows {
		if !wanted[r] {
			f.stop()
			delete(w.follows, r)
		}
	}
	return nil
}

// Synced waits until every followed resource was listed once, or ctx ends.
func (w *Watcher) Synced(ctx context.Context) error {
	w.mu.Lock()
	follows := make([]*follow, 0, len(w.follows))
	for _, f := range w.follows {
		follows = append(follows, f)
	}
	w.mu.Unlock()
	for _, f := range follows {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.synced:
		}
	}
	return nil
}

func run(ctx context.Context, client rest.Interface, resource schema.GroupVersionResource, handler Handler, f *follow) {
	options := func(o *metav1.ListOptions) { o.LabelSelector = v1alpha1.SyncLabel }
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			options(&o)
			return client.Get().Resource(resource.Resource).VersionedParams(&o, metav1.ParameterCodec).Do(ctx).Get()
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			options(&o)
			o.Watch = true
			return client.Get().Resource(resource.Resource).VersionedParams(&o, metav1.ParameterCodec).Watch(ctx)
		},
	}
	reflector := cache.NewReflectorWithOptions(noWatchList{lw}, &Object{}, &store{resource, handler, f}, cache.ReflectorOptions{
		Name:            resource.String(),
		TypeDescription: resource.String(),
		ResyncPeriod:    0,
		MinWatchTimeout: 5 * time.Minute,
	})
	reflector.RunWithContext(ctx)
}

// noWatchList keeps the Reflector to list and watch: a streamed list would be
// stored in a temporary store before it reaches ours.
type noWatchList struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported is read by the Reflector.
func (noWatchList) IsWatchListSemanticsUnSupported() bool { return true }

// store is the Reflector's store: it hands on and keeps nothing.
type store struct {
	resource schema.GroupVersionResource
	handler  Handler
	follow   *follow
}

func (s *store) Add(obj any) error    { return s.seen(obj) }
func (s *store) Update(obj any) error { return s.seen(obj) }

func (s *store) Delete(obj any) error {
	o, ok := obj.(*Object)
	if !ok {
		return errUnexpected
	}
	s.handler.Gone(s.resource, o.Namespace, o.Name)
	return nil
}

func (s *store) Replace(list []any, _ string) error {
	names := make(map[Name]bool, len(list))
	for _, obj := range list {
		o, ok := obj.(*Object)
		if !ok {
			return errUnexpected
		}
		names[Name{o.Namespace, o.Name}] = true
		s.handler.Seen(s.resource, o.Namespace, o.Name, o.Raw)
	}
	s.handler.Listed(s.resource, names)
	s.follow.once.Do(func() { close(s.follow.synced) })
	return nil
}

func (s *store) Resync() error { return nil }

func (s *store) seen(obj any) error {
	o, ok := obj.(*Object)
	if !ok {
		return errUnexpected
	}
	s.handler.Seen(s.resource, o.Namespace, o.Name, o.Raw)
	return nil
}

var errUnexpected = errors.New("the watch handed on something that is no object")
