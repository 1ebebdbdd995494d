// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
)

// fakeSuspensions remembers what the handler asks for; carol alone may suspend.
type fakeSuspensions struct {
	inForce map[types.NamespacedName]suspend.Suspension
	begun   []suspend.Asked
	ended   []types.UID
	err     error
}

func newSuspensions(syncs ...types.NamespacedName) *fakeSuspensions {
	f := &fakeSuspensions{inForce: map[types.NamespacedName]suspend.Suspension{}}
	for _, sync := range syncs {
		f.inForce[sync] = suspend.Suspension{By: "carol", Reason: "INC-4711", Since: clock, Until: clock.Add(time.Hour)}
	}
	return f
}

func (f *fakeSuspensions) wire(o *Options) {
	o.Suspensions = f
	o.MaySuspend = func(_ context.Context, user *policy.User, _, _ string) (bool, error) {
		return user.Username == "carol" || user.Username == "alice", nil
	}
}

func (f *fakeSuspensions) State(sync types.NamespacedName, now time.Time) (suspend.Suspension, bool) {
	s, ok := f.inForce[sync]
	return s, ok && now.Before(s.Until)
}

func (f *fakeSuspensions) Begin(_ context.Context, a suspend.Asked) (suspend.Suspension, error) {
	f.begun = append(f.begun, a)
	return suspend.Suspension{By: a.By, Reason: "why", Since: a.At, Until: a.At.Add(time.Hour)}, f.err
}

func (f *fakeSuspensions) End(_ context.Context, _ types.NamespacedName, uid types.UID) error {
	f.ended = append(f.ended, uid)
	return f.err
}

func (f *fakeSuspensions) Max() time.Duration { return 24 * time.Hour }

func TestHandlerAsksWhoeverSuspends(t *testing.T) {
	with := func(value string) map[string]any {
		return gitSync("shop", set(value, "metadata", "annotations", v1alpha1.SuspendAnnotation))
	}
	without := gitSync("shop")
	dry := func(a asked) asked { a.dryRun = true; return a }
	update := func(old, updated map[string]any) asked { return onGitSync("UPDATE", ownSpace, old, updated) }
	for name, test := range map[string]struct {
		asked   asked
		inForce bool
		options func(*Options)
		fails   error
		allowed bool
		code    int32
		message string
		begun   string // the value
		ended   bool
		warning string
	}{
		"somebody with the verb": {
			asked: update(without, with("1h INC-4711 bad rollout")), allowed: true, begun: "1h INC-4711 bad rollout",
			warning: "GitSync shop is suspended until 2026-11-23T13:00:00Z",
		},
		"somebody without it": {asked: as("bob", update(without, with("1h INC-4711"))), code: 403, message: `the verb suspend on gitsyncs.mainstay.dev in namespace mainstay-system, which "bob" does not have`},
		"an answer that is an error": {asked: update(without, with("1h x")), options: func(o *Options) {
			o.MaySuspend = func(context.Context, *policy.User, string, string) (bool, error) { return true, errors.New("down") }
		}, code: 503, message: "could not ask"},
		"nobody to ask":                    {asked: update(without, with("1h x")), options: func(o *Options) { o.MaySuspend = nil }, code: 403, message: "the verb suspend"},
		"a replica that can't remember":    {asked: update(without, with("1h x")), fails: errors.New("down"), code: 503, message: "could not record", begun: "1h x"},
		"a replica without suspensions":    {asked: update(without, with("1h x")), options: func(o *Options) { o.Suspensions = nil }, code: 403, message: "knows no suspensions"},
		"no reason":                        {asked: update(without, with("1h")), code: 403, message: "a reason has to follow"},
		"no duration":                      {asked: update(without, with("INC-4711 bad rollout")), code: 403, message: `"INC-4711" is no duration`},
		"a day in words":                   {asked: update(without, with("1d INC-4711")), code: 403, message: `"1d" is no duration`},
		"nothing at all":                   {asked: update(without, with("")), code: 403, message: suspend.Example},
		"no time":                          {asked: update(without, with("0s why")), code: 403, message: "more than zero"},
		"a time that was":                  {asked: update(without, with("-1h why")), code: 403, message: "more than zero"},
		"more than the longest":            {asked: update(without, with("25h why")), code: 403, message: "at most 24h0m0s"},
		"the longest":                      {asked: update(without, with("24h why")), allowed: true, begun: "24h why", warning: "suspended"},
		"another line in the reason":       {asked: update(without, with("1h why\nnot")), code: 403, message: "one line"},
		"another value":                    {asked: update(with("1h why"), with("2h why")), inForce: true, allowed: true, begun: "2h why", warning: "suspended"},
		"another value without the verb":   {asked: as("bob", update(with("1h why"), with("2h why"))), inForce: true, code: 403, message: "the verb suspend"},
		"the same value, something else":   {asked: as("bob", update(with("1h why"), gitSync("shop", set("1h why", "metadata", "annotations", v1alpha1.SuspendAnnotation), set("#x", "spec", "contact")))), inForce: true, allowed: true},
		"the end before its time":          {asked: update(with("1h why"), without), inForce: true, allowed: true, ended: true},
		"the end without the verb":         {asked: as("bob", update(with("1h why"), without)), inForce: true, code: 403, message: "the verb suspend"},
		"the end of what never counted":    {asked: as("bob", update(with("1h forged"), without)), allowed: true},
		"an end that can't be remembered":  {asked: update(with("1h why"), without), inForce: true, fails: errors.New("down"), code: 503, message: "could not record", ended: true},
		"a dry run":                        {asked: dry(update(without, with("1h why"))), allowed: true},
		"a dry run without the verb":       {asked: dry(as("bob", update(without, with("1h why")))), code: 403, message: "the verb suspend"},
		"a dry run of the end":             {asked: dry(update(with("1h why"), without)), inForce: true, allowed: true},
		"a GitSync that is new":            {asked: onGitSync("CREATE", ownSpace, nil, with("1h why")), code: 403, message: "can't be created suspended"},
		"Mainstay's own account, from git": {asked: as(syncAccount, update(without, with("1h why"))), code: 403, message: "git can't carry a suspension"},
		"a suspended GitSync is deleted":   {asked: as("bob", onGitSync("DELETE", ownSpace, with("1h why"), nil)), inForce: true, allowed: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuspensions()
			if test.inForce {
				s = newSuspensions(shop)
			}
			s.err = test.fails
			edits := []func(*Options){s.wire}
			if test.options != nil {
				edits = append(edits, test.options)
			}
			f := newFixture(t, index(t, v1alpha1.ModeEnforce), edits...)
			got := f.send(t, test.asked)
			if got.Allowed != test.allowed {
				t.Fatalf("allowed = %v, want %v: %+v", got.Allowed, test.allowed, got.Result)
			}
			if !test.allowed && (got.Result.Code != test.code || !strings.Contains(got.Result.Message, test.message)) {
				t.Errorf("refused with %d %q, want %d %q", got.Result.Code, got.Result.Message, test.code, test.message)
			}
			if warnings := strings.Join(got.Warnings, "\n"); !strings.Contains(warnings, test.warning) || (test.warning == "") != (warnings == "") {
				t.Errorf("warnings %q, want %q", warnings, test.warning)
			}
			switch {
			case test.begun == "" && len(s.begun) > 0, test.begun != "" && (len(s.begun) != 1 || s.begun[0].Value != test.begun):
				t.Errorf("begun %+v, want %q", s.begun, test.begun)
			case test.begun != "":
				a := s.begun[0]
				if a.UID != "u-sync" || a.Sync != shop || a.By != "alice" || !a.At.Equal(clock) || a.Decision == "" {
					t.Errorf("begun %+v", a)
				}
			}
			if test.ended != (len(s.ended) == 1) {
				t.Errorf("ended %v", s.ended)
			}
			if test.allowed && (test.begun != "" || test.ended) && (len(f.recorder.decisions) != 1 || f.recorder.decisions[0].Class != policy.RuleSuspended) {
				t.Errorf("recorded %+v", f.recorder.decisions)
			}
		})
	}
}

func TestHandlerPermitsWhileAGitSyncIsSuspended(t *testing.T) {
	old := "v1beta1"
	otherVersion := deployment("UPDATE", live(t), live(t, image("nginx:1.28")))
	otherVersion.kind.Version = old
	for name, test := range map[string]struct {
		asked  asked
		silent bool
	}{
		"a declared field is changed":         {deployment("UPDATE", live(t), live(t, image("nginx:1.28"))), false},
		"the object is deleted":               {deployment("DELETE", live(t), nil), false},
		"its managed fields are wiped":        {deployment("UPDATE", live(t), live(t, set([]any{}, "metadata", "managedFields"))), false},
		"its namespace is deleted":            {own("DELETE", "", "Namespace", "namespaces", "shop", object("shop"), nil), false},
		"a review in another version":         {otherVersion, true},
		"what git says is no matter of it":    {deployment("UPDATE", live(t, image("nginx:1.28")), live(t)), true},
		"a label that no record fits, either": {deployment("UPDATE", live(t, set("new", "metadata", "name"), fitting("new")), live(t, set("new", "metadata", "name"))), true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, index(t, v1alpha1.ModeEnforce), newSuspensions(shop).wire)
			got := f.send(t, test.asked)
			if !got.Allowed {
				t.Fatalf("refused: %+v", got.Result)
			}
			if f.judge.asked > 0 || f.permits.kept > 0 {
				t.Errorf("policies were asked %d times, %d permits kept", f.judge.asked, f.permits.kept)
			}
			if test.silent {
				return
			}
			if len(f.recorder.decisions) != 1 || f.recorder.decisions[0].Class != policy.RuleSuspended ||
				!strings.Contains(f.recorder.decisions[0].Reason, "GitSync shop is suspended until 13:00 UTC by carol: INC-4711") {
				t.Errorf("recorded %+v", f.recorder.decisions)
			}
			if len(got.Warnings) != 1 || utf8.RuneCountInString(got.Warnings[0]) > 120 || !strings.Contains(got.Warnings[0], "GitSync shop is suspended until 13:00 UTC by carol") {
				t.Errorf("warnings %q", got.Warnings)
			}
		})
	}
	t.Run("another GitSync is not", func(t *testing.T) {
		f := newFixture(t, index(t, v1alpha1.ModeEnforce), newSuspensions(types.NamespacedName{Namespace: ownSpace, Name: "till"}).wire)
		if f.send(t, deployment("UPDATE", live(t), live(t, image("nginx:1.28")))).Allowed {
			t.Error("permitted")
		}
	})
	t.Run("mainstay-off comes first", func(t *testing.T) {
		f := newFixture(t, index(t, v1alpha1.ModeEnforce), newSuspensions(shop).wire, func(o *Options) { o.Off = offSwitch(true) })
		f.send(t, deployment("UPDATE", live(t), live(t, image("nginx:1.28"))))
		if len(f.recorder.decisions) != 1 || f.recorder.decisions[0].Class != policy.RuleOff {
			t.Errorf("recorded %+v", f.recorder.decisions)
		}
	})
}

// fitting gives an object the label that fits it.
func fitting(name string) func(map[string]any) {
	id := web
	id.Name = name
	return set(labelOf(id), "metadata", "labels", v1alpha1.SyncLabel)
}
