// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/valyala/fastjson"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/drift"
)

// reclaim applies git over an object that names no fields of ours any more.
// What policies permit stays.
func (g *guard) reclaim(ctx context.Context, record *ownership.Record, live *fastjson.Value, fields []policy.Field, s seen) error {
	st := g.standing(ctx, record, live, fields)
	if record.Mode() != v1alpha1.ModeEnforce {
		return nil
	}
	body, err := desired(record.Applied, carriedOf(st.permitted))
	if err != nil {
		return err
	}
	version := string(live.GetStringBytes("metadata", "resourceVersion"))
	if _, err := g.l.Applier.Apply(ctx, apply.TargetOf(record.Sync, record.Entry), body, apply.Write{ResourceVersion: version}); err != nil {
		return conflictIsFine(err)
	}
	if len(st.refused) > 0 {
		g.l.metrics.found(record.Sync.Key())
		g.done(record, st, s)
	}
	return nil
}

// carriedOf are the permitted values of declared fields, which stay.
func carriedOf(permitted []permittedField) []carried {
	var carry []carried
	for _, p := range permitted {
		if !p.field.Declared {
			continue
		}
		c := carried{path: p.field.Path}
		if p.field.To != nil {
			c.value = fieldset.Canonical(nil, p.field.To)
		}
		carry = append(carry, c)
	}
	return carry
}

// revert writes what git says over the refused fields; the permitted ones keep
// their live values.
func (g *guard) revert(ctx context.Context, record *ownership.Record, live *fastjson.Value, st *standing, s seen) (time.Duration, error) {
	target := apply.TargetOf(record.Sync, record.Entry)
	version := string(live.GetStringBytes("metadata", "resourceVersion"))
	body, err := desired(record.Applied, carriedOf(st.permitted))
	if err != nil {
		return 0, err
	}
	var declared bool
	var undeclared []apply.Undeclared
	for _, f := range st.refused {
		if record.AppliedSet.Touches(f.Path) {
			declared = true
		} else {
			undeclared = append(undeclared, apply.Undeclared{Path: f.Path, Value: f.Git})
		}
	}
	if !g.agrees(record) {
		normal, err := g.normal(ctx, record, live, body, st.refused)
		if err != nil || normal {
			return 0, conflictIsFine(err)
		}
	}
	g.l.metrics.found(record.Sync.Key())
	raw := s.raw
	if declared {
		answer, err := g.l.Applier.Apply(ctx, target, body, apply.Write{ResourceVersion: version})
		if err != nil {
			return 0, conflictIsFine(err)
		}
		if answer.ResourceVersion == version && len(undeclared) == 0 {
			// Nothing was written: what differs is how the API server keeps
			// what we said, since its schema changed.
			return 0, g.renormalise(ctx, record, answer)
		}
		raw = fieldset.Canonical(nil, answer.Object())
	}
	if len(undeclared) > 0 {
		if err := g.l.Applier.Restore(ctx, target, raw, undeclared); err != nil {
			return 0, conflictIsFine(err)
		}
	}
	g.done(record, st, s)
	return g.lookAgain(st), nil
}

// conflictIsFine: somebody wrote the object in between, and that write is an
// event of its own.
func conflictIsFine(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// normal confirms by a dry-run that a difference is real: it is not where git's
// manifest would lead to the very values that are there. Then the baseline was
// out of date, and is mended.
func (g *guard) normal(ctx context.Context, record *ownership.Record, live *fastjson.Value, body []byte, refused []policy.Field) (bool, error) {
	answer, err := g.l.Applier.Apply(ctx, apply.TargetOf(record.Sync, record.Entry), body, apply.Write{DryRun: true})
	if err != nil {
		return false, err
	}
	for _, f := range refused {
		if !record.AppliedSet.Touches(f.Path) || !fieldset.Equal(fieldset.At(answer.Object(), f.Path), fieldset.At(live, f.Path)) {
			return false, nil
		}
	}
	return true, g.renormalise(ctx, record, answer)
}

// renormalise stores what the API server makes of an unchanged manifest now.
func (g *guard) renormalise(ctx context.Context, record *ownership.Record, answer *apply.Answer) error {
	baseline, err := answer.Baseline(record.Applied.Baseline, nil)
	if err != nil {
		return err
	}
	content := *record.Applied
	content.Baseline, content.Fields = baseline, answer.Fields
	if content.Mutated, err = answer.Mutated(content.Desired); err != nil {
		return err
	}
	return g.learn(ctx, record, &content, func(sync *ownership.Sync, entry *ownership.Entry) {
		g.agree(record.ID, &content)
		if !slices.Equal(record.Applied.Mutated, content.Mutated) {
			g.l.mutated(sync, entry)
		}
	})
}

// missing judges the deletion of a declared object.
func (g *guard) missing(ctx context.Context, record *ownership.Record, s seen) (time.Duration, error) {
	if g.collected(record, s.listed) {
		g.forget(record.ID)
		return 0, g.keepEnd(ctx, record)
	}
	st := &standing{change: &policy.Change{
		Origin: policy.OriginDrift, Operation: policy.Delete,
		Kind: record.GVK(), Resource: record.GVR(), Record: record, Time: g.l.now(),
	}}
	old, err := fastjson.ParseBytes(record.Applied.Baseline)
	if err != nil {
		return 0, fmt.Errorf("parse baseline of %s: %w", record.ID, err)
	}
	st.change.OldObject = old
	if p, ok := g.l.Permits.WrittenDeletion(record.ID); ok && st.keep(policy.Field{}, g.stays(record, p, g.l.now())) {
		st.decision = policy.Decision{Verdict: policy.Permit, Class: policy.RulePolicy, Rule: "permit"}
		g.note(record, st, nil)
		g.expose(record, st, s.when)
		return g.lookAgain(st), nil
	}
	st.decision = g.l.Judge.Decide(ctx, st.change)
	st.until = earlier(st.until, st.decision.Until)
	if st.decision.Verdict == policy.Permit {
		st.permitted = append(st.permitted, permittedField{until: st.decision.Until})
	}
	st.explain()
	if s, ok := g.l.still(record.Sync.Key()); ok && st.decision.Verdict != policy.Permit {
		return g.stands(record, st, nil, s), nil
	}
	action := drift.Plan(st.change, st.decision)
	if action == drift.Recreate {
		st.decision.Unattributed = !g.explained(record, st, nil)
	}
	news := g.note(record, st, nil)
	g.expose(record, st, s.when)
	if wait := g.held(record.ID, action); wait > 0 {
		return wait, nil
	}
	switch action {
	case drift.Recreate:
		return g.recreate(ctx, record, st, s)
	case drift.Record:
		if news {
			g.l.metrics.found(record.Sync.Key())
			g.l.Recorder.Record(st.change, st.decision)
		}
	case drift.LetStand:
		if news {
			g.l.Recorder.Record(st.change, st.decision)
		}
	case drift.Revert:
	}
	return g.lookAgain(st), nil
}

func (g *guard) recreate(ctx context.Context, record *ownership.Record, st *standing, s seen) (time.Duration, error) {
	g.l.metrics.found(record.Sync.Key())
	if _, err := g.l.Applier.Apply(ctx, apply.TargetOf(record.Sync, record.Entry), record.Applied.Desired, apply.Write{}); err != nil {
		return 0, fmt.Errorf("recreate %s: %w", record.ID, err)
	}
	g.done(record, st, s)
	if record.GroupKind() == (schema.GroupKind{Kind: "Namespace"}) {
		g.within(record.Name)
	}
	return 0, nil
}

// within has the objects of a namespace that is there again looked at now: they
// could not be made while it was going away, and would be tried later and later.
func (g *guard) within(namespace string) {
	for _, sync := range g.l.Index.Syncs() {
		for id := range g.l.Index.Entries(sync.Key()) {
			if id.Namespace == namespace {
				g.queue.Forget(id)
				g.queue.Add(id)
			}
		}
	}
}
