// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

// Engine judges by the grants that are active. policy.Engine does.
type Engine interface {
	SetGrants(grants []policy.Grant)
}

// Options of a Store. All but Permits, Clock and Error are required.
type Options struct {
	// Client reads and writes the records, Dynamic watches BreakGlasses.
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	// Namespace is Mainstay's own.
	Namespace string
	// Key seals the records.
	Key *seal.Key
	// Engine is told which grants are active whenever that changes.
	Engine Engine
	// Permits are the records of what grants permitted; nil for none.
	Permits Permits
	// Clock is time.Now where it is nil.
	Clock func() time.Time
	// Error is told of records that do not count; nil ignores them.
	Error func(error)
}

// Store holds the records and the BreakGlasses that they are about. It is safe
// for concurrent use.
type Store struct {
	options   Options
	informers []cache.SharedIndexInformer
	delivered []cache.InformerSynced
	synced    atomic.Bool
	dirty     chan struct{}

	mu       sync.RWMutex
	records  map[types.UID]Record
	requests map[types.NamespacedName]*v1alpha1.BreakGlass
	changed  chan struct{}
	// turned is closed when how is another one: how all grants stand.
	turned chan struct{}
	how    string
}

// breakGlasses is the resource of BreakGlasses.
var breakGlasses = v1alpha1.GroupVersion.WithResource("breakglasses")

// New returns an empty Store. It sees records and BreakGlasses while Start runs.
func New(options Options) (*Store, error) {
	switch {
	case options.Client == nil:
		return nil, errors.New("grant: Options.Client is required")
	case options.Dynamic == nil:
		return nil, errors.New("grant: Options.Dynamic is required")
	case options.Namespace == "":
		return nil, errors.New("grant: Options.Namespace is required")
	case options.Key == nil:
		return nil, errors.New("grant: Options.Key is required")
	case options.Engine == nil:
		return nil, errors.New("grant: Options.Engine is required")
	}
	if options.Clock == nil {
		options.Clock = time.Now
	}
	s := &Store{
		options: options, dirty: make(chan struct{}, 1), changed: make(chan struct{}), turned: make(chan struct{}),
		records: map[types.UID]Record{}, requests: map[types.NamespacedName]*v1alpha1.BreakGlass{},
	}
	secrets := informers.NewSharedInformerFactoryWithOptions(options.Client, 0,
		informers.WithNamespace(options.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = Label + "=true" }))
	objects := dynamicinformer.NewDynamicSharedInformerFactory(options.Dynamic, 0)
	return s, errors.Join(
		s.follow(secrets.Core().V1().Secrets().Informer(), s.seeRecord, s.unseeRecord),
		s.follow(objects.ForResource(breakGlasses).Informer(), s.seeRequest, s.unseeRequest),
	)
}

func (s *Store) follow(informer cache.SharedIndexInformer, see, unsee func(any)) error {
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    see,
		UpdateFunc: func(_, obj any) { see(obj) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			unsee(obj)
		},
	})
	if err != nil {
		return fmt.Errorf("watch grants: %w", err)
	}
	s.informers = append(s.informers, informer)
	s.delivered = append(s.delivered, registration.HasSynced)
	return nil
}

// Start watches and keeps the engine's grants current until ctx ends.
func (s *Store) Start(ctx context.Context) error {
	var group sync.WaitGroup
	for _, informer := range s.informers {
		group.Go(func() { informer.RunWithContext(ctx) })
	}
	defer group.Wait()
	if !cache.WaitForCacheSync(ctx.Done(), s.delivered...) {
		return nil
	}
	for {
		end := s.refresh()
		s.synced.Store(true)
		timer := time.NewTimer(end)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.dirty:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// refreshAtLeast bounds the time for which a clock that was set is not noticed.
const refreshAtLeast = 10 * time.Second

// refresh tells the engine what is active, and returns when to look again.
func (s *Store) refresh() time.Duration {
	now := s.options.Clock()
	active := s.Active(now)
	s.options.Engine.SetGrants(active)
	s.mu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	if how := s.standing(now); how != s.how {
		s.how = how
		close(s.turned)
		s.turned = make(chan struct{})
	}
	s.mu.Unlock()
	next := refreshAtLeast
	for _, g := range active {
		next = min(next, max(g.ExpiresAt.Sub(now), time.Millisecond))
	}
	return next
}

// Turned is closed when what becomes of changes under grants may be another: one
// begins or ends, is revoked or given up, or is gone.
func (s *Store) Turned() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.turned
}

// standing is how all grants stand, in one string; s.mu is held.
func (s *Store) standing(now time.Time) string {
	lines := make([]string, 0, len(s.requests))
	for key, bg := range s.requests {
		r := s.records[bg.UID]
		lines = append(lines, fmt.Sprint(key, " ", bg.UID, r.live(now) && r.standsFor(bg), r.StartsAt != nil, bg.Spec.Revoked, (link{bg: bg, record: r}).undone()))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// NeedLeaderElection tells that every replica judges by grants.
func (s *Store) NeedLeaderElection() bool { return false }

// Synced tells whether the engine knows the grants that are active.
func (s *Store) Synced() bool { return s.synced.Load() }

// Changed is closed when records, BreakGlasses or what is active may have
// changed.
func (s *Store) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// Active are the grants that count at now, sorted by key.
func (s *Store) Active(now time.Time) []policy.Grant {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []policy.Grant
	for _, r := range s.records {
		if r.live(now) && r.standsFor(s.requests[r.Key()]) {
			out = append(out, r.grant())
		}
	}
	slices.SortFunc(out, func(a, b policy.Grant) int { return strings.Compare(a.Key(), b.Key()) })
	return out
}

// IsActive tells whether a BreakGlass counts now.
func (s *Store) IsActive(uid types.UID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.records[uid]
	return ok && r.live(s.options.Clock()) && r.standsFor(s.requests[r.Key()])
}

// Holds tells whether anything depends on a BreakGlass: it is active, or what was
// changed under it stands, or may be held.
func (s *Store) Holds(uid types.UID) bool {
	if s.options.Permits != nil && uid != "" && slices.ContainsFunc(s.options.Permits.All(), func(p permit.Permit) bool { return p.Grant == uid }) {
		return true // while git can't be read it stands beyond every end
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.records[uid]
	if !ok || r.StartsAt == nil {
		return false
	}
	now := s.options.Clock()
	bg := s.requests[r.Key()]
	return r.live(now) && r.standsFor(bg) || r.HeldUntil != nil && now.Before(*r.HeldUntil) && !(link{bg: bg, record: r}).undone()
}

// Known returns the record of a BreakGlass as far as the watch has told.
func (s *Store) Known(uid types.UID) (Record, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.records[uid]
	return r, ok
}

// Read returns the record of a BreakGlass as it is in the cluster. There is
// none where no replica has judged the request.
func (s *Store) Read(ctx context.Context, uid types.UID) (r Record, ok bool, err error) {
	secret, err := s.options.Client.CoreV1().Secrets(s.options.Namespace).Get(ctx, secretName(uid), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return Record{}, false, nil
	case err != nil:
		return Record{}, false, fmt.Errorf("read the record of a grant: %w", err)
	}
	if r, err = decode(secret, s.options.Key); err != nil || secret.Type != v1alpha1.SecretTypeGrant {
		return Record{}, false, err
	}
	return r, true, nil
}

// Put writes a record, a new one or one from Read. It returns when the record
// is in the cluster; it is an error if somebody else wrote it in between.
func (s *Store) Put(ctx context.Context, r Record) error {
	secret, err := encode(r, s.options.Key, s.options.Namespace)
	if err != nil {
		return err
	}
	secrets := s.options.Client.CoreV1().Secrets(s.options.Namespace)
	var written *corev1.Secret
	if r.version == "" {
		written, err = secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: v1alpha1.FieldManager})
	} else {
		written, err = secrets.Update(ctx, secret, metav1.UpdateOptions{FieldManager: v1alpha1.FieldManager})
	}
	if err != nil {
		return fmt.Errorf("write the record of grant %s: %w", r.Key(), err)
	}
	s.seeRecord(written)
	return nil
}

// keepEnded is how long the record of a grant outlives its end, so that its
// status can be told again; unmade is how long one may wait for its BreakGlass.
const (
	keepEnded = 24 * time.Hour
	unmade    = 5 * time.Minute
)

// Sweep deletes the records that can never count again.
func (s *Store) Sweep(ctx context.Context) error {
	now := s.options.Clock()
	s.mu.RLock()
	var ended []Record
	for _, r := range s.records {
		bg := s.requests[r.Key()]
		switch {
		case bg == nil || bg.UID != r.UID:
			if now.Sub(r.At) > unmade {
				ended = append(ended, r)
			}
		case r.over(now, bg):
			ended = append(ended, r)
		}
	}
	s.mu.RUnlock()
	var errs []error
	for _, r := range ended {
		err := s.options.Client.CoreV1().Secrets(s.options.Namespace).Delete(ctx, secretName(r.UID), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("delete the record of grant %s: %w", r.Key(), err))
		}
	}
	return errors.Join(errs...)
}

// Requests are the BreakGlasses that there are.
func (s *Store) Requests() []types.NamespacedName {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]types.NamespacedName, 0, len(s.requests))
	for key := range s.requests {
		out = append(out, key)
	}
	return out
}

// over tells whether nothing depends on a record any more: what was changed
// under it is not held, either.
func (r *Record) over(now time.Time, bg *v1alpha1.BreakGlass) bool {
	switch {
	case r.ExpiresAt == nil:
		return bg.Spec.Revoked
	case r.HeldUntil != nil:
		return now.Sub(*r.HeldUntil) > keepEnded
	}
	return bg.Spec.Revoked || now.Sub(*r.ExpiresAt) > keepEnded
}

func (s *Store) touch() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

func (s *Store) seeRecord(obj any) {
	secret, ok := obj.(*corev1.Secret)
	if !ok {
		return
	}
	r, err := decode(secret, s.options.Key)
	if err != nil || secret.Type != v1alpha1.SecretTypeGrant {
		// What was known under that name has been overwritten.
		s.unseeRecord(secret)
		if err != nil && s.options.Error != nil {
			s.options.Error(err)
		}
		return
	}
	s.mu.Lock()
	if known, ok := s.records[r.UID]; !ok || !older(r.version, known.version) {
		s.records[r.UID] = r
	}
	s.mu.Unlock()
	s.touch()
}

func (s *Store) unseeRecord(obj any) {
	if secret, ok := obj.(*corev1.Secret); ok {
		s.mu.Lock()
		delete(s.records, types.UID(strings.TrimPrefix(secret.Name, namePrefix)))
		s.mu.Unlock()
		s.touch()
	}
}

// older compares resource versions, which the API server lets clients do: the
// watch may tell late of what Put has replaced since.
func older(a, b string) bool {
	return len(a) < len(b) || len(a) == len(b) && a < b
}

func (s *Store) seeRequest(obj any) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return
	}
	bg := new(v1alpha1.BreakGlass)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, bg); err != nil {
		// One that can't be read grants nothing.
		s.unseeRequest(obj)
		if s.options.Error != nil {
			s.options.Error(fmt.Errorf("read breakglass %s/%s: %w", u.GetNamespace(), u.GetName(), err))
		}
		return
	}
	s.mu.Lock()
	s.requests[types.NamespacedName{Namespace: bg.Namespace, Name: bg.Name}] = bg
	s.mu.Unlock()
	s.touch()
}

func (s *Store) unseeRequest(obj any) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		s.mu.Lock()
		delete(s.requests, types.NamespacedName{Namespace: u.GetNamespace(), Name: u.GetName()})
		s.mu.Unlock()
		s.touch()
	}
}
