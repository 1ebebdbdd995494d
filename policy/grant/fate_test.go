// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/permit"
)

// told is a Store that watches nothing: it is told what there is.
func told(links ...link) *Store {
	s := &Store{records: map[types.UID]Record{}, requests: map[types.NamespacedName]*v1alpha1.BreakGlass{}}
	for _, l := range links {
		s.requests[types.NamespacedName{Namespace: l.bg.Namespace, Name: l.bg.Name}] = l.bg
		if l.known {
			s.records[l.bg.UID] = l.record
		}
	}
	return s
}

// given is a BreakGlass that was approved at now for an hour, and held for two.
func given(name string, edits ...func(*link)) link {
	bg := request(name)
	bg.Spec.ApprovedBy = "bob"
	l := link{bg: bg, record: NewRecord(bg, Asked{Subjects: []v1alpha1.BreakGlassSubject{subjectOf("alice")}}, now), known: true}
	l.record.Begin("bob", now, time.Hour, 2*time.Hour)
	for _, edit := range edits {
		edit(&l)
	}
	l.record.Digest = l.bg.Spec.Digest()
	return l
}

func reverts(l *link) { l.record.HeldUntil = nil }

func extends(name string, start time.Duration) func(*link) {
	return func(l *link) {
		l.record.Extends = types.UID("uid-" + name)
		l.record.Begin("bob", now.Add(start), time.Hour, 2*time.Hour)
	}
}

func unapproved(l *link) {
	l.bg.Spec.ApprovedBy = ""
	l.record.Approver, l.record.StartsAt, l.record.ExpiresAt, l.record.HeldUntil = "", nil, nil, nil
}

func asked(after time.Duration) func(*link) {
	return func(l *link) { l.record.At = now.Add(after) }
}

func annotated(l *link) {
	l.bg.Annotations = map[string]string{v1alpha1.RevertAnnotation: "it was wrong"}
}

func givenUp(l *link) { l.record.GivenUpAt = new(now.Add(time.Hour)) }

func TestWhatGoesOnWithAGrant(t *testing.T) {
	revoked := func(l *link) { l.bg.Spec.Revoked = true }
	for name, tt := range map[string]struct {
		links         []link
		after         time.Duration
		goesOn, spent string
	}{
		"nothing, while it is active": {links: []link{given("hotfix")}, after: time.Minute},
		"what extends it": {
			links: []link{given("hotfix"), given("more", extends("hotfix", time.Hour))}, after: 90 * time.Minute, goesOn: "more",
		},
		"what extends that": {
			links: []link{given("hotfix"), given("more", extends("hotfix", time.Hour), revoked), given("most", extends("more", time.Hour))},
			after: 90 * time.Minute, goesOn: "most",
		},
		"nothing that has ended": {links: []link{given("hotfix"), given("more", extends("hotfix", time.Hour))}, after: 2 * time.Hour},
		"nothing that nobody has approved": {
			links: []link{given("hotfix"), given("more", extends("hotfix", time.Hour), unapproved)}, after: 90 * time.Minute,
		},
		"nothing may where it was revoked":  {links: []link{given("hotfix", revoked)}, spent: "hotfix was revoked"},
		"nothing may where it was given up": {links: []link{given("hotfix", annotated)}, spent: "was given up"},
		"nor where that has been removed":   {links: []link{given("hotfix", givenUp)}, spent: "was given up"},
		"nothing may where it is gone":      {spent: "is gone"},
		"nothing may where another one has come by its name": {
			links: []link{given("hotfix", func(l *link) { l.bg.UID = "another" })}, spent: "is gone",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := told(tt.links...)
			s.options.Clock = func() time.Time { return now.Add(tt.after) }
			if got := s.GoesOn("uid-hotfix"); got != tt.goesOn {
				t.Errorf("%q goes on with it, want %q", got, tt.goesOn)
			}
			if got := s.Spent("uid-hotfix"); (got == "") != (tt.spent == "") || !strings.Contains(got, tt.spent) {
				t.Errorf("spent: %q, want %q", got, tt.spent)
			}
		})
	}
}

func TestWhatBecomesOfAChangeUnderAGrant(t *testing.T) {
	at := func(d time.Duration) *time.Time { return new(now.Add(d)) }
	for name, tt := range map[string]struct {
		links []link
		edit  func(*permit.Permit)
		after time.Duration
		want  Fate
		until *time.Time
	}{
		"it stands while the grant is active": {links: []link{given("hotfix")}, after: 59 * time.Minute, want: Stands, until: at(time.Hour)},
		"it is held from its end on":          {links: []link{given("hotfix")}, after: time.Hour, want: Held, until: at(3 * time.Hour)},
		"git comes back when it was held for long enough": {
			links: []link{given("hotfix")}, after: 3 * time.Hour, want: Ended,
		},
		"git comes back at the end of a grant that reverts": {links: []link{given("hotfix", reverts)}, after: time.Hour, want: Ended},
		"it is held when the grant is revoked": {
			links: []link{given("hotfix", func(l *link) { l.bg.Spec.Revoked = true })}, after: time.Minute, want: Held, until: at(3 * time.Hour),
		},
		"git comes back when a grant that reverts is revoked": {
			links: []link{given("hotfix", reverts, func(l *link) { l.bg.Spec.Revoked = true })}, after: time.Minute, want: Ended,
		},
		"it is undone when somebody gives it up": {links: []link{given("hotfix", annotated)}, after: 2 * time.Hour, want: Undone},
		"it stays undone when the annotation is removed": {
			links: []link{given("hotfix", givenUp)}, after: 2 * time.Hour, want: Undone,
		},
		"giving it up ends no active grant":     {links: []link{given("hotfix", annotated)}, after: time.Minute, want: Stands, until: at(time.Hour)},
		"it is undone when the request is gone": {after: time.Minute, want: Undone},
		"it is undone when another has its name": {
			links: []link{given("hotfix", func(l *link) { l.bg.UID = "another"; l.record.UID = "another" })}, after: time.Minute, want: Undone,
		},
		"it stands a moment where the request is not known yet": {after: 2 * time.Second, want: Stands, until: at(settling)},
		"a clock that went back proves no moment":               {after: -time.Hour, want: Undone},
		"a clock that went back ends nothing":                   {links: []link{given("hotfix")}, after: -time.Hour, want: Stands, until: at(time.Hour)},
		"a clock that goes on finds the end": {
			links: []link{given("hotfix", reverts)}, after: 100 * time.Hour, want: Ended,
		},
		"without its record the permit's own times count": {
			links: []link{given("hotfix", func(l *link) { l.known = false })}, after: 2 * time.Hour, want: Held, until: at(3 * time.Hour),
		},
		"without its record and without a hold, git comes back": {
			links: []link{given("hotfix", func(l *link) { l.known = false })}, edit: func(p *permit.Permit) { p.Held = nil }, after: 2 * time.Hour, want: Ended,
		},
		"an approval that was not judged does not let it stand": {
			links: []link{given("hotfix", func(l *link) { l.bg.Spec.ApprovedBy = "mallory" })}, after: time.Minute, want: Held, until: at(3 * time.Hour),
		},
		"an extension lets it stand": {
			links: []link{given("hotfix", reverts), given("more", extends("hotfix", time.Hour))}, after: 90 * time.Minute, want: Stands, until: at(2 * time.Hour),
		},
		"an extension of an extension does": {
			links: []link{given("hotfix", reverts), given("more", extends("hotfix", time.Hour)), given("most", extends("more", 2*time.Hour))},
			after: 150 * time.Minute, want: Stands, until: at(3 * time.Hour),
		},
		"the last extension decides at the end": {
			links: []link{given("hotfix", reverts), given("more", extends("hotfix", time.Hour))}, after: 2 * time.Hour, want: Held, until: at(4 * time.Hour),
		},
		"an extension that reverts does": {
			links: []link{given("hotfix"), given("more", extends("hotfix", time.Hour), reverts)}, after: 2 * time.Hour, want: Ended,
		},
		"what an extension gives up is undone": {
			links: []link{given("hotfix"), given("more", extends("hotfix", time.Hour), annotated)}, after: 2 * time.Hour, want: Undone,
		},
		"an extension that was asked for in time is waited for": {
			links: []link{given("hotfix", reverts), given("more", extends("hotfix", 0), unapproved, asked(50*time.Minute))},
			after: 65 * time.Minute, want: Held, until: at(75 * time.Minute),
		},
		"but not for long": {
			links: []link{given("hotfix", reverts), given("more", extends("hotfix", 0), unapproved, asked(50*time.Minute))}, after: 75 * time.Minute, want: Ended,
		},
		"one that was asked for after the end is not": {
			links: []link{given("hotfix", reverts), given("more", extends("hotfix", 0), unapproved, asked(61*time.Minute))}, after: 65 * time.Minute, want: Ended,
		},
		"another grant is none": {
			links: []link{given("hotfix", reverts), given("other")}, after: time.Hour, want: Ended,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := permit.Permit{
				Rule: "grant." + system + "/hotfix", Grant: "uid-hotfix", Account: "alice", At: now,
				Until: at(time.Hour), Held: at(3 * time.Hour),
			}
			if tt.edit != nil {
				tt.edit(&p)
			}
			got := told(tt.links...).Outcome(p, now.Add(tt.after))
			if got.Fate != tt.want || (got.Until == nil) != (tt.until == nil) || got.Until != nil && !got.Until.Equal(*tt.until) {
				t.Errorf("%s until %v, want %s until %v", got.Fate, got.Until, tt.want, tt.until)
			}
		})
	}
}

func TestWhatMayBeExtended(t *testing.T) {
	for name, tt := range map[string]struct {
		links []link
		after time.Duration
		err   string
	}{
		"an active grant":       {links: []link{given("hotfix")}, after: time.Minute},
		"what is held":          {links: []link{given("hotfix")}, after: 2 * time.Hour},
		"not what is not there": {err: "there is no BreakGlass hotfix in namespace " + system},
		"not what is over":      {links: []link{given("hotfix")}, after: 4 * time.Hour, err: "hotfix has ended, and nothing of it is held"},
		"not what has reverted": {links: []link{given("hotfix", reverts)}, after: time.Hour, err: "hotfix has ended, and nothing of it is held"},
		"not what was revoked": {
			links: []link{given("hotfix", func(l *link) { l.bg.Spec.Revoked = true })}, err: "what was revoked stays revoked",
		},
		"not what was given up, whatever was removed": {links: []link{given("hotfix", givenUp)}, after: 2 * time.Hour, err: "was given up"},
		"not what was given up":                       {links: []link{given("hotfix", annotated)}, err: "was given up"},
		"not what was never active":                   {links: []link{given("hotfix", unapproved)}, err: "was never active"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := told(tt.links...).Extendable(types.NamespacedName{Namespace: system, Name: "hotfix"}, now.Add(tt.after))
			if tt.err == "" && (err != nil || r.Name != "hotfix") {
				t.Errorf("%+v, %v, want the record", r, err)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestAnExtensionAsksForWhatItExtends(t *testing.T) {
	bg := request("more")
	bg.Spec.Scope, bg.Spec.Extends = nil, "hotfix"
	old := given("hotfix", func(l *link) {
		l.record.Scope = v1alpha1.BreakGlassScope{Namespaces: []string{"shop"}, Operations: []string{"UPDATE"}, Paths: []string{"spec.replicas"}}
	})
	got, err := Ask(bg, system, Sources{Extendable: told(old).Extendable}, now)
	if err != nil || got.Extends != "uid-hotfix" || len(got.Subjects) != 1 || got.Subjects[0].Name != "alice" || len(got.Scope.Paths) != 1 {
		t.Errorf("Ask = %+v, %v", got, err)
	}
	bg.Spec.Extends = "another"
	if _, err := Ask(bg, system, Sources{Extendable: told(old).Extendable}, now); err == nil || !strings.Contains(err.Error(), "spec.extends: there is no BreakGlass another") {
		t.Errorf("extending what is not there: %v", err)
	}
}
