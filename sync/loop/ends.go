// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/grant"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
)

// Grants say what becomes of what was changed under break-glass. A grant.Store
// and a grant.Keeper do together.
type Grants interface {
	// Outcome says it for one change, by its permit.
	Outcome(p permit.Permit, now time.Time) grant.Outcome
	// Turned is closed when an outcome may be another one.
	Turned() <-chan struct{}
	// Settled is told how a change is over, before its permit goes.
	Settled(p permit.Permit, how string)
}

// EventHeld is the reason of the Event when what a grant permitted is held after
// its end.
const EventHeld = "DriftHeld"

// stay is what a permit says of the value that it is for.
type stay struct {
	permit permit.Permit
	// ok: the value stays until until, or for good.
	ok    bool
	until *time.Time
	// held: it stays although what permitted it has ended; why says until when.
	held bool
	why  string
	// over says what has ended, where the value does not stay.
	over string
}

// stays judges a value by its permit.
func (g *guard) stays(record *ownership.Record, p permit.Permit, now time.Time) stay {
	s := stay{permit: p}
	if _, ok := policy.GrantOf(p.Rule); ok {
		return g.granted(record, s, now)
	}
	switch {
	case !g.l.Judge.InForce(record, p.Rule):
	case p.Live(now):
		s.ok, s.until = true, p.Until
	default:
		s.over = "what " + p.Rule + " permitted ended at " + moment(*p.Until)
		g.unlessQuiet(record, &s, *p.Until, now)
	}
	return s
}

func (g *guard) granted(record *ownership.Record, s stay, now time.Time) stay {
	o := g.l.Grants.Outcome(s.permit, now)
	name := "break-glass " + o.Grant
	if o.Approver != "" {
		name += ", approved by " + o.Approver
	}
	switch o.Fate {
	case grant.Stands:
		s.ok, s.until = true, o.Until
	case grant.Held:
		s.ok, s.held, s.until = true, true, o.Until
		s.why = fmt.Sprintf("%s, until %s", name, moment(*o.Until))
	case grant.Undone:
		s.over = name + ": what was changed was given up"
	case grant.Ended:
		s.over = name + " has ended"
		// Who has revoked it ahead of its end knows what comes back.
		var end time.Time
		if o.At != nil && !o.At.After(now) {
			end = *o.At
		}
		g.unlessQuiet(record, &s, end, now)
		if s.held {
			s.why = name + " (it is over; " + s.why + ")"
		}
	}
	return s
}

// unlessQuiet lets a value stay beyond its end as long as nobody could have
// brought it into git.
func (g *guard) unlessQuiet(record *ownership.Record, s *stay, end, now time.Time) {
	if why, again := g.l.quiet(record.Sync.Key(), end, now); why != "" {
		s.ok, s.held, s.why, s.until = true, true, why, &again
	}
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// keep takes what stays by its permit out of the fields, and returns the rest.
func (st *standing) keep(f policy.Field, s stay) bool {
	if !s.ok {
		if s.over != "" && !slices.Contains(st.over, s.over) {
			st.over = append(st.over, s.over)
			st.overRule = cmp.Or(st.overRule, s.permit.Rule)
		}
		return false
	}
	st.permitted = append(st.permitted, permittedField{f, s.until, true})
	st.until = earlier(st.until, s.until)
	if s.held {
		st.held = append(st.held, heldField{f, s})
	}
	return true
}

// heldField stays although what permitted it has ended.
type heldField struct {
	field policy.Field
	stay
}

// explain gives the reason for what goes back where an exception has ended.
func (st *standing) explain() {
	if len(st.over) > 0 && st.decision.Verdict == policy.Refuse && st.decision.Class == policy.RuleDefault {
		st.decision.Class, st.decision.Rule = policy.RulePolicy, st.overRule
		if _, ok := policy.GrantOf(st.overRule); ok {
			st.decision.Class = policy.RuleGrant
		}
		st.decision.Reason = strings.Join(st.over, "; ")
	}
}

// heldWords name an object that is held, its fields, who changed it and by what;
// empty where nothing is.
func (st *standing) heldWords(id ownership.ID) string {
	if len(st.held) == 0 {
		return ""
	}
	var paths []string
	for _, h := range st.held {
		if h.field.Path != nil {
			paths = append(paths, h.field.Path.String())
		}
	}
	const most = 4
	what := strings.Join(paths[:min(len(paths), most)], ", ")
	switch {
	case len(paths) == 0:
		what = "deleted"
	case len(paths) > most:
		what += fmt.Sprintf(" and %d more", len(paths)-most)
	}
	first := st.held[0]
	return fmt.Sprintf("%s %s, by %s under %s", id, what, cmp.Or(first.permit.Account, "somebody"), first.why)
}

// sayHeld records that an object is held from now on.
func (g *guard) sayHeld(st *standing, words string) {
	change := *st.change
	change.Fields = nil
	for _, h := range st.held {
		if h.field.Path != nil {
			change.Fields = append(change.Fields, h.field)
		}
	}
	first := st.held[0]
	class := policy.RulePolicy
	if _, ok := policy.GrantOf(first.permit.Rule); ok {
		class = policy.RuleGrant
	}
	g.l.Recorder.Record(&change, policy.Decision{
		ID: policy.NewDecisionID(), Verdict: policy.Permit, Class: class, Rule: first.permit.Rule, Event: EventHeld, Until: first.until,
		Reason: "held as it is until git says the same: " + words,
	})
}

// inFlight is how long a permit may be there before what it is for: a request
// takes a minute at most.
const inFlight = 2 * time.Minute

// settle ends the permits that grants gave for an object and that nothing needs
// any more: git says the same, or its value is back. It returns when to look
// again.
func (g *guard) settle(ctx context.Context, record *ownership.Record, baseline, live *fastjson.Value, fields []policy.Field) (time.Duration, error) {
	uid := types.UID(live.GetStringBytes("metadata", "uid"))
	written := g.l.Permits.WrittenFor(uid)
	if p, ok := g.l.Permits.WrittenDeletion(record.ID); ok {
		written = append(written, p)
	}
	now := g.l.now()
	var again time.Duration
	for _, p := range written {
		if _, ok := policy.GrantOf(p.Rule); !ok {
			continue
		}
		how, wait := g.settled1(record, p, baseline, fields, now)
		if how == "" {
			if wait > 0 && (again == 0 || wait < again) {
				again = wait
			}
			continue
		}
		g.l.Grants.Settled(p, how)
		if err := g.l.Permits.Delete(ctx, p); err != nil {
			return 0, err
		}
	}
	return again, nil
}

// settled1 says how a change is over; empty where it is not, or may not be: then
// it returns when that can be told.
func (g *guard) settled1(record *ownership.Record, p permit.Permit, baseline *fastjson.Value, fields []policy.Field, now time.Time) (how string, again time.Duration) {
	if !p.OfDeletion() {
		path, err := fieldset.Parse(p.Path)
		if err != nil {
			return v1alpha1.SettledOverwritten, 0
		}
		for _, f := range fields {
			if f.Path.Equal(path) && g.l.Permits.Value(f.To) == p.Value {
				return "", 0 // it stands
			}
		}
		if g.l.Permits.Value(fieldset.At(baseline, path)) == p.Value {
			return v1alpha1.SettledInGit, 0
		}
	}
	if record.Attempted != nil {
		return "", time.Second // the commit that is being brought in may say so
	}
	if s := g.stays(record, p, now); !s.ok {
		return v1alpha1.SettledReverted, 0
	}
	if since := now.Sub(p.At); since < inFlight {
		return "", max(inFlight-since, time.Second)
	}
	return v1alpha1.SettledOverwritten, 0
}

// needed tells whether a permit may still count for anything.
func (l *Loop) needed(p permit.Permit, now time.Time) bool {
	record, declared := l.Index.Lookup(p.ID)
	switch {
	case !declared:
		return p.Live(now) && now.Sub(p.At) < sweepAfter
	case p.Live(now):
		return true
	}
	return l.guard.stays(record, p, now).ok
}
