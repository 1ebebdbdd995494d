// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package off

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// The spans of time that a ConfigMap is in force.
const (
	Default = time.Hour
	Max     = 24 * time.Hour
)

// Options of a Switch.
type Options struct {
	// Client watches the ConfigMap. Required.
	Client kubernetes.Interface
	// Namespace is Mainstay's own. Required.
	Namespace string
	// Registerer takes the metric mainstay_off; nil for none.
	Registerer prometheus.Registerer
	// Clock is time.Now where it is nil.
	Clock func() time.Time
}

// Switch says whether enforcement is off. It is safe for concurrent use, and
// its zero value is a Switch that is never off.
type Switch struct {
	options  Options
	informer cache.SharedIndexInformer

	mu sync.RWMutex
	// uid and version are those of the ConfigMap.
	uid     types.UID
	version string
	reason  string
	from    time.Time
	until   time.Time
	changed chan struct{}
}

// New returns a Switch that is not off. It sees the ConfigMap while Start runs.
func New(options Options) (*Switch, error) {
	switch {
	case options.Client == nil:
		return nil, errors.New("off: Options.Client is required")
	case options.Namespace == "":
		return nil, errors.New("off: Options.Namespace is required")
	}
	if options.Clock == nil {
		options.Clock = time.Now
	}
	s := &Switch{options: options, changed: make(chan struct{})}
	factory := informers.NewSharedInformerFactoryWithOptions(options.Client, 0,
		informers.WithNamespace(options.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, v1alpha1.OffConfigMap).String()
		}))
	s.informer = factory.Core().V1().ConfigMaps().Informer()
	if _, err := s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.see(obj) },
		UpdateFunc: func(_, obj any) { s.see(obj) },
		DeleteFunc: func(any) { s.set("", time.Time{}, time.Time{}) },
	}); err != nil {
		return nil, fmt.Errorf("watch %s: %w", v1alpha1.OffConfigMap, err)
	}
	if options.Registerer != nil {
		gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mainstay_off",
			Help: "1 while the ConfigMap mainstay-off turns enforcement off.",
		}, func() float64 {
			if active, _, _ := s.State(s.options.Clock()); active {
				return 1
			}
			return 0
		})
		if err := options.Registerer.Register(gauge); err != nil {
			return nil, fmt.Errorf("register metrics of off: %w", err)
		}
	}
	return s, nil
}

// Start watches the ConfigMap until ctx ends.
func (s *Switch) Start(ctx context.Context) error {
	s.informer.RunWithContext(ctx)
	return nil
}

// NeedLeaderElection tells that every replica heeds the switch.
func (s *Switch) NeedLeaderElection() bool { return false }

// Synced tells whether the ConfigMap, if there is one, has been seen.
func (s *Switch) Synced() bool { return s.informer.HasSynced() }

// State tells whether enforcement is off at now, why, and until when.
func (s *Switch) State(now time.Time) (active bool, reason string, until time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.until.IsZero() || !now.Before(s.until) {
		return false, "", time.Time{}
	}
	return true, s.reason, s.until
}

// Asked is what the ConfigMap asks for, also where that is over; ok tells whether
// there is one.
func (s *Switch) Asked() (reason string, from, until time.Time, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.reason, s.from, s.until, !s.until.IsZero()
}

// Remove deletes the ConfigMap whose time is over at now, so that the next one can
// be made without a second thought. One that was changed since is left alone.
func (s *Switch) Remove(ctx context.Context, now time.Time) error {
	s.mu.RLock()
	uid, version, until := s.uid, s.version, s.until
	s.mu.RUnlock()
	if until.IsZero() || now.Before(until) {
		return nil
	}
	err := s.options.Client.CoreV1().ConfigMaps(s.options.Namespace).Delete(ctx, v1alpha1.OffConfigMap, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove %s, which is over: %w", v1alpha1.OffConfigMap, err)
	}
	return nil
}

// Changed returns a channel that is closed when the ConfigMap changes. That
// its time runs out closes no channel: State says until when it counts.
func (s *Switch) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

func (s *Switch) see(obj any) {
	cm, ok := obj.(*corev1.ConfigMap)
	if !ok || cm.Name != v1alpha1.OffConfigMap || cm.Namespace != s.options.Namespace {
		return
	}
	reason := cm.Data["reason"]
	if reason == "" {
		reason = "no reason given"
	}
	from := cm.CreationTimestamp.Time
	s.set(reason, from, from.Add(span(cm.Data["for"])))
	// Only then: Remove must never take a new one for the one that is over.
	s.mu.Lock()
	s.uid, s.version = cm.UID, cm.ResourceVersion
	s.mu.Unlock()
}

// span reads how long. Whoever needs the way out must not fail over a typing
// error: what can't be read counts as the default.
func span(text string) time.Duration {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil || d <= 0:
		return Default
	case d > Max:
		return Max
	}
	return d
}

func (s *Switch) set(reason string, from, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason == reason && s.from.Equal(from) && s.until.Equal(until) {
		return
	}
	s.reason, s.from, s.until = reason, from, until
	close(s.changed)
	s.changed = make(chan struct{})
}
