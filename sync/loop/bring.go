// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/drift"
)

// conflictRetries bounds how often an object is judged and written again
// because somebody wrote it in between.
const conflictRetries = 8

// plan asks the API server what it would make of each changed object of a
// stage, before any of them is written. One refusal ends the attempt.
func (l *Loop) plan(ctx context.Context, a *attempt, s stage) error {
	return l.each(ctx, a, s, "PlanFailed", func(ctx context.Context, id ownership.ID) (*ownership.Entry, error) {
		return l.planOne(ctx, a, a.entries[id], a.planned[id])
	})
}

// planOne dry-runs one object: the answer is its baseline. Where the object
// exists, what may differ is found, to be carried rather than overwritten.
func (l *Loop) planOne(ctx context.Context, a *attempt, e *ownership.Entry, p *planned) (*ownership.Entry, error) {
	answer, err := l.Applier.Apply(ctx, a.target(e), e.Attempted.Desired, apply.Write{DryRun: true})
	if err != nil {
		return nil, err
	}
	next, err := withAnswer(e, answer)
	if err != nil {
		return nil, err
	}
	p.carry, p.version = nil, ""
	if answer.ResourceVersion == "" {
		return next, nil // it does not exist yet
	}
	live, err := l.Applier.Get(ctx, a.target(e))
	if apierrors.IsNotFound(err) {
		return next, nil
	}
	if err != nil {
		return nil, err
	}
	p.carry, p.version, err = l.carry(ctx, a, next, live)
	return next, err
}

// withAnswer returns the entry with the baseline and the declared fields of an
// answer in its attempted content.
func withAnswer(e *ownership.Entry, answer *apply.Answer) (*ownership.Entry, error) {
	var previous []byte
	if e.Applied != nil {
		previous = e.Applied.Baseline
	}
	baseline, err := answer.Baseline(previous)
	if err != nil {
		return nil, err
	}
	content := *e.Attempted
	content.Baseline, content.Fields = baseline, answer.Fields
	if content.Mutated, err = answer.Mutated(content.Desired); err != nil {
		return nil, err
	}
	next := *e
	next.Attempted = &content
	return &next, nil
}

// carried is a live value that is written instead of git's.
type carried struct {
	path  fieldset.Path
	value []byte // JSON; nil where the field is absent
}

// carry finds the fields in which the live object may differ from the new
// baseline. A commit that changes such a field wins if the exception has an
// end (the repair has reached git), and loses if it has none (an autoscaler
// keeps its replicas).
func (l *Loop) carry(ctx context.Context, a *attempt, e *ownership.Entry, raw []byte) ([]carried, string, error) {
	live, err := fastjson.ParseBytes(raw)
	if err != nil {
		return nil, "", fmt.Errorf("parse live object: %w", err)
	}
	version := string(live.GetStringBytes("metadata", "resourceVersion"))
	var before *fastjson.Value
	record := &ownership.Record{Sync: &a.sync, Entry: &ownership.Entry{
		ID: e.ID, Version: e.Version, Resource: e.Resource, Applied: e.Attempted,
	}}
	if record.AppliedSet, err = fieldset.ParseSet(e.Attempted.Fields); err != nil {
		return nil, "", err
	}
	var declaredBefore *fieldset.Set
	if e.Applied != nil {
		if before, err = fastjson.ParseBytes(e.Applied.Baseline); err != nil {
			return nil, "", fmt.Errorf("parse baseline: %w", err)
		}
		if declaredBefore, err = fieldset.ParseSet(e.Applied.Fields); err != nil {
			return nil, "", err
		}
	}
	fields, err := drift.Between(live, record)
	if err != nil {
		return nil, "", err
	}
	// What only the commit changes is no drift; what our write does not touch
	// need not be carried.
	fields = slices.DeleteFunc(fields, func(f policy.Field) bool {
		return before != nil && fieldset.Equal(fieldset.At(before, f.Path), f.To) ||
			!f.Declared && !declaredBefore.Touches(f.Path)
	})
	if len(fields) == 0 {
		return nil, version, nil
	}
	standing := l.guard.standing(ctx, record, live, fields)
	var out []carried
	for _, s := range standing.permitted {
		changed := before != nil && !fieldset.Equal(fieldset.At(before, s.field.Path), s.field.Git)
		if changed && s.until != nil {
			continue
		}
		c := carried{path: s.field.Path}
		if s.field.To != nil {
			c.value = fieldset.Canonical(nil, s.field.To)
		}
		out = append(out, c)
	}
	return out, version, nil
}

// desired is the object to write: git's, with the carried values.
func desired(content *ownership.Content, carry []carried) ([]byte, error) {
	if len(carry) == 0 {
		return content.Desired, nil
	}
	object, err := fastjson.ParseBytes(content.Desired)
	if err != nil {
		return nil, fmt.Errorf("parse desired object: %w", err)
	}
	var arena fastjson.Arena
	for _, c := range carry {
		var value *fastjson.Value
		if c.value != nil {
			if value, err = fastjson.ParseBytes(c.value); err != nil {
				return nil, fmt.Errorf("parse carried value of %s: %w", c.path, err)
			}
		}
		if err := fieldset.Put(&arena, object, c.path, value); err != nil {
			return nil, fmt.Errorf("carry %s: %w", c.path, err)
		}
	}
	return fieldset.Canonical(nil, object), nil
}

// apply writes the changed objects of a stage. Those that fail keep their last
// applied content; the others are enforced with the new one.
func (l *Loop) apply(ctx context.Context, a *attempt, s stage) error {
	err := l.each(ctx, a, s, "ApplyFailed", func(ctx context.Context, id ownership.ID) (*ownership.Entry, error) {
		return l.applyOne(ctx, a, a.entries[id], a.planned[id])
	})
	for _, id := range a.changed(s) {
		if a.entries[id].Attempted == nil {
			a.applied++
			delete(a.planned, id)
		}
	}
	if saveErr := l.persist(ctx, a); saveErr != nil {
		return errors.Join(err, saveErr)
	}
	if err != nil {
		return err
	}
	if s == stageFoundations {
		return l.established(ctx, a)
	}
	return nil
}

// applyOne writes one object, as it was judged.
func (l *Loop) applyOne(ctx context.Context, a *attempt, e *ownership.Entry, p *planned) (*ownership.Entry, error) {
	for try := 0; ; try++ {
		body, err := desired(e.Attempted, p.carry)
		if err != nil {
			return nil, err
		}
		answer, err := l.Applier.Apply(ctx, a.target(e), body, apply.Write{ResourceVersion: p.version})
		switch {
		case err == nil:
			if len(p.carry) == 0 {
				if e, err = withAnswer(e, answer); err != nil {
					return nil, err
				}
			}
			next := *e
			next.Applied, next.Attempted, next.OwnMode = e.Attempted, nil, p.ownMode
			l.mutated(&a.sync, &next)
			return &next, nil
		case (apierrors.IsConflict(err) || apierrors.IsNotFound(err) && p.version != "") && try < conflictRetries:
			if e, err = l.planOne(ctx, a, e, p); err != nil {
				return nil, err
			}
		default:
			return nil, err
		}
	}
}

// each runs do for the changed objects of a stage, bounded, and stores the
// entries that it returns. Failures are collected with file and line.
func (l *Loop) each(ctx context.Context, a *attempt, s stage, reason string, do func(context.Context, ownership.ID) (*ownership.Entry, error)) error {
	ids := a.changed(s)
	results := make([]*ownership.Entry, len(ids))
	failures := make([]error, len(ids))
	var group errgroup.Group
	group.SetLimit(l.o.Parallelism)
	for i, id := range ids {
		group.Go(func() error {
			results[i], failures[i] = do(ctx, id)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var problems []error
	for i, id := range ids {
		if failures[i] != nil {
			problems = append(problems, objectFailure(a.entries[id], failures[i]))
			continue
		}
		a.entries[id] = results[i]
	}
	if len(problems) > 0 {
		return limited(reason, problems)
	}
	return nil
}

// objectFailure says where the manifest is and what to do.
func objectFailure(e *ownership.Entry, err error) error {
	content := e.Current()
	if e.Attempted != nil {
		content = e.Attempted
	}
	at := fmt.Sprintf("%s:%d: %s", content.File, content.Line, e.ID)
	var status apierrors.APIStatus
	if apierrors.IsNotFound(err) && errors.As(err, &status) {
		if d := status.Status().Details; d != nil && d.Kind == "namespaces" {
			return &failure{"NamespaceNotFound", fmt.Errorf("%s: namespace %s does not exist: create it, or put its manifest into the repository", at, d.Name)}
		}
		return &failure{kindNotInstalled, fmt.Errorf("%s: %w: its kind is not installed yet", at, err)}
	}
	if as := account(err); as != "" {
		return &failure{"AccessDenied", fmt.Errorf("%s: %w: bind a role to %s that allows it", at, err, as)}
	}
	return fmt.Errorf("%s: %w", at, err)
}

// account is whom RBAC refused, as the API server says it; empty where it was
// something else that refused.
func account(err error) string {
	if !apierrors.IsForbidden(err) {
		return ""
	}
	_, rest, found := strings.Cut(err.Error(), `User "`)
	name, verb, quoted := strings.Cut(rest, `" cannot `)
	if !found || !quoted || verb == "" || strings.ContainsAny(name, "\" \n") {
		return ""
	}
	return name
}

// persist writes the attempt's entries to the cluster, and to the Index.
func (l *Loop) persist(ctx context.Context, a *attempt) error {
	sync := a.sync
	if err := l.Inventory.Save(ctx, &sync, a.all()); err != nil {
		return &failure{"InventoryFailed", err}
	}
	a.sync.Generation, a.persisted = sync.Generation, true
	return nil
}

// abandon takes a planned attempt back: what was never written leaves the
// inventory, everything else keeps its applied content.
func (l *Loop) abandon(ctx context.Context, a *attempt) error {
	if !a.persisted {
		return nil
	}
	for id, e := range a.entries {
		old := a.before[id]
		switch {
		case e.Attempted == nil:
		case old != nil:
			a.entries[id] = old
		case e.Applied == nil:
			delete(a.entries, id)
		}
	}
	return l.persist(ctx, a)
}

// established waits until the API server serves the kinds of applied CRDs.
func (l *Loop) established(ctx context.Context, a *attempt) error {
	for id, e := range a.entries {
		if !foundation(id) || id.Kind == "Namespace" || a.before[id] == e {
			continue
		}
		err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
			raw, err := l.Applier.Get(ctx, a.target(e))
			if err != nil {
				return false, err
			}
			var crd struct {
				Status struct {
					Conditions []struct{ Type, Status string }
				}
			}
			if err := json.Unmarshal(raw, &crd); err != nil {
				return false, fmt.Errorf("parse %s: %w", id, err)
			}
			for _, c := range crd.Status.Conditions {
				if c.Type == "Established" && c.Status == "True" {
					return true, nil
				}
			}
			return false, nil
		})
		if err != nil {
			return &failure{"ApplyFailed", fmt.Errorf("%s:%d: %s is not established: %w", e.Applied.File, e.Applied.Line, id, err)}
		}
	}
	return nil
}

// prune deletes what git no longer declares: marked in the inventory first, so
// that the webhook lets it go; dropped from it when it is gone.
func (l *Loop) prune(ctx context.Context, a *attempt) error {
	if len(a.leaving) == 0 {
		return nil
	}
	if !a.prune {
		return l.release(ctx, a)
	}
	for _, id := range a.leaving {
		entry := *a.entries[id]
		entry.Pruning, entry.Attempted = true, nil
		if entry.Applied == nil {
			entry.Attempted = a.before[id].Attempted
		}
		a.entries[id] = &entry
	}
	if err := l.persist(ctx, a); err != nil {
		return err
	}
	// Namespaces and CRDs last: they take what is in them along.
	slices.SortStableFunc(a.leaving, func(x, y ownership.ID) int { return int(stageOf(y)) - int(stageOf(x)) })
	failures := make([]error, len(a.leaving))
	gone := make([]bool, len(a.leaving))
	for _, s := range []stage{stageRest, stageFoundations} {
		var group errgroup.Group
		group.SetLimit(l.o.Parallelism)
		for i, id := range a.leaving {
			if stageOf(id) != s {
				continue
			}
			group.Go(func() error {
				gone[i], failures[i] = l.pruneOne(ctx, a, a.entries[id])
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	var problems []error
	for i, id := range a.leaving {
		if gone[i] {
			delete(a.entries, id)
			a.pruned++
		}
		if failures[i] != nil {
			problems = append(problems, objectFailure(a.before[id], failures[i]))
		}
	}
	if len(problems) > 0 {
		return errors.Join(limited("PruneFailed", problems), l.persist(ctx, a))
	}
	return nil
}

// pruneOne deletes an object and tells whether it is gone; finalizers may keep
// it for a while. One that was never known to be applied goes only if it has
// our label: else we never wrote it.
func (l *Loop) pruneOne(ctx context.Context, a *attempt, e *ownership.Entry) (bool, error) {
	if e.Applied == nil {
		live, err := l.Applier.Get(ctx, a.target(e))
		if err != nil && !apierrors.IsNotFound(err) {
			return false, err
		}
		if fastjson.GetString(live, "metadata", "labels", v1alpha1.SyncLabel) != ownership.LabelValue(a.sync.Key(), e.ID) {
			return true, nil
		}
	}
	if err := l.Applier.Delete(ctx, a.target(e), types.UID("")); err != nil {
		return false, err
	}
	_, err := l.Applier.Get(ctx, a.target(e))
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return false, err
}

// release lets objects go without deleting them: out of the inventory first,
// so that taking the label off is no change of a held object.
func (l *Loop) release(ctx context.Context, a *attempt) error {
	for _, id := range a.leaving {
		delete(a.entries, id)
	}
	if err := l.persist(ctx, a); err != nil {
		return err
	}
	return l.unlabel(ctx, a)
}

// unlabel takes the ownership label off the objects that leave.
func (l *Loop) unlabel(ctx context.Context, a *attempt) error {
	var problems []error
	for _, id := range a.leaving {
		if err := l.Applier.Unlabel(ctx, a.target(a.before[id])); err != nil {
			problems = append(problems, objectFailure(a.before[id], err))
		}
	}
	if len(problems) > 0 {
		return limited("ReleaseFailed", problems)
	}
	return nil
}

// finish makes the revision the applied one.
func (l *Loop) finish(ctx context.Context, a *attempt) error {
	a.sync.Applied, a.sync.AppliedSpec = a.revision, a.spec
	if a.unchanged(l.Index) {
		return nil
	}
	return l.persist(ctx, a)
}
