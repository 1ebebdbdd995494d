// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"crypto/subtle"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// ServeHTTP answers one review.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	entry, ok := h.entry(r)
	if !ok {
		http.NotFound(w, r)
		return
	}
	outcome := "error"
	defer func() { h.metrics.observe(entry, outcome, time.Since(started)) }()
	defer func() {
		if p := recover(); p != nil {
			h.panicked(r.Context(), "read a review for "+entry, p)
			outcome = "error"
			http.Error(w, "Mainstay failed to read this request; its log says why", http.StatusInternalServerError)
		}
	}()
	// A replica that shuts down still answers what it has accepted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), timeout(r))
	defer cancel()
	load, err := h.flight.enter(ctx, r)
	if err != nil {
		h.refuseHTTP(w, err)
		return
	}
	req, err := h.read(ctx, load, entry, w, r)
	defer func() { load.leave(req) }()
	if err != nil {
		h.refuseHTTP(w, err)
		return
	}
	a := h.admit(ctx, req)
	outcome = a.outcome()
	a.write(w, req.uid)
}

// entry is the one that a request is sent to, if its path has the token and
// there is such an entry. Nothing else of a request without it is looked at:
// anyone may reach the port, in anyone's name.
func (h *Handler) entry(r *http.Request) (string, bool) {
	path, _ := strings.CutPrefix(r.URL.Path, pathPrefix)
	token, entry, _ := strings.Cut(path, "/")
	if subtle.ConstantTimeCompare([]byte(token), []byte(h.options.Token)) != 1 {
		h.metrics.unauthenticated.Inc()
		return "", false
	}
	return entry, h.metrics.known(entry)
}

// admit is the whole way of a request: whose object is it, what changes, may
// it stand, who has to know, and what is answered.
func (h *Handler) admit(ctx context.Context, req *request) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			if _, counted := p.(judgePanicked); !counted {
				h.panicked(ctx, fmt.Sprintf("judge %s of %s", req.operation, req.id), p)
			}
			a = failed("Mainstay failed to judge this request; its log says why")
			if req.entry == EntryObserved {
				a = permitted()
			}
		}
	}()
	switch req.entry {
	case EntryCorrect:
		return h.correct(ctx, req)
	case EntryConnect:
		return h.connect(ctx, req)
	case EntryObserved:
		return h.observe(ctx, req)
	}
	if a, mine := h.protect(ctx, req); mine {
		return a
	}
	return h.judge(ctx, req)
}

// judge is the way of a request about any object that git may declare.
func (h *Handler) judge(ctx context.Context, req *request) answer {
	record, a := h.owner(ctx, req)
	if record == nil {
		return a
	}
	if req.entry == EntryHeld && record.Mode() == v1alpha1.ModeObserve {
		return permitted() // a label from former times; the entry observed sees it, too
	}
	return h.held(ctx, req, record)
}

// observe judges for GitSyncs that only observe: it records, and answers
// nothing but yes.
func (h *Handler) observe(ctx context.Context, req *request) answer {
	record, ok := h.options.Index.Lookup(req.id)
	if !ok || record.Mode() != v1alpha1.ModeObserve {
		return permitted()
	}
	return answer{allowed: true, decision: h.held(ctx, req, record).decision}
}

// held judges a request about a declared object.
func (h *Handler) held(ctx context.Context, req *request, record *ownership.Record) answer {
	if a, early := h.early(req, record); early {
		return a
	}
	change, differences, err := h.change(req, record)
	if err != nil {
		return h.unreadable(ctx, record, err)
	}
	if req.passesDeletion(differences) {
		return permitted()
	}
	if h.writes(req, record.Sync) && (len(change.Fields) > 0 || req.operation == policy.Delete) && h.awaitContent(ctx, req) {
		return permitted()
	}
	return h.conclude(ctx, req, change, differences)
}

// conclude has a change judged, remembers what is permitted for a time, records
// the decision and answers.
func (h *Handler) conclude(ctx context.Context, req *request, change *policy.Change, differences []fieldset.Difference) answer {
	decision := h.decide(ctx, req, change, differences)
	if req.judging != nil {
		change = bare(change)
	}
	if decision.Verdict == policy.Permit && change.Use() && decision.Class == policy.RuleGit {
		return permitted() // nobody is against it, and nothing has changed
	}
	if decision.Verdict == policy.Permit && !req.dryRun && change.Mode() != v1alpha1.ModeObserve && recorded(decision) {
		if err := h.options.Permits.Keep(ctx, change, decision); err != nil {
			h.report(ctx, err)
			decision.Verdict, decision.Class = policy.Refuse, policy.RuleError
			decision.Reason = "Mainstay could not record the permit, try again"
		}
	}
	decision.Elapsed = time.Since(req.started)
	h.options.Recorder.Record(change, decision)
	h.note(change, decision)
	return h.answer(ctx, change, decision)
}

// owner finds the record of the object, and the answer where there is none.
func (h *Handler) owner(ctx context.Context, req *request) (*ownership.Record, answer) {
	lookup := func() (record *ownership.Record, ok bool) {
		if req.entry == EntryScale {
			return h.options.Index.LookupResource(req.resource.GroupResource(), req.id.Namespace, req.id.Name)
		}
		return h.options.Index.Lookup(req.id)
	}
	record, ok := lookup()
	if ok {
		return record, answer{}
	}
	sync, claimed := h.claimed(req)
	if !claimed || h.letsGo(req, sync) || h.goes(req) {
		return nil, permitted()
	}
	// A label that fits, and no record: this replica may be behind.
	wait, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	if h.options.Index.Await(wait, func() bool { record, ok = lookup(); return ok }) {
		return record, answer{}
	}
	if !h.enforces(sync.Mode, sync) {
		return nil, permitted()
	}
	return nil, catchingUp(req.id)
}

// claimed tells whether a GitSync that is known may declare the object, though
// the index does not have it: its ownership label fits. A label that a GitSync
// left when it let the object go binds nobody, nor does one on a new object.
func (h *Handler) claimed(req *request) (*ownership.Sync, bool) {
	if req.oldObject == nil || req.entry == EntryScale {
		return nil, false // whose review shows no labels
	}
	label := string(req.oldObject.GetStringBytes("metadata", "labels", v1alpha1.SyncLabel))
	if label == "" {
		return nil, false
	}
	for _, sync := range h.options.Index.Syncs() {
		// A GitSync elsewhere declares objects of its own namespace only.
		mayDeclare := sync.Namespace == h.options.Namespace || sync.Namespace == req.id.Namespace
		if mayDeclare && ownership.Fits(label, sync.Key(), req.id) {
			return sync, true
		}
	}
	return nil, false
}

// writes tells that a request comes from the account that writes a GitSync's
// objects: Mainstay's own, or the one that is impersonated for it. That alone
// never permits a write: the content does.
func (h *Handler) writes(req *request, sync *ownership.Sync) bool {
	name := req.username()
	return name == h.options.SyncAccount || name != "" && name == sync.ServiceAccount
}

// letsGo tells that Mainstay itself, or the GitSync's account, takes the label
// off an object that it no longer declares, and changes nothing else.
func (h *Handler) letsGo(req *request, sync *ownership.Sync) bool {
	if !h.writes(req, sync) || req.operation != policy.Update {
		return false
	}
	for _, d := range fieldset.Compare(req.oldObject, req.object, nil, nil) {
		if len(d.Path) < 3 || d.Path[0].Field != "metadata" || !strings.HasPrefix(d.Path[2].Field, "mainstay.dev/") {
			return false
		}
	}
	return true
}

// goes tells that a request only finishes a deletion that has begun, which
// passes whatever git says.
func (h *Handler) goes(req *request) bool {
	if req.operation == policy.Delete {
		return req.deleting() || h.terminating(req.id.Namespace)
	}
	return req.deleting() && req.passesDeletion(fieldset.Compare(req.oldObject, req.object, nil, nil))
}

// early answers what needs no look at the fields.
func (h *Handler) early(req *request, record *ownership.Record) (answer, bool) {
	switch {
	case req.dryRun && (h.writes(req, record.Sync) || record.HandedAs != "" && req.username() == record.HandedAs):
		return permitted(), true // it changes nothing: the loop plans with it
	case req.entry != EntryScale && req.kind.Version != record.Version:
		if !h.enforces(record.Mode(), record.Sync) {
			return permitted(), true
		}
		return refused(http.StatusForbidden, fmt.Sprintf(
			"%s is held by git as %s, and this request was sent for judgement as %s: try again in a moment, or use %s",
			req.id, record.APIVersion(), req.kind.GroupVersion(), record.APIVersion())), true
	case req.operation == policy.Delete && (record.Pruning || req.deleting() || h.terminating(req.id.Namespace)):
		return permitted(), true
	}
	return answer{}, false
}

// awaitContent waits a moment until a write of the account that applies git is
// what git says: this replica may know the newest content later than the leader. A
// write that never is gets judged like anyone's, since an account can be
// impersonated: the content is what is trusted.
func (h *Handler) awaitContent(ctx context.Context, req *request) bool {
	wait, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	return h.options.Index.Await(wait, func() bool {
		record, ok := h.options.Index.Lookup(req.id)
		if !ok {
			return false
		}
		if req.operation == policy.Delete {
			return record.Pruning
		}
		change, _, err := h.change(req, record)
		return err == nil && len(change.Fields) == 0
	})
}

// decide asks the judge, unless git, the way out or managedFields decide. It
// fills in what only a judge looks at.
func (h *Handler) decide(ctx context.Context, req *request, change *policy.Change, differences []fieldset.Difference) policy.Decision {
	err := wiped(req, change, differences)
	if err == nil && len(change.Fields) == 0 && change.Operation != policy.Delete && !change.Use() {
		return policy.Decision{Verdict: policy.Permit, Class: policy.RuleGit}
	}
	change.User = req.user()
	if active, reason, until := h.offState(); active {
		return policy.Decision{
			ID: newID(), Verdict: policy.Permit, Class: policy.RuleOff, Reason: "mainstay-off: " + reason, Until: &until,
		}
	}
	if s, ok := h.suspended(change.Record.Sync); ok {
		return whileSuspended(change.Record.Sync, s)
	}
	if err != nil {
		return policy.Decision{ID: newID(), Verdict: policy.Refuse, Class: policy.RuleError, Reason: err.Error()}
	}
	change.Options = req.value("options")
	if h.options.NamespaceMeta != nil && change.Record.Namespace != "" {
		change.NamespaceLabels, change.NamespaceAnnotations = h.options.NamespaceMeta(change.Record.Namespace)
	}
	decision := h.ask(ctx, req, change)
	if decision.Verdict != policy.Permit {
		decision.Verdict = policy.Refuse
	}
	if decision.ID == "" {
		decision.ID = newID()
	}
	return decision
}

// usual is the size of a review up to which functions that take time in
// proportion to it take next to none.
const usual = 256 << 10

// ask asks the judge, which heeds the request's deadline but for what can't be
// interrupted: then the request is refused in time without it.
func (h *Handler) ask(ctx context.Context, req *request, change *policy.Change) policy.Decision {
	if len(req.body) <= usual && h.options.Judge.Prompt(change) {
		// To hand it over and to wait costs as much as to judge it, and more
		// where all processors are busy.
		decision := h.options.Judge.Decide(ctx, change)
		if decision.Verdict == policy.Permit && ctx.Err() != nil {
			return outOfTime()
		}
		return decision
	}
	var decision policy.Decision
	panicked := false
	done := make(chan struct{})
	h.judges.run(func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				panicked = true
				h.panicked(ctx, fmt.Sprintf("judge %s of %s", change.Operation, change.Record.ID), p)
			}
		}()
		decision = h.options.Judge.Decide(ctx, change)
	})
	select {
	case <-done:
	case <-ctx.Done():
		select {
		case <-done:
		case <-time.After(answerGrace):
			req.judging = done
			return outOfTime()
		}
	}
	if panicked {
		panic(judgePanicked{})
	}
	return decision
}

// outOfTime refuses, whatever a judge says too late.
func outOfTime() policy.Decision {
	return policy.Decision{Verdict: policy.Refuse, Class: policy.RuleError, Reason: "there was no time to ask all policies, try again"}
}

// judgePanicked is a judge's panic that was reported already.
type judgePanicked struct{}

// bare is a change without its values, which somebody is still looking at.
func bare(c *policy.Change) *policy.Change {
	return &policy.Change{
		Origin: c.Origin, Operation: c.Operation, SubResource: c.SubResource, DryRun: c.DryRun, User: c.User,
		Kind: c.Kind, Resource: c.Resource, Pod: c.Pod, Record: c.Record, Time: c.Time, Review: c.Review,
	}
}

func recorded(decision policy.Decision) bool {
	for _, p := range decision.Permits {
		if p.Recorded {
			return true
		}
	}
	return false
}

func (h *Handler) terminating(namespace string) bool {
	return namespace != "" && h.options.NamespaceTerminating != nil && h.options.NamespaceTerminating(namespace)
}

func (h *Handler) offState() (active bool, reason string, until time.Time) {
	if h.options.Off == nil {
		return false, "", time.Time{}
	}
	return h.options.Off.State(h.options.Clock())
}

func (h *Handler) off() bool {
	active, _, _ := h.offState()
	return active
}

// unreadable answers a review whose object can't be judged.
func (h *Handler) unreadable(ctx context.Context, record *ownership.Record, err error) answer {
	h.report(ctx, fmt.Errorf("read review of %s: %w", record.ID, err))
	if !h.enforces(record.Mode(), record.Sync) {
		return permitted()
	}
	return refused(http.StatusBadRequest, fmt.Sprintf("%s is held by git, and this request can't be read: %v", record.ID, err))
}

// panicked counts and reports what must not take the process down.
func (h *Handler) panicked(ctx context.Context, what string, p any) {
	h.metrics.panics.Inc()
	h.report(ctx, fmt.Errorf("%s: panic: %v\n%s", what, p, debug.Stack()))
}

func (h *Handler) report(ctx context.Context, err error) {
	if h.options.Error != nil {
		h.options.Error(ctx, err)
	}
}

// newID names a decision in a way that can be read out on the telephone.
func newID() string {
	const letters = "23456789abcdefghjkmnpqrstuvwxyz"
	var id [7]byte
	for i := range id {
		id[i] = letters[rand.IntN(len(letters))]
	}
	return string(id[:])
}
