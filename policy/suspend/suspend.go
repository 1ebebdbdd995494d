// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package suspend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
)

// Rule is what the records of suspensions name as their rule.
const Rule = "mainstay.suspend"

// Path of the annotation, in the one notation.
const Path = `metadata.annotations["` + v1alpha1.SuspendAnnotation + `"]`

// Suspension is one in force.
type Suspension struct {
	// By is who asked for it.
	By     string
	Reason string
	// Since and Until are its beginning and its end.
	Since, Until time.Time
}

// Permits are the sealed records. permit.Store is.
type Permits interface {
	Put(ctx context.Context, p permit.Permit) error
	Delete(ctx context.Context, p permit.Permit) error
	Find(uid types.UID, path string, value *fastjson.Value) (permit.Permit, bool)
	Value(value *fastjson.Value) string
	// Changed is closed when a record comes, changes or goes.
	Changed() <-chan struct{}
}

// Options of Suspensions. Client and Permits are required.
type Options struct {
	// Client watches the metadata of GitSyncs.
	Client metadata.Interface
	// Permits keeps the records.
	Permits Permits
	// Max is the longest suspension; DefaultMax where it is zero.
	Max time.Duration
	// Clock is time.Now where it is nil.
	Clock func() time.Time
}

// Suspensions knows which GitSyncs are suspended. It is safe for concurrent
// use.
type Suspensions struct {
	options  Options
	informer cache.SharedIndexInformer
	// seen says that a GitSync has changed.
	seen chan struct{}

	mu      sync.RWMutex
	inForce map[types.NamespacedName]Suspension
	changed chan struct{}
}

// New returns Suspensions that know of none. They see GitSyncs while Start runs.
func New(options Options) (*Suspensions, error) {
	switch {
	case options.Client == nil:
		return nil, errors.New("suspend: Options.Client is required")
	case options.Permits == nil:
		return nil, errors.New("suspend: Options.Permits is required")
	}
	if options.Max <= 0 {
		options.Max = DefaultMax
	}
	if options.Clock == nil {
		options.Clock = time.Now
	}
	s := &Suspensions{
		options: options, seen: make(chan struct{}, 1), changed: make(chan struct{}),
		inForce: map[types.NamespacedName]Suspension{},
	}
	s.informer = metadatainformer.NewFilteredMetadataInformer(options.Client,
		v1alpha1.GroupVersion.WithResource("gitsyncs"), metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()
	if err := s.informer.SetTransform(slim); err != nil {
		return nil, fmt.Errorf("watch gitsyncs: %w", err)
	}
	if _, err := s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { s.notice() },
		UpdateFunc: func(any, any) { s.notice() },
		DeleteFunc: func(any) { s.notice() },
	}); err != nil {
		return nil, fmt.Errorf("watch gitsyncs: %w", err)
	}
	return s, nil
}

// slim keeps of a GitSync what is asked for.
func slim(obj any) (any, error) {
	o, err := meta.Accessor(obj)
	if err != nil {
		return obj, nil //nolint:nilerr // what has no metadata is somebody else's, such as a tombstone
	}
	value, ok := o.GetAnnotations()[v1alpha1.SuspendAnnotation]
	kept := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
	}}
	if ok {
		kept.Annotations = map[string]string{v1alpha1.SuspendAnnotation: value}
	}
	return kept, nil
}

// Start watches GitSyncs and records until ctx ends.
func (s *Suspensions) Start(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.follow(ctx)
	}()
	s.informer.RunWithContext(ctx)
	<-done
	return nil
}

// NeedLeaderElection tells that every replica heeds suspensions.
func (s *Suspensions) NeedLeaderElection() bool { return false }

// Synced tells whether the GitSyncs in the cluster have been seen.
func (s *Suspensions) Synced() bool { return s.informer.HasSynced() }

// Max is the longest suspension.
func (s *Suspensions) Max() time.Duration { return s.options.Max }

// State tells whether a GitSync is suspended at now.
func (s *Suspensions) State(sync types.NamespacedName, now time.Time) (Suspension, bool) {
	s.mu.RLock()
	found, ok := s.inForce[sync]
	s.mu.RUnlock()
	if !ok || !now.Before(found.Until) {
		return Suspension{}, false
	}
	return found, true
}

// Changed returns a channel that is closed when a suspension begins, changes or
// ends, also where it ends by itself.
func (s *Suspensions) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// Asked is the annotation that somebody who may has set.
type Asked struct {
	Sync  types.NamespacedName
	UID   types.UID
	Value string
	// By is who set it, Decision the id under which that is recorded.
	By, Decision string
	At           time.Time
}

// Begin records a suspension. It counts as soon as the annotation is seen; one
// whose request is refused later suspends nothing.
func (s *Suspensions) Begin(ctx context.Context, a Asked) (Suspension, error) {
	d, reason, err := Parse(a.Value, s.options.Max)
	if err != nil {
		return Suspension{}, err
	}
	if a.UID == "" {
		return Suspension{}, fmt.Errorf("suspend gitsync %s: it has no uid", a.Sync)
	}
	until := a.At.Add(d)
	err = s.options.Permits.Put(ctx, permit.Permit{
		UID: a.UID, ID: id(a.Sync), Path: Path, Value: s.options.Permits.Value(text(a.Value)),
		Rule: Rule, Account: a.By, Decision: a.Decision, At: a.At, Until: &until,
	})
	if err != nil {
		return Suspension{}, fmt.Errorf("suspend gitsync %s: %w", a.Sync, err)
	}
	return Suspension{By: a.By, Reason: reason, Since: a.At, Until: until}, nil
}

// End forgets a suspension, so that its annotation suspends nothing if it is
// ever set again behind Mainstay's back.
func (s *Suspensions) End(ctx context.Context, sync types.NamespacedName, uid types.UID) error {
	if err := s.options.Permits.Delete(ctx, permit.Permit{UID: uid, ID: id(sync), Path: Path}); err != nil {
		return fmt.Errorf("resume gitsync %s: %w", sync, err)
	}
	return nil
}

func id(sync types.NamespacedName) ownership.ID {
	return ownership.ID{Group: v1alpha1.GroupVersion.Group, Kind: "GitSync", Namespace: sync.Namespace, Name: sync.Name}
}

// text is a JSON string.
func text(value string) *fastjson.Value {
	return new(fastjson.Arena).NewString(value)
}

func (s *Suspensions) notice() {
	select {
	case s.seen <- struct{}{}:
	default:
	}
}

// follow reads anew what is in force when a GitSync or a record changes, and
// when a suspension ends.
func (s *Suspensions) follow(ctx context.Context) {
	for {
		records := s.options.Permits.Changed()
		var end <-chan time.Time
		if first, ok := s.read(); ok {
			end = time.After(max(first.Sub(s.options.Clock()), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return
		case <-s.seen:
		case <-records:
		case <-end:
		}
	}
}

// read takes stock, and returns the first end.
func (s *Suspensions) read() (first time.Time, ok bool) {
	now := s.options.Clock()
	found := map[types.NamespacedName]Suspension{}
	for _, obj := range s.informer.GetStore().List() {
		o, isObject := obj.(*metav1.PartialObjectMetadata)
		if !isObject {
			continue
		}
		value, has := o.Annotations[v1alpha1.SuspendAnnotation]
		if !has {
			continue
		}
		p, has := s.options.Permits.Find(o.UID, Path, text(value))
		if !has || p.Rule != Rule || p.Until == nil || !now.Before(*p.Until) {
			continue
		}
		// The record has the value's hash, so the words were read when it was
		// written; a longer maximum may have been allowed then.
		_, reason, err := Parse(value, p.Until.Sub(p.At))
		if err != nil {
			continue
		}
		found[types.NamespacedName{Namespace: o.Namespace, Name: o.Name}] = Suspension{
			By: p.Account, Reason: reason, Since: p.At, Until: *p.Until,
		}
		if first.IsZero() || p.Until.Before(first) {
			first = *p.Until
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !maps.EqualFunc(s.inForce, found, same) {
		s.inForce = found
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return first, !first.IsZero()
}

func same(a, b Suspension) bool {
	return a.By == b.By && a.Reason == b.Reason && a.Since.Equal(b.Since) && a.Until.Equal(b.Until)
}

// String is the sentence that people read, for example "suspended until 14:05
// UTC by alice: INC-4711".
func (s Suspension) String() string {
	return "suspended until " + s.Until.UTC().Format("15:04 UTC") + " by " + quoted(s.By) + ": " + s.Reason
}

// quoted keeps a name that is odd from looking like other words.
func quoted(name string) string {
	for _, r := range name {
		if !strconv.IsPrint(r) || r == ' ' {
			return strconv.Quote(name)
		}
	}
	return name
}
