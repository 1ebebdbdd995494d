// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fastjson"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/grant"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
)

// at has the clock say that d has passed since the test began.
func (s *theatre) at(d time.Duration) { s.clock.step.Store(int64(d)) }

func (s *theatre) key(name, want string) {
	s.t.Helper()
	if got := s.configMap(name).Data["key"]; got != want {
		s.t.Fatalf("%s: key = %q, want %q", name, got, want)
	}
}

// goesBack waits until git's value is back.
func (s *theatre) goesBack(name string) {
	s.t.Helper()
	s.await(name+" is as git says", func() bool {
		s.look() // as the manager has it look
		return s.configMap(name).Data["key"] == "one"
	})
}

func TestWhatWasChangedWhileMainstayWasOffStaysUntilGitCanBeRead(t *testing.T) {
	t.Parallel()
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	s.off.set(true)
	s.patch(s.configMap("settings"), "kubectl-edit", `{"data":{"key":"mine"}}`)
	if off := s.look().Status.Off; off == nil || off.Reason != "test" {
		t.Errorf("status.off = %+v, want why and until when", off)
	}
	away := s.repo + ".away"
	must(t, os.Rename(s.repo, away))

	s.at(61 * time.Minute)
	s.fails("RepositoryNotFound")
	const words = "1 object differs from git; changed while mainstay-off was in force: test (it is over; the repository can't be read since "
	s.drifted(v1alpha1.ReasonAwaitingGit, words)
	s.lead() // another leader knows it as well
	s.drifted(v1alpha1.ReasonAwaitingGit, words)
	s.key("settings", "mine")
	must(t, s.loop.sweepOff(t.Context()))
	if _, _, _, ok := s.off.Asked(); !ok {
		t.Fatal("the ConfigMap was removed while something lingers because of it")
	}

	must(t, os.Rename(away, s.repo))
	s.await("it can be read again", func() bool {
		s.loop.pass(s.sync).notBefore = time.Time{}
		return strings.Contains(condition(s.look(), v1alpha1.ConditionDrifted).Message, "git's values come back at ")
	})
	s.at(80 * time.Minute)
	s.lead()
	s.drifted(v1alpha1.ReasonAwaitingGit, "git's values come back at ")
	s.key("settings", "mine")
	s.at(92 * time.Minute)
	s.goesBack("settings")
	s.await("that is recorded", func() bool { return s.recorded.count() > 0 })
	if s.recorded.last().Unattributed {
		t.Error("somebody is answerable for what was changed while mainstay-off was in force")
	}
	s.await("the status says no more of it", func() bool { return s.look().Status.Off == nil })
	must(t, s.loop.sweepOff(t.Context()))
	if _, _, _, ok := s.off.Asked(); ok {
		t.Error("the ConfigMap whose time is over is still there")
	}
}

// suspendedBy suspends the GitSync for two hours, with the record that the request
// would have left.
func (s *theatre) suspendedBy(account string) {
	s.t.Helper()
	gs := s.look()
	now := s.clock.now()
	until := now.Add(2 * time.Hour)
	must(s.t, s.permits.Put(s.t.Context(), permit.Permit{
		UID: gs.UID, ID: ownership.ID{Group: "mainstay.dev", Kind: "GitSync", Namespace: gs.Namespace, Name: gs.Name},
		Path: suspend.Path, Rule: suspend.Rule, Account: account, Decision: "7f3k2", At: now, Until: &until,
	}))
	s.suspended.set(s.sync, suspend.Suspension{By: account, Reason: "INC-4711", Since: now, Until: until})
}

func TestTheEndOfASuspensionIsToldAndSurvivesTheLeader(t *testing.T) {
	t.Parallel()
	s := newTheatre(t)
	s.push("web.yaml", web)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	s.suspendedBy("alice")
	s.patch(s.configMap("settings"), "kubectl-edit", `{"data":{"key":"mine"}}`)
	s.await("the change is seen", func() bool { current, _ := s.drift(); return current == 1 })

	told := func(want int, words string) {
		t.Helper()
		gs := s.look()
		if n := s.recorded.told(words); n != want {
			t.Errorf("it was told %d times: %s; want %d; status %+v", n, words, want, gs.Status.Suspended)
		}
	}
	told(0, "SuspensionEnding")
	s.at(91 * time.Minute)
	told(1, "SuspensionEnding GitSync.mainstay.dev "+s.sync.String()+": the suspension by alice (INC-4711) ends in 2")
	told(1, "then git's values come back: ConfigMap "+s.sync.Namespace+"/settings data.key; put what has to stay into git first")
	if was := s.look().Status.Suspended; was == nil || was.Told == nil || was.Told.Before.Duration != 30*time.Minute {
		t.Errorf("status.suspended = %+v, want what was told", was)
	}
	s.lead()
	s.look()
	told(1, "SuspensionEnding")
	s.at(116 * time.Minute)
	told(2, "SuspensionEnding")

	away := s.repo + ".away"
	must(t, os.Rename(s.repo, away))
	s.at(121 * time.Minute)
	s.fails("RepositoryNotFound")
	s.drifted(v1alpha1.ReasonAwaitingGit, "changed while it was suspended by alice: INC-4711 (it is over; the repository can't be read since ")
	s.loop.sweepPermits(t.Context()) // leaves what the next leader needs
	s.lead()
	s.drifted(v1alpha1.ReasonAwaitingGit, "changed while it was suspended by alice: INC-4711 (it is over")
	s.key("settings", "mine")

	// A status without its record proves nothing.
	for _, p := range s.permits.All() {
		must(t, s.permits.Delete(t.Context(), p))
	}
	s.lead()
	s.await("git's value is back", func() bool { s.look(); return s.configMap("settings").Data["key"] == "one" })
	told(1, "Resumed")
}

func TestASuspensionIsKnownByItsRecord(t *testing.T) {
	at := time.Date(2026, 11, 26, 5, 10, 0, 7, time.UTC)
	record := permit.Permit{UID: "u-1", Rule: suspend.Rule, Account: "alice", At: at, Until: new(at.Add(time.Hour))}
	another := record
	another.Rule = "undeclared.exception"
	status := &v1alpha1.Suspended{By: "mallory", Reason: "INC-1", Since: metav1.NewTime(at.Truncate(time.Second)), Until: metav1.NewTime(at.Add(9 * time.Hour))}
	for name, tt := range map[string]struct {
		record permit.Permit
		status *v1alpha1.Suspended
		value  string
		want   string // the reason; empty: it was not suspended
	}{
		"one that the status tells of":                    {record: record, status: status, want: "INC-1"},
		"one that was never reported, by its annotation":  {record: record, value: "1h INC-2 bad", want: "INC-2 bad"},
		"a record alone may be of what was never written": {record: record},
		"a status without a record":                       {status: status},
		"another record":                                  {record: another, status: status, value: "1h INC-2"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &Loop{Deps: Deps{Permits: records{tt.record}}}
			gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{UID: "u-1"}, Status: v1alpha1.GitSyncStatus{Suspended: tt.status}}
			if tt.value != "" {
				gs.Annotations = map[string]string{v1alpha1.SuspendAnnotation: tt.value}
			}
			got := l.wasSuspended(gs)
			if (got == nil) != (tt.want == "") || got != nil && (got.Reason != tt.want || got.By != "alice" || !got.Until.Equal(at.Add(time.Hour))) {
				t.Errorf("it was %+v, want %q by alice for an hour", got, tt.want)
			}
		})
	}
}

// records are permits that nobody writes.
type records []permit.Permit

func (r records) WrittenFor(types.UID) []permit.Permit { return r }
func (r records) All() []permit.Permit                 { return r }
func (records) Written(types.UID, string, *fastjson.Value) (permit.Permit, bool) {
	return permit.Permit{}, false
}
func (records) WrittenDeletion(ownership.ID) (permit.Permit, bool) { return permit.Permit{}, false }
func (records) Value(*fastjson.Value) string                       { return "" }
func (records) Delete(context.Context, permit.Permit) error        { return nil }

// given are the grants of a real store; nobody has to be told of what is over.
type given struct{ *grant.Store }

func (given) Settled(permit.Permit, string) {}

// nobody is an engine that is told of grants.
type nobody struct{}

func (nobody) SetGrants([]policy.Grant) {}

// successor is the next leader in another process: it knows the records and the
// BreakGlasses that are in the cluster, and nothing else.
func (s *theatre) successor() {
	s.t.Helper()
	kube, err := kubernetes.NewForConfigAndClient(s.deps.Config, s.deps.HTTPClient)
	must(s.t, err)
	dyn, err := dynamic.NewForConfigAndClient(s.deps.Config, s.deps.HTTPClient)
	must(s.t, err)
	s.permits, err = permit.New(permit.Options{Client: kube, Namespace: s.sync.Namespace, Key: s.deps.Key, Clock: s.clock.now})
	must(s.t, err)
	store, err := grant.New(grant.Options{
		Client: kube, Dynamic: dyn, Namespace: s.sync.Namespace, Key: s.deps.Key, Engine: nobody{}, Permits: s.permits, Clock: s.clock.now,
	})
	must(s.t, err)
	index := ownership.NewIndex()
	loader, err := ownership.NewLoader(ownership.LoaderOptions{Reader: s.client, Key: s.deps.Key, Namespace: s.sync.Namespace, Index: index})
	must(s.t, err)
	must(s.t, loader.LoadAll(s.t.Context()))
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{}, 2)
	for _, part := range []interface{ Start(context.Context) error }{s.permits, store} {
		go func() { _ = part.Start(ctx); done <- struct{}{} }()
	}
	s.t.Cleanup(func() { cancel(); <-done; <-done })
	s.await("the records are known", func() bool { return s.permits.Synced() && store.Synced() })
	s.deps.Permits, s.deps.Grants, s.deps.Index = s.permits, given{store}, index
	s.lead()
}

// granted makes a BreakGlass that bob has approved for an hour, and sets data.key
// of a ConfigMap under it, as the requests would have left it. It returns the
// BreakGlass's record.
func (s *theatre) granted(name string, hold time.Duration) {
	s.t.Helper()
	bg := &v1alpha1.BreakGlass{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: name},
		Spec: v1alpha1.BreakGlassSpec{
			RequestedBy: "alice", Reason: "INC-7", Duration: metav1.Duration{Duration: time.Hour}, ApprovedBy: "bob", AtEnd: v1alpha1.AtEndHold,
			Scope: &v1alpha1.BreakGlassScope{Names: []string{name}},
		},
	}
	if hold == 0 {
		bg.Spec.AtEnd = v1alpha1.AtEndRevert
	}
	must(s.t, s.client.Create(s.t.Context(), bg))
	now := s.clock.now()
	record := grant.NewRecord(bg, grant.Asked{Scope: *bg.Spec.Scope, Subjects: []v1alpha1.BreakGlassSubject{{Kind: "User", Name: "alice"}}}, now)
	record.Begin("bob", now, time.Hour, hold)
	must(s.t, s.deps.Grants.(given).Put(s.t.Context(), record))
	cm := s.configMap(name)
	p := permit.Permit{
		UID: cm.UID, ID: ownership.ID{Kind: "ConfigMap", Namespace: cm.Namespace, Name: cm.Name}, Path: "data.key",
		Value: s.permits.Value(fastjson.MustParse(`"two"`)), Rule: "grant." + s.sync.Namespace + "/" + name, Grant: bg.UID,
		Account: "alice", Decision: "7f3k2", At: now, Until: record.ExpiresAt, Held: record.HeldUntil,
	}
	must(s.t, s.permits.Put(s.t.Context(), p))
	s.patch(cm, "kubectl-edit", `{"data":{"key":"two"}}`)
}

// Leaders that die and clocks that are set, in the middle of grants and of what is
// held: no end is lost, and none comes early.
func TestNoEndIsLostAndNoneComesEarly(t *testing.T) {
	t.Parallel()
	s := newTheatre(t)
	for _, name := range []string{"held", "quick"} {
		s.push(name+".yaml", configMap(name, "one"))
	}
	s.synced()
	s.successor()
	s.look()
	s.granted("held", 2*time.Hour)
	s.granted("quick", 0)
	both := func(held, quick string) {
		t.Helper()
		s.loop.guard.again()
		s.look()
		s.key("held", held)
		s.key("quick", quick)
	}
	s.await("both stand", func() bool { _, permitted := s.drift(); return permitted == 2 })

	s.successor()
	s.await("both stand under the next leader", func() bool { _, permitted := s.drift(); return permitted == 2 })
	s.at(59 * time.Minute)
	s.await("a clock that is set is noticed", func() bool { s.look(); return s.clock.now().After(time.Now()) })
	both("two", "two")

	s.depose() // nobody is there when both grants end
	s.at(61 * time.Minute)
	s.successor()
	s.goesBack("quick")
	s.drifted(v1alpha1.ReasonAwaitingGit, "1 object is held as it is", "NS/held data.key, by alice under break-glass NS/held, approved by bob")
	s.key("held", "two")

	s.at(-3 * time.Hour) // long before the grant began
	s.successor()
	s.look()
	s.key("held", "two")
	s.at(179 * time.Minute)
	s.await("it is held again", func() bool {
		return condition(s.look(), v1alpha1.ConditionDrifted).Reason == v1alpha1.ReasonAwaitingGit
	})
	s.key("held", "two")

	s.depose() // nor when holding it ends
	s.at(181 * time.Minute)
	s.successor()
	s.goesBack("held")
	s.drifted("AsGitSays")
}
