// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package permit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fastjson"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

// Options of a Store. Client, Namespace and Key are required.
type Options struct {
	Client kubernetes.Interface
	// Namespace is Mainstay's own.
	Namespace string
	// Key seals the permits and hashes their values.
	Key *seal.Key
	// Clock is time.Now where it is nil.
	Clock func() time.Time
	// Error is told of permits that do not count; nil ignores them.
	Error func(error)
}

// Store holds the permits. It is safe for concurrent use.
type Store struct {
	options  Options
	informer cache.SharedIndexInformer

	mu      sync.RWMutex
	permits map[slot]held
	byUID   map[types.UID]map[string]slot
	changed chan struct{}
}

type held struct {
	Permit
	version uint64
}

// New returns an empty Store. It sees the permits in the cluster while Start
// runs.
func New(options Options) (*Store, error) {
	switch {
	case options.Client == nil:
		return nil, errors.New("permit: Options.Client is required")
	case options.Namespace == "":
		return nil, errors.New("permit: Options.Namespace is required")
	case options.Key == nil:
		return nil, errors.New("permit: Options.Key is required")
	}
	if options.Clock == nil {
		options.Clock = time.Now
	}
	s := &Store{options: options, permits: map[slot]held{}, byUID: map[types.UID]map[string]slot{}, changed: make(chan struct{})}
	factory := informers.NewSharedInformerFactoryWithOptions(options.Client, 0,
		informers.WithNamespace(options.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = Label + "=true" }))
	s.informer = factory.Core().V1().Secrets().Informer()
	if _, err := s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    s.see,
		UpdateFunc: func(_, obj any) { s.see(obj) },
		DeleteFunc: s.unsee,
	}); err != nil {
		return nil, fmt.Errorf("watch permits: %w", err)
	}
	return s, nil
}

// Start watches the permits until ctx ends.
func (s *Store) Start(ctx context.Context) error {
	s.informer.RunWithContext(ctx)
	return nil
}

// NeedLeaderElection tells that every replica knows the permits.
func (s *Store) NeedLeaderElection() bool { return false }

// Synced tells whether the permits in the cluster have been seen.
func (s *Store) Synced() bool { return s.informer.HasSynced() }

// Changed is closed when a permit comes, changes or goes. That its end comes
// closes no channel.
func (s *Store) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// news closes the channel that Changed returned; s.mu is held.
func (s *Store) news() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Value is the keyed hash of a value, as permits carry it; Absent for nil.
func (s *Store) Value(v *fastjson.Value) string {
	if v == nil {
		return Absent
	}
	return s.options.Key.Seal("permitted value", fieldset.Canonical(nil, v))
}

// Keep writes what a decision permits and what has to be remembered of it. It
// returns when the permits are in the cluster; after an error the change must
// not be permitted.
func (s *Store) Keep(ctx context.Context, change *policy.Change, decision policy.Decision) error {
	doc := change.OldObject
	if doc == nil {
		doc = change.Object
	}
	var account string
	if change.User != nil {
		account = change.User.Username
	}
	for _, permitted := range decision.Permits {
		if !permitted.Recorded {
			continue
		}
		uid := types.UID(doc.GetStringBytes("metadata", "uid"))
		if change.Operation == policy.Delete {
			uid = deletedUID(change.ID())
		}
		if uid == "" {
			return fmt.Errorf("permit %s of %s: the object has no uid", permitted.Field.Path, change.ID())
		}
		if err := s.Put(ctx, Permit{
			UID: uid, ID: change.ID(), Path: permitted.Field.Path.String(), Value: s.Value(permitted.Field.To),
			Rule: permitted.Rule, Account: account, Decision: decision.ID, At: change.Time,
			Until: permitted.Until, Held: permitted.Held, Grant: grantOf(decision, permitted),
		}); err != nil {
			return err
		}
	}
	return nil
}

// Put writes a permit, in place of the one for the same object and path. This
// replica knows it at once, the others by their watch.
func (s *Store) Put(ctx context.Context, p Permit) error {
	s.mu.RLock()
	known, exists := s.permits[p.slot()]
	s.mu.RUnlock()
	if exists && known.Value == p.Value && known.Rule == p.Rule && known.Grant == p.Grant && sameEnd(known.Until, p.Until) && sameEnd(known.Held, p.Held) {
		return nil // nothing that counts would change
	}
	secret, err := encode(p, s.options.Key, s.options.Namespace)
	if err != nil {
		return err
	}
	written, err := s.write(ctx, secret, exists)
	if err != nil {
		return fmt.Errorf("write permit for %s of %s: %w", p.Path, p.ID, err)
	}
	s.add(p, version(written))
	return nil
}

// write creates or replaces a Secret, trying first what will likely do.
func (s *Store) write(ctx context.Context, secret *corev1.Secret, exists bool) (*corev1.Secret, error) {
	secrets := s.options.Client.CoreV1().Secrets(s.options.Namespace)
	create := func() (*corev1.Secret, error) {
		return secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: v1alpha1.FieldManager})
	}
	update := func() (*corev1.Secret, error) {
		return secrets.Update(ctx, secret, metav1.UpdateOptions{FieldManager: v1alpha1.FieldManager})
	}
	if exists {
		written, err := update()
		if apierrors.IsNotFound(err) {
			return create()
		}
		return written, err
	}
	written, err := create()
	if apierrors.IsAlreadyExists(err) {
		return update()
	}
	return written, err
}

// Find returns the live permit for a value at a path of an object.
func (s *Store) Find(uid types.UID, path string, value *fastjson.Value) (Permit, bool) {
	s.mu.RLock()
	h, ok := s.permits[slot{uid, path}]
	s.mu.RUnlock()
	if !ok || !h.Live(s.options.Clock()) || h.Value != s.Value(value) {
		return Permit{}, false
	}
	return h.Permit, true
}

// Written returns the permit for a value at a path of an object, also where its
// end has come: what becomes of the value then is for the sync loop to say.
func (s *Store) Written(uid types.UID, path string, value *fastjson.Value) (Permit, bool) {
	s.mu.RLock()
	h, ok := s.permits[slot{uid, path}]
	s.mu.RUnlock()
	if !ok || h.Value != s.Value(value) {
		return Permit{}, false
	}
	return h.Permit, true
}

// WrittenDeletion returns the permit for an object to be gone, also where its
// end has come.
func (s *Store) WrittenDeletion(id ownership.ID) (Permit, bool) {
	return s.Written(deletedUID(id), "", nil)
}

// WrittenFor returns all permits of an object, those included whose end has
// come, sorted by path.
func (s *Store) WrittenFor(uid types.UID) []Permit {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []Permit
	for _, at := range s.byUID[uid] {
		out = append(out, s.permits[at].Permit)
	}
	slices.SortFunc(out, func(a, b Permit) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// FindDeletion returns the live permit for an object to be gone.
func (s *Store) FindDeletion(id ownership.ID) (Permit, bool) { return s.Find(deletedUID(id), "", nil) }

// ForObject returns the live permits of an object, sorted by path.
func (s *Store) ForObject(uid types.UID) []Permit {
	now := s.options.Clock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []Permit
	for _, at := range s.byUID[uid] {
		if p := s.permits[at].Permit; p.Live(now) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b Permit) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// All returns every permit, those whose end has come included, in no order.
func (s *Store) All() []Permit {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Permit, 0, len(s.permits))
	for _, h := range s.permits {
		out = append(out, h.Permit)
	}
	return out
}

// Delete removes a permit; one that is gone already is no error.
func (s *Store) Delete(ctx context.Context, p Permit) error {
	err := s.options.Client.CoreV1().Secrets(s.options.Namespace).Delete(ctx, p.slot().name(), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete permit for %s of %s: %w", p.Path, p.ID, err)
	}
	s.remove(p.slot())
	return nil
}

func (s *Store) see(obj any) {
	secret, ok := obj.(*corev1.Secret)
	if !ok || secret.Type != v1alpha1.SecretTypePermit {
		return
	}
	p, err := decode(secret, s.options.Key)
	if err != nil {
		// What was known under that name has been overwritten.
		s.removeNamed(secret)
		if s.options.Error != nil {
			s.options.Error(err)
		}
		return
	}
	s.add(p, version(secret))
}

func (s *Store) unsee(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if secret, ok := obj.(*corev1.Secret); ok {
		s.removeNamed(secret)
	}
}

// add keeps the newer of two versions: the watch may tell late of what Put has
// replaced since.
func (s *Store) add(p Permit, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := p.slot()
	if known, ok := s.permits[at]; ok && version < known.version {
		return
	}
	s.permits[at] = held{p, version}
	if s.byUID[p.UID] == nil {
		s.byUID[p.UID] = map[string]slot{}
	}
	s.byUID[p.UID][p.Path] = at
	s.news()
}

func (s *Store) remove(at slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.permits[at]; !ok {
		return
	}
	s.news()
	delete(s.permits, at)
	delete(s.byUID[at.uid], at.path)
	if len(s.byUID[at.uid]) == 0 {
		delete(s.byUID, at.uid)
	}
}

// removeNamed forgets what lay under a Secret's name, unless Put has written it
// again since.
func (s *Store) removeNamed(secret *corev1.Secret) {
	s.mu.RLock()
	var found []slot
	for at, h := range s.permits {
		if at.name() == secret.Name && h.version <= version(secret) {
			found = append(found, at)
		}
	}
	s.mu.RUnlock()
	for _, at := range found {
		s.remove(at)
	}
}

func grantOf(d policy.Decision, p policy.Permitted) types.UID {
	if d.Grant != nil && d.Grant.Rule() == p.Rule {
		return d.Grant.UID
	}
	return ""
}

func sameEnd(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}

// version is the Secret's resourceVersion, which the API server lets clients
// compare; 0 where it is no number.
func version(secret *corev1.Secret) uint64 {
	v, err := strconv.ParseUint(secret.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return v
}
