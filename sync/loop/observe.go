// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/drift"
)

// observeInterval is how often what is live is compared again while nothing
// else asks for it.
const observeInterval = 5 * time.Minute

// finding is what a sync would do to one object.
type finding string

const (
	asGitSays     finding = "as git says"
	wouldChange   finding = "would change"
	wouldCreate   finding = "would be created"
	wouldPrune    finding = "would be pruned"
	wouldLetGo    finding = "would be let go"
	notInstalled  finding = "of a kind that is not installed"
	notAcceptable finding = "would be refused by the API server"
)

// observation is what a GitSync in mode Observe found last.
type observation struct {
	at    time.Time
	count map[finding]int32
	// absent are the objects that did not exist.
	absent map[ownership.ID]bool
}

// due tells that what is live has to be compared again.
func (o *observation) due(now time.Time) bool { return now.Sub(o.at) >= observeInterval }

// String is the message of the condition Ready.
func (o *observation) String() string {
	var total int32
	for _, n := range o.count {
		total += n
	}
	var parts []string
	for _, f := range []finding{asGitSays, wouldChange, wouldCreate, wouldPrune, wouldLetGo, notInstalled, notAcceptable} {
		if n := o.count[f]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, f))
		}
	}
	objects := "objects"
	if total == 1 {
		objects = "object"
	}
	return fmt.Sprintf("%d %s: %s", total, objects, strings.Join(parts, ", "))
}

// observe finds out what a sync would do and writes nothing but Mainstay's own
// record of it, so that every replica can judge. Contents that were applied
// before the mode was Observe stay what they are.
func (l *Loop) observe(ctx context.Context, p *pass, a *attempt) error {
	seen := &observation{at: time.Now(), count: map[finding]int32{notInstalled: a.notInstalled}, absent: map[ownership.ID]bool{}}
	a.letStay(seen)

	ids := slices.SortedFunc(maps.Keys(a.entries), func(x, y ownership.ID) int { return strings.Compare(x.String(), y.String()) })
	results := make([]*ownership.Entry, len(ids))
	findings := make([]finding, len(ids))
	failures := make([]error, len(ids))
	var group errgroup.Group
	group.SetLimit(l.o.Parallelism)
	for i, id := range ids {
		if slices.Contains(a.leaving, id) {
			continue
		}
		group.Go(func() error {
			results[i], findings[i], failures[i] = l.observeOne(ctx, a, a.entries[id], p.observed != nil && p.observed.absent[id])
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var problems []error
	for i, id := range ids {
		switch {
		case failures[i] != nil:
			problems = append(problems, objectFailure(a.entries[id], failures[i]))
			seen.count[notAcceptable]++
		case results[i] != nil:
			a.entries[id] = results[i]
			seen.count[findings[i]]++
			seen.absent[id] = findings[i] == wouldCreate
		}
	}
	p.observed = seen
	if !a.unchanged(l.Index) {
		if err := l.persist(ctx, a); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return limited("PlanFailed", problems)
	}
	return nil
}

// letStay keeps what was applied once and has left git, since a later mode
// prunes it, and forgets what was only looked at.
func (a *attempt) letStay(seen *observation) {
	a.leaving = slices.DeleteFunc(a.leaving, func(id ownership.ID) bool {
		if a.entries[id].Applied == nil && !a.entries[id].Released {
			delete(a.entries, id)
			return true
		}
		if a.prune {
			seen.count[wouldPrune]++
		} else {
			seen.count[wouldLetGo]++
		}
		return false
	})
}

// observeOne looks at one object. It asks the API server for a baseline where
// there is none of the object as git and the cluster have it now; absent tells
// that it was not there at the last look.
func (l *Loop) observeOne(ctx context.Context, a *attempt, e *ownership.Entry, absent bool) (*ownership.Entry, finding, error) {
	live, err := l.Applier.Get(ctx, a.target(e))
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, "", err
	}
	exists := err == nil
	// What would be made of a new object is not what is made of one that exists.
	if e.Attempted != nil && (len(e.Attempted.Baseline) == 0 || exists && absent) {
		answer, err := l.Applier.Apply(ctx, a.target(e), e.Attempted.Desired, apply.Write{DryRun: true})
		switch {
		case !exists && apierrors.IsNotFound(err):
			return e, wouldCreate, nil // its namespace or its kind comes with it
		case err != nil:
			return nil, "", err
		}
		if e, err = withAnswer(e, answer); err != nil {
			return nil, "", err
		}
	}
	if !exists {
		return e, wouldCreate, nil
	}
	same, err := l.sameAs(ctx, a, e, live)
	switch {
	case err != nil:
		return nil, "", err
	case same:
		return e, asGitSays, nil
	}
	return e, wouldChange, nil
}

// sameAs tells whether a sync would leave a live object as it is: what git
// declares is there, or policies permit the difference.
func (l *Loop) sameAs(ctx context.Context, a *attempt, e *ownership.Entry, raw []byte) (bool, error) {
	fields, err := l.differing(ctx, a, e, raw)
	return len(fields) == 0, err
}

// compared are the declared fields in which a live object is not what git says.
func (l *Loop) compared(a *attempt, e *ownership.Entry, raw []byte) (*ownership.Record, *fastjson.Value, []policy.Field, error) {
	live, err := fastjson.ParseBytes(raw)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("parse live object: %w", err)
	}
	content := e.Applied
	if e.Attempted != nil {
		content = e.Attempted
	}
	record := &ownership.Record{Sync: &a.sync, Entry: &ownership.Entry{
		ID: e.ID, Version: e.Version, Resource: e.Resource, Applied: content,
	}}
	if record.AppliedSet, err = fieldset.ParseSet(content.Fields); err != nil {
		return nil, nil, nil, err
	}
	baseline, err := drift.Baseline(new(fastjson.Parser), record)
	if err != nil {
		return nil, nil, nil, err
	}
	// The label comes with the first apply and says nothing about what git and
	// the cluster have.
	withoutLabel(baseline)
	withoutLabel(live)
	fields, err := drift.Compare(baseline, live, record)
	if err != nil {
		return nil, nil, nil, err
	}
	return record, live, slices.DeleteFunc(fields, func(f policy.Field) bool { return !f.Declared }), nil
}

// withoutLabel takes the ownership label off a parsed object.
func withoutLabel(object *fastjson.Value) {
	labels := object.GetObject("metadata", "labels")
	if labels == nil {
		return
	}
	labels.Del(v1alpha1.SyncLabel)
	if labels.Len() == 0 {
		object.Get("metadata").Del("labels")
	}
}

// observing tells that nothing may be written for a GitSync.
func observing(gs *v1alpha1.GitSync) bool { return gs.Spec.Enforcement.Mode == v1alpha1.ModeObserve }

// loosen makes a mode that refuses less take effect at once, also while git
// can't be reached or its newest commit fails: it is a way out. A stricter one
// comes into force with a sync.
func (l *Loop) loosen(ctx context.Context, gs *v1alpha1.GitSync, p *pass) error {
	key := client.ObjectKeyFromObject(gs)
	known, ok := l.Index.Sync(key)
	if !ok || strict(gs.Spec.Enforcement.Mode) >= strict(known.Mode) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	sync := *known
	sync.Mode = gs.Spec.Enforcement.Mode
	if err := l.Inventory.Save(ctx, &sync, slices.Collect(maps.Values(l.Index.Entries(key)))); err != nil {
		return fmt.Errorf("put mode %s of gitsync %s in force: %w", sync.Mode, key, err)
	}
	return nil
}

// strict orders the modes.
func strict(mode v1alpha1.Mode) int {
	return slices.Index([]v1alpha1.Mode{v1alpha1.ModeObserve, v1alpha1.ModeAudit, v1alpha1.ModeWarn, v1alpha1.ModeEnforce}, mode)
}
