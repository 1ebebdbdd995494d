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
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/drift"
	"github.com/mainstay-gitops/mainstay/sync/health"
)

// conflictRetries bounds how often an object is judged and written again
// because somebody wrote it in between.
const conflictRetries = 8

// foresee asks the API server what it would make of each changed object, before
// any of them is written, and finds what becomes of those that leave. What needs
// a namespace or a definition of the same commit is asked for when that is
// there.
func (l *Loop) foresee(ctx context.Context, a *attempt) error {
	for _, s := range a.stages() {
		err := l.plan(ctx, a, slices.DeleteFunc(a.changed(s), a.awaits))
		if err != nil {
			return err
		}
	}
	a.setAside()
	a.adopts()
	return l.decideFates(ctx, a)
}

// awaits tells that an object can't be asked for before something else of the
// commit is there.
func (a *attempt) awaits(id ownership.ID) bool {
	if crd, ok := a.brought[id.GroupKind()]; ok && a.planned[crd] != nil {
		return true
	}
	namespace := a.planned[ownership.ID{Kind: "Namespace", Name: id.Namespace}]
	return id.Namespace != "" && namespace != nil && (namespace.version == "" || namespace.anew)
}

// plan asks the API server about those of the objects that it was not asked
// about yet. One refusal ends the attempt.
func (l *Loop) plan(ctx context.Context, a *attempt, ids []ownership.ID) error {
	ids = slices.DeleteFunc(ids, func(id ownership.ID) bool { return a.planned[id].done })
	return l.each(ctx, a, ids, "PlanFailed", func(ctx context.Context, id ownership.ID) (*ownership.Entry, error) {
		return l.planOne(ctx, a, a.entries[id], a.planned[id])
	})
}

// planOne dry-runs one object: the answer is its baseline. Where the object
// exists, what may differ is found, to be carried rather than overwritten.
func (l *Loop) planOne(ctx context.Context, a *attempt, e *ownership.Entry, p *planned) (*ownership.Entry, error) {
	*p = planned{ownMode: p.ownMode, moves: p.moves}
	answer, err := l.Applier.Apply(ctx, a.target(e), e.Attempted.Desired, apply.Write{DryRun: true})
	if unchangeable(err) && mayBeMadeAnew(e) {
		p.done, p.anew = true, true
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	next, err := withAnswer(e, answer)
	if err != nil {
		return nil, err
	}
	p.done = true
	if answer.ResourceVersion == "" {
		return next, nil // it does not exist yet
	}
	raw, err := l.Applier.Get(ctx, a.target(e))
	if apierrors.IsNotFound(err) {
		return next, nil
	}
	if err != nil {
		return nil, err
	}
	live, err := fastjson.ParseBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("parse live object: %w", err)
	}
	p.version = string(live.GetStringBytes("metadata", "resourceVersion"))
	if p.adopts = l.stranger(a, next, live); p.adopts {
		if p.differs, err = l.wouldChange(ctx, a, next, raw); err != nil {
			return nil, err
		}
	}
	if err := l.carry(ctx, a, next, live, p); err != nil {
		return nil, err
	}
	if len(p.handOver) > 0 {
		p.live = raw
	}
	if e.Applied == nil && l.Judge.Denies(&ownership.Record{Sync: &a.sync, Entry: e}) {
		p.found = raw
	}
	return next, nil
}

// withAnswer returns the entry with the baseline and the declared fields of an
// answer in its attempted content.
func withAnswer(e *ownership.Entry, answer *apply.Answer) (*ownership.Entry, error) {
	var previous, declared []byte
	if e.Applied != nil {
		previous, declared = e.Applied.Baseline, e.Applied.Fields
	}
	baseline, err := answer.Baseline(previous, declared)
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
// keeps its replicas). A field that leaves git while somebody else may set it
// is handed over: Mainstay gives it up as it is.
func (l *Loop) carry(ctx context.Context, a *attempt, e *ownership.Entry, live *fastjson.Value, p *planned) error {
	record := &ownership.Record{Sync: &a.sync, Entry: &ownership.Entry{
		ID: e.ID, Version: e.Version, Resource: e.Resource, Applied: e.Attempted,
	}}
	var err error
	if record.AppliedSet, err = fieldset.ParseSet(e.Attempted.Fields); err != nil {
		return err
	}
	var before *fastjson.Value
	var declaredBefore *fieldset.Set
	if e.Applied != nil {
		if before, err = fastjson.ParseBytes(e.Applied.Baseline); err != nil {
			return fmt.Errorf("parse baseline: %w", err)
		}
		if declaredBefore, err = fieldset.ParseSet(e.Applied.Fields); err != nil {
			return err
		}
	}
	baseline, err := drift.Baseline(new(fastjson.Parser), record)
	if err != nil {
		return err
	}
	fields, err := drift.Compare(baseline, live, record)
	if err != nil {
		return err
	}
	// What only the commit changes is no drift; what our write does not touch
	// need not be carried.
	fields = slices.DeleteFunc(fields, func(f policy.Field) bool {
		return !f.Declared || before != nil && fieldset.Equal(fieldset.At(before, f.Path), f.To)
	})
	leaving := leavingFields(baseline, live, record.AppliedSet, declaredBefore)
	if len(fields)+len(leaving) == 0 {
		return nil
	}
	standing := l.guard.standing(ctx, record, live, append(fields, leaving...))
	for _, s := range standing.permitted {
		left := slices.ContainsFunc(leaving, func(f policy.Field) bool { return f.Path.Equal(s.field.Path) })
		changed := left || before != nil && !fieldset.Equal(fieldset.At(before, s.field.Path), s.field.Git)
		switch {
		case changed && s.until != nil:
		case left:
			p.handOver = append(p.handOver, s.field.Path)
		default:
			c := carried{path: s.field.Path}
			if s.field.To != nil {
				c.value = fieldset.Canonical(nil, s.field.To)
			}
			p.carry = append(p.carry, c)
		}
	}
	return nil
}

// leavingFields are those that git declared before and no longer does, where the
// live object has another value than it would get. Somebody has to be permitted
// to set them as if git still did.
func leavingFields(baseline, live *fastjson.Value, now, before *fieldset.Set) []policy.Field {
	if before == nil || now.Covers(before) {
		return nil
	}
	var out []policy.Field
	for _, d := range fieldset.Compare(baseline, live, fieldset.Union(now, before), nil) {
		if d.To == nil || d.Order != nil || now.Touches(d.Path) || !before.Touches(d.Path) {
			continue
		}
		out = append(out, policy.Field{Path: d.Path, Op: d.Op, From: d.From, To: d.To, Git: d.From, Declared: true})
	}
	return out
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
	ids := a.changed(s)
	err := l.each(ctx, a, ids, "ApplyFailed", func(ctx context.Context, id ownership.ID) (*ownership.Entry, error) {
		return l.applyOne(ctx, a, a.entries[id], a.planned[id])
	})
	for _, id := range ids {
		if a.entries[id].Attempted == nil {
			a.tally.count(a.before[id], a.planned[id])
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
		answer, err := l.write(ctx, a, e, p)
		switch {
		case err == nil:
			if len(p.carry) == 0 {
				if e, err = withAnswer(e, answer); err != nil {
					return nil, err
				}
			}
			next := *e
			next.Applied, next.Attempted, next.OwnMode, next.Pruning = e.Attempted, nil, p.ownMode, false
			l.health.Wrote(next.ID, answer.ResourceVersion, health.Of(next.GVK(), answer.Object()))
			l.mutated(&a.sync, &next)
			return &next, nil
		case (apierrors.IsConflict(err) || apierrors.IsNotFound(err) && p.version != "") && try < conflictRetries:
			anew := p.anew
			if e, err = l.planOne(ctx, a, e, p); err != nil {
				return nil, err
			}
			if p.anew || !a.takes(p) {
				return nil, errors.New("somebody wrote it meanwhile: it is looked at again")
			}
			p.anew = anew
		default:
			return nil, err
		}
	}
}

// write applies one object with what is carried, gives up what is handed over,
// and takes over what others applied before Mainstay did.
func (l *Loop) write(ctx context.Context, a *attempt, e *ownership.Entry, p *planned) (*apply.Answer, error) {
	body, err := desired(e.Attempted, p.carry)
	if err != nil {
		return nil, err
	}
	version := p.version
	if len(p.handOver) > 0 {
		if version, err = l.Applier.Disown(ctx, a.target(e), p.live, p.handOver); err != nil {
			return nil, err
		}
	}
	answer, err := l.Applier.Apply(ctx, a.target(e), body, apply.Write{ResourceVersion: version})
	if err != nil {
		return nil, err
	}
	if e.Applied == nil && answer.Existed {
		if err := l.Applier.TakeOver(ctx, a.target(e), answer); err != nil {
			return nil, fmt.Errorf("take its fields over: %w", err)
		}
	}
	return answer, nil
}

// count takes note of an object that was applied.
func (t *tally) count(before *ownership.Entry, p *planned) {
	switch {
	case p.anew:
		t.recreated++
	case p.adopts:
		t.adopted++
	case p.version == "":
		t.created++
	case before == nil || before.Attempted == nil || before.Applied != nil:
		t.changed++
	default:
		t.created++ // by a try that was cut off
	}
}

// each runs do for some of the changed objects, bounded, and stores the entries
// that it returns. Failures are collected with file and line.
func (l *Loop) each(ctx context.Context, a *attempt, ids []ownership.ID, reason string, do func(context.Context, ownership.ID) (*ownership.Entry, error)) error {
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
	if unchangeable(err) {
		return unchangeableFailure(e, at, err)
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
		default:
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

// finish makes the revision the applied one.
func (l *Loop) finish(ctx context.Context, a *attempt) error {
	a.sync.Applied, a.sync.AppliedSpec = a.revision, a.spec
	if a.sync.Adopted != a.revision.Commit {
		a.sync.Adopted = ""
	}
	if a.unchanged(l.Index) {
		return nil
	}
	return l.persist(ctx, a)
}
