// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
)

// The reasons of Events.
const (
	EventRefused        = "ChangeRefused"
	EventPermitted      = "ChangePermitted"
	EventWouldBeRefused = "ChangeWouldBeRefused"
	EventCorrected      = "ChangeCorrected"
	EventDriftReverted  = "DriftReverted"
	EventDriftPermitted = "DriftPermitted"
	EventGrantUsed      = "GrantUsed"
)

// SeverityCritical is that of what somebody has to look at now.
const SeverityCritical = "critical"

// EventRecorder writes Events; client-go's events.EventRecorder is one.
type EventRecorder interface {
	Eventf(regarding, related runtime.Object, eventtype, reason, action, note string, args ...any)
}

// Ring keeps decisions with all that they rest on. Add must not wait, and has to
// be done with both when it returns.
type Ring interface {
	Add(change *policy.Change, decision policy.Decision)
}

// Options of a Recorder. Everything may be left out.
type Options struct {
	// Ledger takes one JSON line for each decision that matters.
	Ledger io.Writer
	// Ring keeps what the policies saw, dry runs as well.
	Ring Ring
	// Events are written on the object, with the GitSync related.
	Events EventRecorder
	// Registerer takes the metrics.
	Registerer prometheus.Registerer
	// ClusterName is in each ledger line.
	ClusterName string
	// Mask makes the keyed hashes that stand for the values of Secrets.
	Mask func(value []byte) string
	// Clock is time.Now where it is nil.
	Clock func() time.Time
	// Error is told what went wrong with the ledger; nil ignores it.
	Error func(error)
}

// Recorder records decisions. It is safe for concurrent use.
type Recorder struct {
	options Options
	metrics *metrics
	queue   chan event
	limiter *rate.Limiter

	mu      sync.Mutex
	ledger  *json.Encoder
	seen    map[string]time.Time
	refused map[types.NamespacedName]*Hours
}

// The same Event on the same object is not repeated within this time.
const eventQuiet = 5 * time.Minute

// New returns a Recorder. Its Events are written while Start runs.
func New(options Options) (*Recorder, error) {
	if options.Clock == nil {
		options.Clock = time.Now
	}
	m, err := newMetrics(options.Registerer)
	if err != nil {
		return nil, err
	}
	r := &Recorder{
		options: options,
		metrics: m,
		queue:   make(chan event, 256),
		limiter: rate.NewLimiter(10, 50),
		seen:    map[string]time.Time{},
		refused: map[types.NamespacedName]*Hours{},
	}
	if options.Ledger != nil {
		r.ledger = json.NewEncoder(options.Ledger)
		r.ledger.SetEscapeHTML(false)
	}
	return r, nil
}

// Start writes Events until ctx ends, and then those that were queued by then.
func (r *Recorder) Start(ctx context.Context) error {
	if r.options.Events == nil {
		<-ctx.Done()
		return nil
	}
	for {
		select {
		case e := <-r.queue:
			r.write(e)
			continue
		case <-ctx.Done():
		}
		for {
			select {
			case e := <-r.queue:
				r.write(e)
			default:
				return nil
			}
		}
	}
}

func (r *Recorder) write(e event) {
	var related runtime.Object // a nil pointer would not be a nil interface
	if e.sync != nil {
		related = e.sync
	}
	r.options.Events.Eventf(e.object, related, e.kind, e.reason, e.action, "%s", e.note)
}

// NeedLeaderElection tells that every replica records what it decides.
func (r *Recorder) NeedLeaderElection() bool { return false }

// Record records a decision about a change; both may be reused once it
// returns. Of a dry run only the ring hears.
func (r *Recorder) Record(change *policy.Change, decision policy.Decision) {
	if r.options.Ring != nil {
		r.options.Ring.Add(change, decision)
	}
	if change.DryRun {
		return
	}
	r.metrics.observe(change, decision)
	if decision.Verdict == policy.Refuse && change.Origin == policy.OriginRequest && change.Mode() == v1alpha1.ModeEnforce {
		r.countRefusal(change.Record.Sync.Key())
	}
	if !matters(change, decision) {
		return
	}
	if r.ledger != nil {
		line := NewLine(change, decision, r.options.ClusterName, r.options.Mask)
		r.mu.Lock()
		err := r.ledger.Encode(line)
		r.mu.Unlock()
		if err != nil && r.options.Error != nil {
			r.options.Error(errors.Join(errors.New("write ledger"), err))
		}
	}
	if r.options.Events != nil {
		r.announce(change, decision)
	}
}

// matters tells whether anyone will ask about a decision: not what git says,
// and not the system's own components at fields that git does not set.
func matters(change *policy.Change, decision policy.Decision) bool {
	if decision.Verdict == policy.Refuse || decision.Verdict == policy.Correct {
		return true
	}
	switch decision.Class {
	case policy.RuleGit:
		return false
	case policy.RuleBuiltin:
		for _, f := range change.Fields {
			if f.Declared {
				return true
			}
		}
		return change.Operation == policy.Delete
	}
	return true
}

type event struct {
	object, sync               *corev1.ObjectReference
	kind, reason, action, note string
}

// announce queues an Event, unless the same was written a moment ago or there
// are too many: an Event is a courtesy, the ledger is the record.
func (r *Recorder) announce(change *policy.Change, decision policy.Decision) {
	e := event{kind: corev1.EventTypeNormal, action: string(change.Operation), reason: EventPermitted}
	if decision.Verdict == policy.Correct {
		e.reason = EventCorrected
	}
	if decision.Verdict == policy.Refuse {
		e.kind, e.reason = corev1.EventTypeWarning, EventRefused
		if change.Mode() != v1alpha1.ModeEnforce {
			e.reason = EventWouldBeRefused
		}
	}
	switch {
	case decision.Event != "":
		e.reason = decision.Event
		if decision.Severity == SeverityCritical {
			e.kind = corev1.EventTypeWarning
		}
	case decision.Verdict == policy.Permit && decision.Class == policy.RuleGrant:
		e.reason = EventGrantUsed
	}
	if change.Origin == policy.OriginDrift {
		switch e.reason {
		case EventRefused:
			e.reason = EventDriftReverted
		case EventPermitted:
			e.reason = EventDriftPermitted
		}
	}
	words := Words{Change: change, Decision: decision, Mask: r.options.Mask, ShowValues: true}
	key := e.reason + "\x00" + change.ID().String() + "\x00" + words.account() + "\x00" + decision.Rule + "\x00" + paths(words.shown())
	if !r.fresh(key) {
		return
	}
	if !r.limiter.AllowN(r.options.Clock(), 1) {
		r.metrics.dropped.Inc()
		return
	}
	e.object, e.sync = references(change)
	e.note = words.Event()
	select {
	case r.queue <- e:
	default:
		r.metrics.dropped.Inc()
	}
}

func (r *Recorder) fresh(key string) bool {
	now := r.options.Clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.seen[key]; ok && now.Sub(last) < eventQuiet {
		return false
	}
	if len(r.seen) >= 4096 {
		for k, last := range r.seen {
			if now.Sub(last) >= eventQuiet {
				delete(r.seen, k)
			}
		}
		if len(r.seen) >= 4096 {
			clear(r.seen) // a storm: repeating an Event is better than growing
		}
	}
	r.seen[key] = now
	return true
}

func references(change *policy.Change) (object, sync *corev1.ObjectReference) {
	r := change.Record
	object = &corev1.ObjectReference{APIVersion: r.APIVersion(), Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
	doc := change.OldObject
	if doc == nil {
		doc = change.Object
	}
	if doc != nil && !change.Use() { // of which the documents are the pod's
		object.UID = types.UID(doc.GetStringBytes("metadata", "uid"))
	}
	if r.Sync.Name == "" {
		return object, nil
	}
	return object, &corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "GitSync", Namespace: r.Sync.Namespace, Name: r.Sync.Name,
	}
}

func paths(fields []policy.Field) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f.Path.String())
		b.WriteByte(' ')
	}
	return b.String()
}

// Refused24h is the number of requests for a GitSync's objects that this
// replica refused in the last 24 hours, by whole hours.
func (r *Recorder) Refused24h(sync types.NamespacedName) int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused[sync].Sum(r.options.Clock())
}

func (r *Recorder) countRefusal(sync types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.refused[sync]
	if h == nil {
		h = &Hours{}
		r.refused[sync] = h
	}
	h.Add(r.options.Clock())
}
