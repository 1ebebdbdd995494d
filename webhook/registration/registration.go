// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/webhook"
)

// Mode says what happens to requests about held objects while Mainstay can't be
// reached.
type Mode string

// The modes.
const (
	// Ignore: the API server has not been seen to reach Mainstay yet.
	Ignore Mode = "Ignore"
	// Fail: it has, and refuses what Mainstay can't judge.
	Fail Mode = "Fail"
	// Off: mainstay-off is in force.
	Off Mode = "Off"
)

// State is what the condition Enforcing says.
type State struct {
	Mode    Mode
	Message string
}

// Switch says whether the way out mainstay-off is in force.
type Switch interface {
	State(now time.Time) (active bool, reason string, until time.Time)
	Changed() <-chan struct{}
}

// Options of a Registration. Client, Index, Bundle, BundleChanged, Endpoint,
// Namespace, SyncAccount and Token are required.
type Options struct {
	Client kubernetes.Interface
	Index  *ownership.Index
	// Bundle is the PEM by which the API server trusts the webhook, nil while
	// there is none; BundleChanged returns a channel that closes at its next
	// change.
	Bundle        func() []byte
	BundleChanged func() <-chan struct{}
	Endpoint      Endpoint
	// Namespace is Mainstay's own, SyncAccount its account's full user name.
	Namespace   string
	SyncAccount string
	// Token is that of the webhook's paths.
	Token string
	// Connect returns the subresources of pods that a loaded deny asks for, and
	// ConnectChanged a channel that closes when it may return others. Nil: none.
	Connect        func() []string
	ConnectChanged func() <-chan struct{}
	// ScaleFail makes the entry scale fail closed, too.
	ScaleFail bool
	// TimeoutSeconds that the API server waits at the entries that may fail
	// closed. Default 3.
	TimeoutSeconds int32
	// Off is never in force where it is nil.
	Off Switch
	// Leader tells whether this replica publishes the configuration; the others
	// only put back what was published. Nil: it does.
	Leader func() bool
	// Ready tells that the index has all inventories of the cluster; before that
	// nothing is registered, so that a restart never narrows what is. Nil: it is.
	Ready func() bool
	// Probe sends a canary (see Canary) through the API server and returns its
	// answer. Nil: by Client.
	Probe func(ctx context.Context, canary []byte) error
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
	// Clock is time.Now where it is nil.
	Clock func() time.Time
	// Error is told of failures that are tried again; nil ignores them.
	Error func(error)
}

// Times of the registration.
const (
	probeInterval = 30 * time.Second
	probeTimeout  = 3 * time.Second
	retryMin      = 20 * time.Millisecond
	retryMax      = 2 * time.Second
	ensureTimeout = 5 * time.Second
	fightWindow   = 10 * time.Minute
	fightRestores = 3
	fightInterval = time.Minute
	// promotionInterval is the time between two looks at who leads.
	promotionInterval = 100 * time.Millisecond
)

// Registration keeps the webhook configurations as they have to be. It is safe
// for concurrent use.
type Registration struct {
	options Options
	metrics *metrics
	wake    chan struct{}

	mu sync.Mutex // held during a step
	// started tells that the configuration in the cluster was looked at once;
	// proven, that the API server was seen to reach the endpoint.
	started bool
	proven  bool
	// inForce is the digest of the validating configuration that last answered
	// a canary, probed when.
	inForce              string
	probed               time.Time
	retry                time.Duration
	validating, mutating kept

	stateMu sync.RWMutex
	state   State
	changed chan struct{}
}

// New returns a Registration that has registered nothing yet.
func New(options Options) (*Registration, error) {
	switch {
	case options.Client == nil:
		return nil, errors.New("registration: Options.Client is required")
	case options.Index == nil:
		return nil, errors.New("registration: Options.Index is required")
	case options.Bundle == nil || options.BundleChanged == nil:
		return nil, errors.New("registration: Options.Bundle and Options.BundleChanged are required")
	case (options.Endpoint.URL == "") == (options.Endpoint.Service == nil):
		return nil, errors.New("registration: Options.Endpoint needs exactly one of URL and Service")
	case options.Namespace == "":
		return nil, errors.New("registration: Options.Namespace is required")
	case options.SyncAccount == "":
		return nil, errors.New("registration: Options.SyncAccount is required")
	}
	if err := webhook.CheckToken(options.Token); err != nil {
		return nil, fmt.Errorf("registration: Options.Token %w", err)
	}
	if options.Clock == nil {
		options.Clock = time.Now
	}
	if options.Leader == nil {
		options.Leader = func() bool { return true }
	}
	if options.Ready == nil {
		options.Ready = func() bool { return true }
	}
	m, err := newMetrics(options.Registerer)
	if err != nil {
		return nil, err
	}
	r := &Registration{
		options: options, metrics: m,
		wake:    make(chan struct{}, 1),
		state:   State{Mode: Ignore, Message: "the webhook is not registered yet"},
		changed: make(chan struct{}),
	}
	r.validating.store, r.mutating.store = validatingStore(options.Client), mutatingStore(options.Client)
	if r.options.Probe == nil {
		r.options.Probe = r.send
	}
	return r, nil
}

// NeedLeaderElection tells that every replica puts the configuration back.
func (r *Registration) NeedLeaderElection() bool { return false }

// State is what is registered now.
func (r *Registration) State() State {
	r.stateMu.RLock()
	defer r.stateMu.RUnlock()
	return r.state
}

// Changed returns a channel that is closed at the next change of State.
func (r *Registration) Changed() <-chan struct{} {
	r.stateMu.RLock()
	defer r.stateMu.RUnlock()
	return r.changed
}

// Start keeps the configuration until ctx ends, and then leaves it in place.
func (r *Registration) Start(ctx context.Context) error {
	factory := informers.NewSharedInformerFactoryWithOptions(r.options.Client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, Name).String()
		}))
	api := factory.Admissionregistration().V1()
	for _, informer := range []cache.SharedIndexInformer{api.ValidatingWebhookConfigurations().Informer(), api.MutatingWebhookConfigurations().Informer()} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { r.poke() }, UpdateFunc: func(any, any) { r.poke() }, DeleteFunc: func(any) { r.poke() },
		}); err != nil {
			return fmt.Errorf("watch the webhook configurations: %w", err)
		}
		go informer.RunWithContext(ctx)
	}
	for {
		// The channels come first: a change during the step wakes the next one.
		index, bundle := r.options.Index.Changed(), r.options.BundleChanged()
		var off, connect <-chan struct{}
		if r.options.Off != nil {
			off = r.options.Off.Changed()
		}
		if r.options.ConnectChanged != nil {
			connect = r.options.ConnectChanged()
		}
		wait, err := r.step(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to stop, and what fails then is no failure
		}
		if err != nil && r.options.Error != nil {
			r.options.Error(err)
		}
		if !r.sleep(ctx, wait, index, bundle, off, connect) {
			return nil
		}
	}
}

// sleep waits until there is something to do: a change, the time that step
// asked for, or that this replica has become the leader. It reports false at
// the end of ctx.
func (r *Registration) sleep(ctx context.Context, wait time.Duration, index, bundle, off, connect <-chan struct{}) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var promoted <-chan time.Time
	if !r.options.Leader() {
		ticker := time.NewTicker(promotionInterval)
		defer ticker.Stop()
		promoted = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-index:
		case <-bundle:
		case <-off:
		case <-connect:
		case <-r.wake:
		case <-timer.C:
		case <-promoted:
			if !r.options.Leader() {
				continue
			}
		}
		return true
	}
}

// Ensure returns once what the index declares is registered and the API server
// judges by it. It is called before the first object of a new kind is applied,
// so that a kind is covered before it exists.
func (r *Registration) Ensure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ensureTimeout)
	defer cancel()
	for {
		wait, err := r.step(ctx)
		if err == nil && r.settled() {
			return nil
		}
		timer := time.NewTimer(min(wait, retryMax))
		select {
		case <-ctx.Done():
			timer.Stop()
			if err == nil {
				err = errors.New(r.State().Message)
			}
			return fmt.Errorf("register the webhook: %w", err)
		case <-timer.C:
		}
	}
}

// settled tells that the published configuration is in force, as far as a
// canary can tell.
func (r *Registration) settled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.validating.published == nil {
		return false
	}
	if r.off() {
		return true
	}
	return r.inForce == digest(r.validating.published) && r.proven
}

func (r *Registration) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Registration) off() bool {
	active, _, _ := r.offState()
	return active
}

func (r *Registration) offState() (active bool, reason string, until time.Time) {
	if r.options.Off == nil {
		return false, "", time.Time{}
	}
	return r.options.Off.State(r.options.Clock())
}

func (r *Registration) backoff() time.Duration {
	r.retry = min(max(r.retry*2, retryMin), retryMax)
	return r.retry
}

func (r *Registration) set(state State) {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	if r.state == state {
		return
	}
	r.state = state
	close(r.changed)
	r.changed = make(chan struct{})
}

func digest(c *configuration) string {
	return c.Annotations[ConfigurationAnnotation]
}
