// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/grant"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
)

func TestNothingThatHasEndedGoesBackWhileGitCannotBeRead(t *testing.T) {
	end := time.Date(2026, 11, 26, 5, 10, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return end.Add(time.Duration(minutes) * time.Minute) }
	for name, tt := range map[string]struct {
		reach *reach
		now   time.Time
		why   string // empty: it goes back
		again time.Time
		look  bool
	}{
		"a repository that was read after the end":  {reach: &reach{looked: at(1)}, now: at(1)},
		"one that was read before it is read again": {reach: &reach{looked: at(-1)}, now: at(0), why: "is looked at first", again: at(0).Add(untilLooked), look: true},
		"one that was never read":                   {reach: &reach{}, now: at(0), why: "is looked at first", again: at(0).Add(untilLooked), look: true},
		"one that can't be read": {
			reach: &reach{looked: at(-20), lost: at(-10)}, now: at(600), why: "can't be read since 05:00 UTC", again: at(600).Add(whileLost),
		},
		"one that is lost after the end, before anything went back": {
			reach: &reach{looked: at(-1), lost: at(1)}, now: at(2), why: "can't be read since 05:11 UTC", again: at(2).Add(whileLost),
		},
		"one that is back":                  {reach: &reach{looked: at(9), back: at(5)}, now: at(10), why: "come back at 05:45 UTC", again: at(35)},
		"one that is back for half an hour": {reach: &reach{looked: at(34), back: at(5)}, now: at(35)},
		"a clock that goes back waits":      {reach: &reach{looked: at(34), back: at(5)}, now: at(-10), why: "come back at 05:45 UTC", again: at(35)},
	} {
		t.Run(name, func(t *testing.T) {
			why, again, look := tt.reach.quiet(end, tt.now, 30*time.Minute)
			if (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) || !again.Equal(tt.again) || look != tt.look {
				t.Errorf("quiet = %q, %v, %t", why, again, look)
			}
		})
	}
}

func TestTheNextLeaderKnowsWhatCouldNotBeRead(t *testing.T) {
	now := time.Date(2026, 11, 26, 5, 10, 0, 0, time.UTC)
	var status v1alpha1.GitSyncStatus
	var before, next reach
	before.failed(now)
	before.failed(now.Add(time.Minute))
	before.describe(&status, now.Add(time.Minute), 30*time.Minute)
	next.remember(&status, nil, nil)
	if !next.lost.Equal(now) {
		t.Errorf("lost at %v, want %v", next.lost, now)
	}
	if !next.read(now.Add(time.Hour), now.Add(time.Hour)) || next.read(now.Add(time.Hour), now.Add(time.Hour)) {
		t.Error("that it is back is news once")
	}
	next.describe(&status, now.Add(80*time.Minute), 30*time.Minute)
	if s := status.Repository; s == nil || s.LostAt != nil || s.BackAt == nil {
		t.Errorf("status %+v, want when it was back", s)
	}
	var third reach
	third.remember(&status, nil, nil)
	if why, _, _ := third.quiet(now, now.Add(80*time.Minute), 30*time.Minute); !strings.Contains(why, "come back at 06:40 UTC") {
		t.Errorf("the third leader: %q", why)
	}
	next.describe(&status, now.Add(100*time.Minute), 30*time.Minute)
	if status.Repository != nil {
		t.Errorf("status %+v long after, want none", status.Repository)
	}
}

// given sets data.key of a ConfigMap to two, with the permit that a grant's
// request would have written.
func (s *theatre) given(name string) {
	const value = "two"
	s.t.Helper()
	cm := s.configMap(name)
	must(s.t, s.permits.Put(s.t.Context(), permit.Permit{
		UID: cm.UID, ID: ownership.ID{Kind: "ConfigMap", Namespace: cm.Namespace, Name: cm.Name}, Path: "data.key",
		Value: s.permits.Value(fastjson.MustParse(fmt.Sprintf("%q", value))), Rule: "grant.mainstay-system/hotfix", Grant: "u-1",
		Account: "alice", Decision: "7f3k2", At: time.Now(), Until: new(time.Now().Add(time.Hour)),
	}))
	s.patch(cm, "kubectl-edit", fmt.Sprintf(`{"data":{"key":%q}}`, value))
}

// fate is what becomes of what a grant permitted that ends in ahead from now.
func (s *theatre) fate(f grant.Fate, ahead time.Duration) {
	until := time.Now().Add(time.Hour)
	s.grants.set(grant.Outcome{
		Fate: f, At: new(s.clock.now().Add(ahead)), Until: &until, Grant: "mainstay-system/hotfix", Requester: "alice", Approver: "bob",
	})
}

func (s *theatre) drifted(reason string, words ...string) {
	s.t.Helper()
	var c metav1.Condition
	defer func() {
		if s.t.Failed() {
			s.t.Logf("Drifted was %+v", c)
		}
	}()
	s.await("Drifted is "+reason, func() bool {
		c = condition(s.look(), v1alpha1.ConditionDrifted)
		return c.Reason == reason
	})
	for _, w := range words {
		if !strings.Contains(c.Message, strings.ReplaceAll(w, "NS", s.sync.Namespace)) {
			s.t.Errorf("it says %q, want %q", c.Message, w)
		}
	}
}

func TestWhatAGrantPermittedIsHeldUntilGitSaysTheSame(t *testing.T) {
	t.Parallel()
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.push("other.yaml", configMap("other", "one"))
	s.synced()
	s.fate(grant.Stands, 0)
	s.given("settings")
	s.given("other")
	s.drifted("AsGitSays")

	s.fate(grant.Held, 0)
	s.drifted(v1alpha1.ReasonAwaitingGit, "2 objects are held as they are until git says the same",
		"ConfigMap NS/settings data.key, by alice under break-glass mainstay-system/hotfix, approved by bob, until ")
	s.push("cm.yaml", strings.Replace(configMap("settings", "one"), "\ndata: {", "\ndata: {more: git's, ", 1))
	s.synced()
	if got := s.configMap("settings").Data; got["key"] != "two" || got["more"] != "git's" {
		t.Errorf("a commit beside it leaves %v", got)
	}

	s.push("cm.yaml", configMap("settings", "two"))
	s.synced()
	s.await("git has adopted it", func() bool { return cmp.Equal(s.grants.said(), []string{"data.key " + v1alpha1.SettledInGit}) })
	s.drifted(v1alpha1.ReasonAwaitingGit, "1 object is held", "NS/other")
	s.await("its permit is gone", func() bool { return len(s.permits.All()) == 1 })

	s.fate(grant.Undone, 0)
	s.await("what was given up has gone back", func() bool { return s.configMap("other").Data["key"] == "one" })
	s.drifted("AsGitSays")
	s.await("its permit is gone", func() bool { return len(s.permits.All()) == 0 })
	if got := s.grants.said(); len(got) != 2 || got[1] != "data.key "+v1alpha1.SettledReverted {
		t.Errorf("settled %q", got)
	}
}

func TestWhatAGrantPermittedIsForThatObjectAlone(t *testing.T) {
	t.Parallel()
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	s.fate(grant.Held, 0)
	s.given("settings")
	s.drifted(v1alpha1.ReasonAwaitingGit)

	old := s.configMap("settings")
	must(t, s.client.Delete(t.Context(), old))
	s.await("another one is there, as git says", func() bool {
		cm := new(corev1.ConfigMap)
		return s.get("settings", cm) == nil && cm.UID != old.UID && cm.Data["key"] == "one"
	})
	s.patch(s.configMap("settings"), "kubectl-edit", `{"data":{"key":"two"}}`)
	s.await("the value that was held is not for this one", func() bool { return s.configMap("settings").Data["key"] == "one" })
	s.drifted("AsGitSays")

	s.loop.sweepPermits(t.Context())
	if n := len(s.permits.All()); n != 1 {
		t.Errorf("%d permits are left: a request may be on its way with it", n)
	}
	s.clock.step.Store(int64(inFlight + time.Second))
	s.loop.sweepPermits(t.Context())
	if n := len(s.permits.All()); n != 0 || !cmp.Equal(s.grants.said(), []string{"data.key " + v1alpha1.SettledReverted}) {
		t.Errorf("%d permits are left, settled %q", n, s.grants.said())
	}
}

func TestAGrantThatIsRevokedAheadOfItsEndGoesBackAtOnce(t *testing.T) {
	t.Parallel()
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	s.fate(grant.Stands, time.Hour)
	s.given("settings")
	s.drifted("AsGitSays")
	s.fate(grant.Ended, time.Hour)
	s.await("git's value is back", func() bool { return s.configMap("settings").Data["key"] == "one" })
}

func TestAnEndPutsNothingBackWhileGitCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.push("other.yaml", configMap("other", "one"))
	s.synced()
	s.fate(grant.Stands, 0)
	s.given("settings")
	moved := s.repo + ".away"
	must(t, os.Rename(s.repo, moved))
	s.fails("RepositoryNotFound")

	s.fate(grant.Ended, 0)
	s.drifted(v1alpha1.ReasonAwaitingGit, "ConfigMap NS/settings data.key", "it is over; the repository can't be read since ")
	must(t, os.Rename(moved, s.repo))
	s.await("it can be read again", func() bool {
		s.loop.pass(s.sync).notBefore = time.Time{}
		c := condition(s.look(), v1alpha1.ConditionDrifted)
		return c.Reason == v1alpha1.ReasonAwaitingGit && strings.Contains(c.Message, "the repository can be read again; git's values come back at ")
	})
	if at := s.look().Status.Repository; at == nil || at.BackAt == nil {
		t.Errorf("status.repository %+v", at)
	}
	if got := s.configMap("settings").Data["key"]; got != "two" {
		t.Fatalf("it went back to %q", got)
	}

	s.suspended.set(s.sync, suspend.Suspension{By: "alice", Reason: "INC-4711", Since: s.clock.now(), Until: s.clock.now().Add(time.Second)})
	s.patch(s.configMap("other"), "kubectl-edit", `{"data":{"key":"mine"}}`)
	s.await("it has ended", func() bool { _, ok := s.loop.suspended(s.sync); return !ok })
	s.loop.guard.again()
	s.look()
	if got := s.configMap("other").Data["key"]; got != "mine" {
		t.Errorf("what was changed during a suspension went back to %q", got)
	}

	s.clock.step.Store(int64(31 * time.Minute)) // which nobody but the clock tells
	s.look()
	s.await("it goes back half an hour later", func() bool {
		s.look()
		return s.configMap("settings").Data["key"] == "one" && s.configMap("other").Data["key"] == "one"
	})
}

func TestAnEndIsFoundByAClockThatIsSet(t *testing.T) {
	t.Parallel()
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	cm := s.configMap("settings")
	must(t, s.permits.Put(t.Context(), permit.Permit{
		UID: cm.UID, ID: ownership.ID{Kind: "ConfigMap", Namespace: cm.Namespace, Name: cm.Name}, Path: "data.key",
		Value: s.permits.Value(fastjson.MustParse(`"two"`)), Rule: "undeclared.exception", At: time.Now(), Until: new(time.Now().Add(time.Hour)),
	}))
	s.clock.step.Store(-int64(time.Hour))
	s.patch(cm, "kubectl-edit", `{"data":{"key":"two"}}`)
	s.await("it is permitted", func() bool { _, permitted := s.drift(); return permitted == 1 })
	s.clock.step.Store(int64(59 * time.Minute))
	time.Sleep(2 * clockTick)
	if got := s.configMap("settings").Data["key"]; got != "two" {
		t.Fatalf("it has ended a minute early: %q", got)
	}
	s.clock.step.Store(int64(61 * time.Minute))
	s.await("its end is found", func() bool {
		s.look()
		return s.configMap("settings").Data["key"] == "one"
	})
}
