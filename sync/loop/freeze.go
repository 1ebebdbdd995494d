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
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// A freeze: the deny rules are asked about what a commit would change, before
// any of it is written. One that speaks against it makes the commit wait, and
// the last applied revision stays enforced.
//
// The rules that are asked are those in force once the commit's own policies
// are loaded, so that a repository can lift its own freeze by a commit. Nor has
// a ChangePolicy a say about the commit that changes or removes it: the
// repository that declares a freeze can end it. A freeze that a repository must
// not end is declared by another one.
//
// What is left is judged as any change is: Audit and Warn record and go on, a
// grant for SYNC lets through what no rule calls final, and a rule that can't be
// judged makes the commit wait, too.

// reasonFrozen is the reason of the condition Ready while a commit waits.
const reasonFrozen = "Frozen"

// withheld is why a commit waits for policies, a grant or the time.
type withheld struct {
	message string
	// until is the earliest end that a rule gives.
	until *time.Time
	// changed is closed when policies or grants have changed since.
	changed <-chan struct{}
}

func (w *withheld) Error() string { return w.message }

// next is when to ask again.
func (w *withheld) next(now time.Time, interval time.Duration) time.Duration {
	next := min(max(interval, time.Second), maxBackoff)
	select {
	case <-w.changed:
		next = time.Second
	default:
	}
	if w.until != nil {
		next = min(next, max(w.until.Sub(now), time.Millisecond))
	}
	return next
}

// frozen asks about a whole commit before its first object is written. What
// could be dry-run was, so that rules see the values that the API server would
// store; what can't be yet, since its namespace or its kind comes with the
// commit, is asked about by its manifest, and again by frozenStage.
func (l *Loop) frozen(ctx context.Context, p *pass, a *attempt) error {
	ids := a.deniable(l.Judge)
	if len(ids) == 0 {
		p.frozen = ""
		return nil
	}
	a.asked = map[ownership.ID]bool{}
	if err := l.ask(ctx, p, a, ids); err != nil {
		return err
	}
	for _, id := range ids {
		a.asked[id] = a.planned[id] != nil && a.planned[id].done
	}
	return nil
}

// frozenStage asks about what could not be dry-run before.
func (l *Loop) frozenStage(ctx context.Context, p *pass, a *attempt, s stage) error {
	var ids []ownership.ID
	for _, id := range a.changed(s) {
		if asked, deniable := a.asked[id]; deniable && !asked {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return l.ask(ctx, p, a, ids)
}

// deniable are the objects that a commit changes or prunes and that a deny rule
// may speak of, in a stable order.
func (a *attempt) deniable(judge Judge) []ownership.ID {
	var ids []ownership.ID
	for id := range a.planned {
		ids = append(ids, id)
	}
	for _, id := range a.leaving {
		if a.fates[id].what == pruned {
			ids = append(ids, id)
		}
	}
	ids = slices.DeleteFunc(ids, func(id ownership.ID) bool {
		return !judge.Denies(&ownership.Record{Sync: &a.sync, Entry: a.entries[id]})
	})
	slices.SortFunc(ids, func(x, y ownership.ID) int { return strings.Compare(x.String(), y.String()) })
	return ids
}

// ask has every change of the commit judged. Its error is a failure with the
// reason Frozen.
func (l *Loop) ask(ctx context.Context, p *pass, a *attempt, ids []ownership.ID) error {
	w := &withheld{changed: l.Judge.Changed()}
	asker := &asker{l: l, a: a, replaced: a.replaced(), namespaces: map[string]*corev1.Namespace{}}
	var refused []refusal
	var permitted []refusal
	for _, id := range ids {
		change, err := asker.change(ctx, id)
		if err != nil {
			return &failure{reasonFrozen, fmt.Errorf("ask whether %s may change: %w", id, err)}
		}
		if change == nil {
			continue
		}
		d := l.Judge.Decide(ctx, change)
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case d.Verdict == policy.Permit:
			if d.Grant != nil {
				permitted = append(permitted, refusal{change, d})
			}
		case change.Mode() != v1alpha1.ModeEnforce:
			permitted = append(permitted, refusal{change, d})
		default:
			refused = append(refused, refusal{change, d})
		}
	}
	if len(refused) == 0 {
		p.frozen = ""
		l.recordAll(permitted)
		return nil
	}
	w.message, w.until = words(refused, len(ids))
	if said := a.revision.Commit + " " + w.message; p.frozen != said {
		p.frozen = said
		l.recordAll(refused)
	}
	return &failure{reasonFrozen, w}
}

// refusal is a change of a commit and what was decided about it.
type refusal struct {
	change   *policy.Change
	decision policy.Decision
}

func (l *Loop) recordAll(list []refusal) {
	for _, r := range list {
		if r.decision.Verdict == policy.Refuse {
			r.decision.Event = reasonFrozen
		}
		l.Recorder.Record(r.change, r.decision)
	}
}

// words say what makes a commit wait: each reason once, with the first of the
// objects that it is about.
func words(refused []refusal, of int) (string, *time.Time) {
	type group struct {
		text, first string
		count       int
	}
	var groups []*group
	var until *time.Time
	liftable := true
	for _, r := range refused {
		d := r.decision
		text := d.Reason
		if d.Rule != "" {
			text += " (" + d.Rule + ")"
		}
		if d.Until != nil {
			text += ", until " + d.Until.UTC().Format(time.RFC3339)
			until = earlier(until, d.Until)
		}
		if d.Next != "" {
			text += "; " + d.Next
		}
		liftable = liftable && d.Liftable()
		at := slices.IndexFunc(groups, func(g *group) bool { return g.text == text })
		if at < 0 {
			content := r.change.Record.Current()
			at = len(groups)
			groups = append(groups, &group{text: text, first: fmt.Sprintf("%s:%d: %s", content.File, content.Line, r.change.ID())})
		}
		groups[at].count++
	}
	slices.SortStableFunc(groups, func(x, y *group) int { return cmp.Compare(y.count, x.count) })
	var lines []string
	for _, g := range groups {
		line := g.text + ": " + g.first
		if g.count > 1 {
			line += fmt.Sprintf(" and %d more", g.count-1)
		}
		lines = append(lines, line)
	}
	if n := len(lines) - 5; n > 0 {
		lines = append(lines[:5:5], fmt.Sprintf("… and %d more reasons", n))
	}
	if of > 1 {
		lines = append(lines, fmt.Sprintf("%d of %d changes wait, and so do all", len(refused), of))
	}
	if liftable {
		lines = append(lines, "to let it through: kubectl mainstay breakglass request --operation SYNC"+within(refused)+" --for 1h --reason …")
	}
	return strings.Join(lines, "\n"), until
}

// within names the namespaces of what waits, as flags.
func within(refused []refusal) string {
	var names []string
	for _, r := range refused {
		name := r.change.ID().Namespace
		if name == "" {
			return "" // a scope with namespaces covers nothing outside of them
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return " --in " + strings.Join(names, ",")
}

// replaced are the keys of the ChangePolicies that a commit itself changes or
// removes.
func (a *attempt) replaced() []string {
	var keys []string
	add := func(id ownership.ID) {
		if id.Group == v1alpha1.GroupVersion.Group && id.Kind == "ChangePolicy" {
			keys = append(keys, policy.ChangePolicySource(types.NamespacedName{Namespace: id.Namespace, Name: id.Name}))
		}
	}
	for id := range a.planned {
		add(id)
	}
	for _, id := range a.leaving {
		add(id)
	}
	return keys
}

// asker makes the Changes of one commit.
type asker struct {
	l          *Loop
	a          *attempt
	replaced   []string
	namespaces map[string]*corev1.Namespace
}

// change is what the commit does to one object; nil where it changes nothing
// that git declares.
func (k *asker) change(ctx context.Context, id ownership.ID) (*policy.Change, error) {
	e := k.a.entries[id]
	c := &policy.Change{
		Origin: policy.OriginSync, Operation: policy.Create,
		User: k.l.writer(k.a), Kind: e.GVK(), Resource: e.GVR(), Replaced: k.replaced, Time: time.Now(),
	}
	content := e.Attempted
	plan := k.a.planned[id]
	if plan == nil {
		leaves := *e.Current()
		leaves.Revision = k.a.revision
		content, c.Operation = &leaves, policy.Delete
	}
	c.Record = &ownership.Record{Sync: &k.a.sync, Entry: &ownership.Entry{
		ID: e.ID, Version: e.Version, Resource: e.Resource, Applied: content,
	}}
	if e.Applied != nil {
		// Not the mode that the commit gives it: that would be a way around.
		c.Record.OwnMode = e.OwnMode
	}
	if err := k.documents(c, e, plan); err != nil {
		return nil, err
	}
	if c.Operation == policy.Update && len(c.Fields) == 0 {
		return nil, nil //nolint:nilnil // nothing changes
	}
	k.namespace(ctx, c)
	return c, nil
}

// documents puts what is there and what git says into a change, and compares
// them: the API server's answers where there are two, else the manifests.
func (k *asker) documents(c *policy.Change, e *ownership.Entry, plan *planned) error {
	var before, after []byte
	declared := &fieldset.Set{}
	if e.Applied != nil {
		before = e.Applied.Baseline
		set, err := fieldset.ParseSet(e.Applied.Fields)
		if err != nil {
			return err
		}
		declared = set
	}
	if plan != nil {
		after = e.Attempted.Baseline
		switch {
		case len(after) == 0:
			after = e.Attempted.Desired
			if e.Applied != nil {
				before = e.Applied.Desired
			}
		case e.Applied == nil:
			before = plan.found // it is there, and was never Mainstay's
			fallthrough
		default:
			set, err := fieldset.ParseSet(e.Attempted.Fields)
			if err != nil {
				return err
			}
			declared = fieldset.Union(declared, set)
		}
	}
	var err error
	if c.OldObject, err = parsed(before); err != nil {
		return fmt.Errorf("parse what is there: %w", err)
	}
	if c.Object, err = parsed(after); err != nil {
		return fmt.Errorf("parse what git says: %w", err)
	}
	if c.OldObject == nil || c.Object == nil {
		return nil
	}
	c.Operation, c.Record.AppliedSet = policy.Update, declared
	manifests := len(e.Attempted.Baseline) == 0
	for _, d := range fieldset.Compare(c.OldObject, c.Object, declared, nil) {
		if manifests || policy.Declares(c.Record, d.Path) {
			c.Fields = append(c.Fields, policy.Field{Path: d.Path, Op: d.Op, From: d.From, To: d.To, Git: d.From, Declared: true})
		}
	}
	return nil
}

// parsed is nil for an object that there is none of.
func parsed(text []byte) (*fastjson.Value, error) {
	if len(text) == 0 {
		return nil, nil //nolint:nilnil // see above
	}
	return fastjson.ParseBytes(text)
}

// namespace tells the labels and annotations of a change's namespace, where it
// exists.
func (k *asker) namespace(ctx context.Context, c *policy.Change) {
	name := c.ID().Namespace
	if name == "" {
		return
	}
	ns, known := k.namespaces[name]
	if !known {
		ns = new(corev1.Namespace)
		if err := k.l.Client.Get(ctx, types.NamespacedName{Name: name}, ns); err != nil {
			ns = nil // as in a request whose namespace nobody knows
		}
		k.namespaces[name] = ns
	}
	if ns != nil {
		c.NamespaceLabels, c.NamespaceAnnotations = ns.Labels, ns.Annotations
	}
}

// writer is who writes the objects of a commit.
func (l *Loop) writer(a *attempt) *policy.User {
	name := cmp.Or(a.sync.ServiceAccount, l.o.Account)
	user := &policy.User{Username: name, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	if namespace, _, ok := user.ServiceAccount(); ok {
		user.Groups = append(user.Groups, "system:serviceaccounts:"+namespace)
	}
	return user
}

// thaw has the GitSyncs whose commit waits looked at again.
func (l *Loop) thaw() []types.NamespacedName {
	l.mu.Lock()
	defer l.mu.Unlock()
	var keys []types.NamespacedName
	for key, p := range l.passes {
		if p.held.Load() {
			p.thawed.Store(true)
			keys = append(keys, key)
		}
	}
	return keys
}
