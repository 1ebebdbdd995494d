// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"fmt"
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

// Notifier tells people elsewhere; it must not wait.
type Notifier interface {
	Notify(gitSync types.NamespacedName, severity, kind, actor, text string, fields map[string]string)
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
	// Notifier tells people elsewhere of what an Event is written about.
	Notifier Notifier
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
	// limiter bounds Events on objects, copies those on their GitSync.
	limiter, copies *rate.Limiter
	lines           *lines
	repeats         *repeats
	said            *said
	often           *often

	mu      sync.Mutex
	refused map[types.NamespacedName]*Hours
}

// New returns a Recorder. Its Events are written while Start runs.
func New(options Options) (*Recorder, error) {
	if options.Clock == nil {
		options.Clock = time.Now
	}
	counted := newOften(options.Clock)
	m, err := newMetrics(options.Registerer, counted.number)
	if err != nil {
		return nil, err
	}
	return &Recorder{
		options: options,
		metrics: m,
		queue:   make(chan event, 256),
		limiter: rate.NewLimiter(10, 50),
		copies:  rate.NewLimiter(2, 20),
		lines:   newLines(options, m.lost),
		repeats: newRepeats(),
		said:    newSaid(),
		often:   counted,
		refused: map[types.NamespacedName]*Hours{},
	}, nil
}

// sweepInterval is how often the counts of what is refused again are looked at.
const sweepInterval = 10 * time.Second

// Start writes the ledger and Events until ctx ends, and then what waits. A
// decision recorded afterwards is written by who records it.
func (r *Recorder) Start(ctx context.Context) error {
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var writers sync.WaitGroup
	writers.Go(func() { r.lines.run(writing) })
	writers.Go(func() { r.announced(ctx) })
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	for ctx.Err() == nil {
		select {
		case <-sweep.C:
			r.sum(r.options.Clock())
		case <-ctx.Done():
		}
	}
	r.sum(time.Time{})
	stop()
	writers.Wait()
	return nil
}

// sum writes how often refusals came again whose window is over, all where now
// is zero.
func (r *Recorder) sum(now time.Time) {
	for _, line := range r.repeats.over(now) {
		r.lines.add(line)
	}
}

// announced writes Events until ctx ends, and then those that were queued by
// then.
func (r *Recorder) announced(ctx context.Context) {
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
				return
			}
		}
	}
}

// write writes an Event on the object, and a copy on its GitSync, where kubectl
// describe shows it.
func (r *Recorder) write(e event) {
	if e.sync == nil {
		r.options.Events.Eventf(e.object, nil, e.kind, e.reason, e.action, "%s", e.note)
		return
	}
	r.options.Events.Eventf(e.object, e.sync, e.kind, e.reason, e.action, "%s", e.note)
	if e.object.Kind != e.sync.Kind && r.copies.AllowN(r.options.Clock(), 1) {
		r.options.Events.Eventf(e.sync, e.object, e.kind, e.reason, e.action, "%s", e.note)
	}
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
		r.often.refused(Words{Change: change}.account())
	}
	if !matters(change, decision) {
		return
	}
	reason := eventReason(change, decision)
	key := r.repeats.of(change, decision, reason)
	now := r.options.Clock()
	folds := decision.Verdict != policy.Permit && change.Origin == policy.OriginRequest
	if folds && r.repeats.fold(key.line, decision.ID, now) {
		r.said.count(key.event)
		return
	}
	line := NewLine(change, decision, r.options.ClusterName, r.options.Mask)
	if folds {
		if before, repeated := r.repeats.begin(key.line, line, now); repeated {
			r.lines.add(before)
		}
	}
	r.lines.add(line)
	r.announce(change, decision, reason, key.event, now)
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

// eventReason is the reason of the Event about a decision.
func eventReason(change *policy.Change, decision policy.Decision) string {
	reason := EventPermitted
	switch {
	case decision.Event != "":
		return decision.Event
	case decision.Verdict == policy.Correct:
		return EventCorrected
	case decision.Verdict == policy.Refuse && change.Mode() != v1alpha1.ModeEnforce:
		return EventWouldBeRefused
	case decision.Verdict == policy.Refuse:
		reason = EventRefused
	case decision.Class == policy.RuleGrant:
		return EventGrantUsed
	}
	if change.Origin == policy.OriginDrift {
		if reason == EventRefused {
			return EventDriftReverted
		}
		return EventDriftPermitted
	}
	return reason
}

// announce queues an Event and tells of it, unless the same was said a moment
// ago or there are too many: both are courtesies, the ledger is the record.
func (r *Recorder) announce(change *policy.Change, decision policy.Decision, reason string, key uint64, now time.Time) {
	if r.options.Events == nil && r.options.Notifier == nil {
		return
	}
	e := event{kind: corev1.EventTypeNormal, action: string(change.Operation), reason: reason}
	quiet := eventQuiet
	if decision.Verdict == policy.Refuse {
		e.kind, quiet = corev1.EventTypeWarning, refusalQuiet
	}
	if decision.Event != "" && severity(decision) != "info" {
		e.kind = corev1.EventTypeWarning
	}
	again, due := r.said.fresh(key, quiet, now)
	if !due {
		return
	}
	words := Words{Change: change, Decision: decision, Mask: r.options.Mask, ShowValues: true}
	e.note = words.Event()
	if again > 0 {
		more := fmt.Sprintf("; %d times more since the last Event", again)
		e.note = cutBytes(e.note, MaxEvent-len(more)) + more
	}
	e.object, e.sync = references(change)
	if r.options.Notifier != nil {
		r.options.Notifier.Notify(change.Record.Sync.Key(), severity(decision), reason, words.account(), e.note, map[string]string{
			"decision": decision.ID, "object": words.object(), "paths": strings.TrimSpace(paths(words.shown())),
		})
	}
	if r.options.Events == nil {
		return
	}
	if !r.limiter.AllowN(now, 1) {
		r.metrics.dropped.Inc()
		return
	}
	select {
	case r.queue <- e:
	default:
		r.metrics.dropped.Inc()
	}
}

// severity of a notice: a refusal worked, so it is no more than information.
func severity(decision policy.Decision) string {
	switch decision.Severity {
	case SeverityCritical, "warning":
		return decision.Severity
	}
	if decision.Unattributed {
		return "warning"
	}
	return "info"
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
