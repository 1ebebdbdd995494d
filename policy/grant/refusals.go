// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

// RefusalsLabel is on the Secret in which a replica keeps what it refused.
const RefusalsLabel = "mainstay.dev/refusals"

const (
	refusalsPurpose = "refusals"
	refusalsPrefix  = "mainstay-refusals-"
	// maxRefusals and maxRefusalsSize bound what a replica remembers, and for
	// how long keepRefusals does.
	maxRefusals     = 1000
	maxRefusalsSize = 256 << 10
	keepRefusals    = 24 * time.Hour
	// A refusal of more or longer paths is remembered without them.
	maxRefusalPaths = 100
	maxRefusalBytes = 8 << 10
	// writeEvery is the least time between two writes; what an account is
	// refused again and again waits writeRepeats.
	writeEvery   = time.Second
	writeRepeats = 10 * time.Second
)

// Refusal is one change that was refused. It has paths and no values.
type Refusal struct {
	ID          string       `json:"id"`
	At          time.Time    `json:"at"`
	Object      ownership.ID `json:"object"`
	Operation   string       `json:"operation"`
	SubResource string       `json:"subResource,omitempty"`
	// Paths that no exception covers.
	Paths   []string `json:"paths,omitempty"`
	Account string   `json:"account,omitempty"`
	// Long tells that there were too many paths to be remembered.
	Long bool `json:"long,omitempty"`
}

func (r *Refusal) old(now time.Time) bool { return now.Sub(r.At) > keepRefusals }

// scope is exactly what was refused, whatever the values.
func (r *Refusal) scope() v1alpha1.BreakGlassScope {
	s := v1alpha1.BreakGlassScope{
		Kinds: []string{policy.ExactKind(r.Object.Group, r.Object.Kind)}, Names: []string{r.Object.Name},
		Operations: []string{r.Operation}, Paths: slices.Clone(r.Paths),
	}
	if r.Object.Namespace != "" {
		s.Namespaces = []string{r.Object.Namespace}
	}
	if r.SubResource != "" {
		s.SubResources = []string{r.SubResource}
	}
	return s
}

// again names what is refused, so that the same again takes no second place.
func (r *Refusal) again() string {
	return strings.Join(append([]string{r.Account, r.Object.String(), r.Operation, r.SubResource}, r.Paths...), "\x00")
}

func refusalOf(c *policy.Change, d policy.Decision) Refusal {
	r := Refusal{ID: d.ID, At: c.Time.UTC(), Object: c.ID(), Operation: string(c.Operation)}
	if c.User != nil {
		r.Account = c.User.Username
	}
	if c.Use() {
		r.Operation, r.SubResource = string(policy.Connect), c.SubResource
	}
	fields := d.Uncovered
	if len(fields) == 0 {
		fields = c.Fields
	}
	size := 0
	for _, f := range fields {
		path := f.Path.String()
		if size += len(path); len(r.Paths) == maxRefusalPaths || size > maxRefusalBytes {
			r.Paths, r.Long = nil, true
			break
		}
		r.Paths = append(r.Paths, path)
	}
	return r
}

// RefusalsOptions of Refusals. All but Clock and Error are required.
type RefusalsOptions struct {
	Client kubernetes.Interface
	// Namespace is Mainstay's own.
	Namespace string
	// Key seals what is written.
	Key *seal.Key
	// Replica names this one among the replicas; it may be used again by the
	// one that follows it.
	Replica string
	// Clock is time.Now where it is nil.
	Clock func() time.Time
	// Error is told of what could not be written or does not count.
	Error func(error)
}

// Refusals remembers what was refused lately, here and by the other replicas.
// It is safe for concurrent use.
type Refusals struct {
	o        RefusalsOptions
	informer cache.SharedIndexInformer
	synced   cache.InformerSynced
	// news asks for a write now, repeats for one later.
	news, repeats chan struct{}

	mu sync.Mutex
	// mine, oldest first, and where repeated ones are.
	mine []*Refusal
	// byAgain finds an account's refusals of the same thing.
	byAgain map[string]*Refusal
	// others are those of other replicas by the name of their Secret.
	others map[string][]Refusal
}

// NewRefusals returns Refusals that remember nothing yet. What others refused
// they know while Start runs.
func NewRefusals(o RefusalsOptions) (*Refusals, error) {
	switch {
	case o.Client == nil:
		return nil, errors.New("grant: RefusalsOptions.Client is required")
	case o.Namespace == "":
		return nil, errors.New("grant: RefusalsOptions.Namespace is required")
	case o.Key == nil:
		return nil, errors.New("grant: RefusalsOptions.Key is required")
	case o.Replica == "":
		return nil, errors.New("grant: RefusalsOptions.Replica is required")
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Error == nil {
		o.Error = func(error) {}
	}
	r := &Refusals{
		o: o, news: make(chan struct{}, 1), repeats: make(chan struct{}, 1),
		byAgain: map[string]*Refusal{}, others: map[string][]Refusal{},
	}
	factory := informers.NewSharedInformerFactoryWithOptions(o.Client, 0,
		informers.WithNamespace(o.Namespace),
		informers.WithTweakListOptions(func(l *metav1.ListOptions) { l.LabelSelector = RefusalsLabel + "=true" }))
	r.informer = factory.Core().V1().Secrets().Informer()
	registration, err := r.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    r.see,
		UpdateFunc: func(_, obj any) { r.see(obj) },
		DeleteFunc: r.unsee,
	})
	if err != nil {
		return nil, fmt.Errorf("watch refusals: %w", err)
	}
	r.synced = registration.HasSynced
	return r, nil
}

// NeedLeaderElection tells that every replica remembers what it refuses.
func (r *Refusals) NeedLeaderElection() bool { return false }

// Remember takes a refusal that a grant could lift. It never waits.
func (r *Refusals) Remember(c *policy.Change, d policy.Decision) {
	if c.DryRun || c.Origin != policy.OriginRequest || !d.Liftable() {
		return
	}
	if urgent := r.add(refusalOf(c, d), c.User); urgent {
		poke(r.news)
	} else {
		poke(r.repeats)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add tells whether there is something new. A controller that is refused tries
// again and again: it must not drive out what people were refused.
func (r *Refusals) add(refusal Refusal, user *policy.User) (urgent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !user.Person() {
		key := refusal.again()
		if known, ok := r.byAgain[key]; ok {
			*known = refusal
			return false
		}
		r.byAgain[key] = &refusal
	}
	r.mine = append(r.mine, &refusal)
	r.trim(maxRefusals)
	return true
}

// trim drops the oldest beyond limit. r.mu is held.
func (r *Refusals) trim(limit int) {
	if over := len(r.mine) - limit; over > 0 {
		for _, gone := range r.mine[:over] {
			if key := gone.again(); r.byAgain[key] == gone {
				delete(r.byAgain, key)
			}
		}
		r.mine = slices.Delete(r.mine, 0, over)
	}
}

// Find returns what a decision refused.
func (r *Refusals) Find(id string) (Refusal, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, known := range slices.Backward(r.mine) {
		if known.ID == id {
			return *known, true
		}
	}
	for _, list := range r.others {
		for _, known := range list {
			if known.ID == id {
				return known, true
			}
		}
	}
	return Refusal{}, false
}

// Start watches what other replicas refuse, and writes what this one does,
// until ctx ends.
func (r *Refusals) Start(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { r.informer.RunWithContext(ctx) })
	defer group.Wait()
	// What was written under this name before has been taken over by then.
	if !cache.WaitForCacheSync(ctx.Done(), r.synced) {
		return nil
	}
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.news:
			if !sleep(ctx, time.Until(last.Add(writeEvery))) {
				return nil
			}
		case <-r.repeats:
			timer := time.NewTimer(time.Until(last.Add(writeRepeats)))
			select {
			case <-ctx.Done():
			case <-r.news:
				sleep(ctx, time.Until(last.Add(writeEvery)))
			case <-timer.C:
			}
			timer.Stop()
		}
		last = time.Now()
		if err := r.write(ctx); err != nil && ctx.Err() == nil {
			r.o.Error(err)
			poke(r.news)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (r *Refusals) secretName() string { return refusalsPrefix + r.o.Replica }

func (r *Refusals) write(ctx context.Context) error {
	raw, err := r.encode()
	if err != nil {
		return fmt.Errorf("encode refusals: %w", err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: r.secretName(), Namespace: r.o.Namespace, Labels: map[string]string{RefusalsLabel: "true"}},
		Type:       v1alpha1.SecretTypeRefusals,
		Data:       map[string][]byte{dataRecord: raw, dataSeal: []byte(r.o.Key.Seal(refusalsPurpose, raw))},
	}
	secrets := r.o.Client.CoreV1().Secrets(r.o.Namespace)
	_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{FieldManager: v1alpha1.FieldManager})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: v1alpha1.FieldManager})
	}
	if err != nil {
		return fmt.Errorf("write refusals: %w", err)
	}
	return nil
}

// encode writes as many of the newest as there is room for.
func (r *Refusals) encode() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.Clock()
	var lines [][]byte
	size := 2
	for _, refusal := range slices.Backward(r.mine) {
		if refusal.old(now) {
			continue
		}
		line, err := json.Marshal(refusal)
		if err != nil {
			return nil, err
		}
		if size += len(line) + 1; size > maxRefusalsSize {
			break
		}
		lines = append(lines, line)
	}
	slices.Reverse(lines)
	raw := []byte{'['}
	for i, line := range lines {
		if i > 0 {
			raw = append(raw, ',')
		}
		raw = append(raw, line...)
	}
	return append(raw, ']'), nil
}

func (r *Refusals) decode(secret *corev1.Secret) ([]Refusal, error) {
	if err := r.o.Key.Verify(refusalsPurpose, secret.Data[dataRecord], string(secret.Data[dataSeal])); err != nil {
		return nil, fmt.Errorf("refusals %s: %w", secret.Name, err)
	}
	var list []Refusal
	if err := json.Unmarshal(secret.Data[dataRecord], &list); err != nil {
		return nil, fmt.Errorf("refusals %s: %w", secret.Name, err)
	}
	now := r.o.Clock()
	return slices.DeleteFunc(list, func(x Refusal) bool { return x.old(now) }), nil
}

func (r *Refusals) see(obj any) {
	secret, ok := obj.(*corev1.Secret)
	if !ok || secret.Type != v1alpha1.SecretTypeRefusals {
		return
	}
	list, err := r.decode(secret)
	if err != nil {
		r.o.Error(err)
		list = nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if secret.Name != r.secretName() {
		r.others[secret.Name] = list
		return
	}
	// What this replica wrote before it was started again.
	known := map[string]bool{}
	for _, mine := range r.mine {
		known[mine.ID] = true
	}
	var before []*Refusal
	for i := range list {
		if !known[list[i].ID] && !r.synced() {
			before = append(before, &list[i])
		}
	}
	r.mine = append(before, r.mine...)
	r.trim(maxRefusals)
}

func (r *Refusals) unsee(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if secret, ok := obj.(*corev1.Secret); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.others, secret.Name)
	}
}

// Sweep deletes what replicas that are gone have left behind.
func (r *Refusals) Sweep(ctx context.Context) error {
	r.mu.Lock()
	now := r.o.Clock()
	var old []string
	for name, list := range r.others {
		if !slices.ContainsFunc(list, func(x Refusal) bool { return !x.old(now) }) {
			old = append(old, name)
		}
	}
	r.mu.Unlock()
	var errs []error
	for _, name := range old {
		err := r.o.Client.CoreV1().Secrets(r.o.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("delete %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
