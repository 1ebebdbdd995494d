// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

const (
	// minCommit is how many digits of a commit's id name it.
	minCommit = 7
	// maxPending is how many objects that wait are shown, maxDiffering how many
	// fields of each.
	maxPending, maxDiffering = 10, 3
	// maxShownValue bounds a value in a message.
	maxShownValue = 60
)

// names tells whether an annotation's value names a commit.
func names(value, commit string) bool {
	value = strings.TrimSpace(value)
	return len(value) >= minCommit && strings.HasPrefix(commit, value)
}

// answers are what people have accepted and confirmed.
func answers(gs *v1alpha1.GitSync) string {
	return gs.Annotations[v1alpha1.AdoptAnnotation] + " " + gs.Annotations[v1alpha1.ConfirmAnnotation]
}

// pending is an object that exists already and is left alone.
type pending struct {
	entry   *ownership.Entry
	differs []string
}

// stranger tells whether a live object is none of Mainstay's: no inventory has
// it, and it does not have both a fitting label and Mainstay's entry in
// managedFields. Those decide nothing but whether to ask: they are there where
// an inventory was lost, or a sync was cut off.
func (l *Loop) stranger(a *attempt, e *ownership.Entry, live *fastjson.Value) bool {
	if e.Applied != nil {
		return false
	}
	label := string(live.GetStringBytes("metadata", "labels", v1alpha1.SyncLabel))
	if label == "" || fieldset.AppliedBy(live, v1alpha1.FieldManager) == nil {
		return true
	}
	if ownership.Fits(label, a.sync.Key(), e.ID) {
		return false
	}
	for _, other := range l.Index.Syncs() {
		if ownership.Fits(label, other.Key(), e.ID) {
			return false
		}
	}
	return true
}

// wouldChange are the declared fields in which a live object is not what git
// says, and that nothing permits, shown for people.
func (l *Loop) wouldChange(ctx context.Context, a *attempt, e *ownership.Entry, raw []byte) ([]string, error) {
	fields, err := l.differing(ctx, a, e, raw)
	if err != nil {
		return nil, err
	}
	secret := e.Group == "" && e.Kind == "Secret"
	out := make([]string, 0, len(fields))
	for _, f := range fields {
		if secret {
			out = append(out, f.Path.String()+" differs")
			continue
		}
		out = append(out, fmt.Sprintf("%s git: %s, live: %s", f.Path, shown(f.Git), shown(f.To)))
	}
	return out, nil
}

func shown(v *fastjson.Value) string {
	if v == nil {
		return "nothing"
	}
	text := string(fieldset.Canonical(nil, v))
	if len(text) > maxShownValue {
		text = strings.ToValidUTF8(text[:maxShownValue], "") + "…"
	}
	return text
}

// takes tells whether an object that exists already may become what git says.
func (a *attempt) takes(p *planned) bool {
	switch {
	case !p.adopts, a.accepted:
		return true
	case a.adopt == v1alpha1.AdoptForce:
		return true
	case a.adopt == v1alpha1.AdoptNever:
		return false
	}
	return len(p.differs) == 0
}

// setAside takes out of the attempt what exists already and is to be left
// alone. Nobody holds it meanwhile.
func (a *attempt) setAside() {
	for _, id := range slices.Collect(maps.Keys(a.planned)) {
		p := a.planned[id]
		if !p.done || a.takes(p) {
			continue
		}
		a.pending = append(a.pending, pending{a.entries[id], p.differs})
		delete(a.planned, id)
		delete(a.entries, id)
	}
}

// adopts remembers that a first sync takes objects over: the next commit prunes
// nothing, since the path may have been a wrong one.
func (a *attempt) adopts() {
	if a.sync.Applied.Commit != "" && a.sync.AppliedSpec == a.spec {
		return
	}
	for _, p := range a.planned {
		if p.adopts {
			a.sync.Adopted = a.revision.Commit
			return
		}
	}
}

// waits is an error where objects that exist already were left alone. What was
// only looked at leaves the inventory, so that nobody holds it.
func (l *Loop) waits(ctx context.Context, a *attempt) error {
	err := a.adoption()
	if err == nil || a.unchanged(l.Index) {
		return err
	}
	return errors.Join(err, l.persist(ctx, a))
}

// adoption is the failure of an attempt that left objects alone.
func (a *attempt) adoption() error {
	if len(a.pending) == 0 {
		return nil
	}
	slices.SortFunc(a.pending, func(x, y pending) int {
		return cmp.Or(cmp.Compare(len(y.differs), len(x.differs)), strings.Compare(x.entry.String(), y.entry.String()))
	})
	objects, what := fmt.Sprintf("%d objects exist", len(a.pending)), "not what git says"
	if len(a.pending) == 1 {
		objects = "1 object exists"
	}
	if a.adopt == v1alpha1.AdoptNever {
		what = "not to be taken over (spec.adopt: Never)"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s already, %s; left alone:", objects, what)
	for i, p := range a.pending {
		if i == maxPending {
			fmt.Fprintf(&b, "\n… and %d more", len(a.pending)-i)
			break
		}
		content := p.entry.Attempted
		fmt.Fprintf(&b, "\n%s:%d: %s", content.File, content.Line, p.entry.ID)
		if n := len(p.differs); n > maxDiffering {
			p.differs = append(p.differs[:maxDiffering:maxDiffering], fmt.Sprintf("and %d more fields", n-maxDiffering))
		}
		if len(p.differs) > 0 {
			b.WriteString(": " + strings.Join(p.differs, "; "))
		}
	}
	fmt.Fprintf(&b, "\nmake git say what is there, or have them become what git says: kubectl mainstay adopt %s -n %s --accept %s"+
		"\nwhich is the same as: kubectl annotate gitsync %s -n %s --overwrite %s=%s",
		a.sync.Name, a.sync.Namespace, a.revision.Commit, a.sync.Name, a.sync.Namespace, v1alpha1.AdoptAnnotation, a.revision.Commit)
	return &failure{"AdoptionPending", fmt.Errorf("%s", b.String())}
}

// differing are the declared fields in which a live object is not what git
// says, and that nothing permits.
func (l *Loop) differing(ctx context.Context, a *attempt, e *ownership.Entry, raw []byte) ([]policy.Field, error) {
	record, live, fields, err := l.compared(a, e, raw)
	if err != nil || len(fields) == 0 {
		return nil, err
	}
	return l.guard.standing(ctx, record, live, fields).refused, nil
}
