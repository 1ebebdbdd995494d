// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// standing is what may stay of a difference, and what may not.
type standing struct {
	change    *policy.Change
	decision  policy.Decision
	permitted []permittedField
	refused   []policy.Field
	until     *time.Time
	// held are those of the permitted fields that stay beyond an end; over says
	// what has ended, by the rule overRule, of what does not.
	held     []heldField
	over     []string
	overRule string
}

type permittedField struct {
	field policy.Field
	until *time.Time
	// recorded tells that a sealed permit covers it.
	recorded bool
}

// lookAgain is when the first exception ends.
func (g *guard) lookAgain(s *standing) time.Duration {
	if s.until == nil {
		return 0
	}
	return max(s.until.Sub(g.l.now()), time.Millisecond)
}

// standing judges a difference: sealed permits first, policies for the rest.
func (g *guard) standing(ctx context.Context, record *ownership.Record, live *fastjson.Value, fields []policy.Field) *standing {
	now := g.l.now()
	st := &standing{}
	uid := types.UID(live.GetStringBytes("metadata", "uid"))
	var rest []policy.Field
	for _, f := range fields {
		if p, ok := g.l.Permits.Written(uid, f.Path.String(), f.To); ok && st.keep(f, g.stays(record, p, now)) {
			continue
		}
		rest = append(rest, f)
	}
	st.change = &policy.Change{
		Origin: policy.OriginDrift, Operation: policy.Update,
		Kind: record.GVK(), Resource: record.GVR(),
		Object: live, Fields: rest, Record: record, Time: now,
	}
	if len(rest) == 0 {
		st.decision = policy.Decision{Verdict: policy.Permit, Class: policy.RulePolicy, Rule: "permit"}
		return st
	}
	if old, err := fastjson.ParseBytes(record.Applied.Baseline); err == nil {
		st.change.OldObject = old
	}
	st.decision = g.l.Judge.Decide(ctx, st.change)
	if st.decision.Verdict == policy.Permit {
		for _, f := range rest {
			st.permitted = append(st.permitted, permittedField{f, st.decision.Until, false})
		}
		st.until = earlier(st.until, st.decision.Until)
		return st
	}
	// A refused difference goes back as far as no exception covers it.
	st.refused = st.decision.Uncovered
	if len(st.refused) == 0 {
		st.refused = rest
	}
	for _, f := range rest {
		if !contains(st.refused, f.Path) {
			st.permitted = append(st.permitted, permittedField{f, st.decision.Until, false})
		}
	}
	st.until = earlier(st.until, st.decision.Until)
	st.explain()
	return st
}

func contains(fields []policy.Field, path fieldset.Path) bool {
	for _, f := range fields {
		if f.Path.Equal(path) {
			return true
		}
	}
	return false
}

func earlier(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.Before(*a) {
		return b
	}
	return a
}
