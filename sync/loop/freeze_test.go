// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
)

// A freeze makes commits wait; what was applied before stays enforced.
func TestAFreezeMakesACommitWait(t *testing.T) {
	s := newTheatre(t)
	engine, ok := s.loop.Policies.(*policy.Engine)
	if !ok {
		t.Fatal("no engine")
	}
	freeze := func(rego string) {
		t.Helper()
		if rego == "" {
			engine.Unload("changepolicy/home/freeze")
			return
		}
		_, err := engine.Load(t.Context(), policy.Source{Key: "changepolicy/home/freeze", Modules: map[string]string{"freeze.rego": "package freeze\n\n" + rego}})
		must(t, err)
	}
	value := func() string { return s.configMap("settings").Data["key"] }
	s.push("settings.yaml", configMap("settings", "old"))
	s.push("other.yaml", configMap("other", "x"))
	s.synced()

	freeze(`deny contains {"reason": "no releases in December", "until": "2099-12-27T00:00:00Z", "next": "ask #release"} if {
	input.origin == "sync"
	input.actor.serviceAccount.name == "mainstay"
	some change in input.changes
	change.path == "data.key"
	change.from == "old"
	change.to == "new"
	input.object.data.key == "new"
	input.oldObject.data.key == "old"
	input.namespaceObject.labels["kubernetes.io/metadata.name"] == input.namespace
	input.source.path == "settings.yaml"
}

deny contains {"reason": "nothing leaves"} if input.operation == "DELETE"

deny contains {"reason": "nothing is added"} if input.operation == "CREATE"`)

	s.push("settings.yaml", configMap("settings", "new"))
	s.fails("Frozen", "no releases in December (freeze.deny), until 2099-12-27T00:00:00Z; ask #release: settings.yaml:1: ConfigMap NS/settings",
		"stays enforced", "breakglass request --operation SYNC")
	if got := value(); got != "old" {
		t.Errorf("the commit went through: %q", got)
	}
	if n := s.events("Frozen", "no releases in December"); n != 1 {
		t.Errorf("%d Events", n)
	}
	t.Run("the applied revision stays enforced", func(t *testing.T) {
		must(t, s.loop.watcher.Synced(t.Context()))
		s.patch(s.configMap("settings"), "kubectl-edit", `{"data":{"key":"by hand"}}`)
		s.await("git's value is back", func() bool { return value() == "old" })
	})
	t.Run("what is said once is not said again", func(*testing.T) {
		s.fails("Frozen")
		if n := s.events("Frozen", ""); n != 0 {
			t.Errorf("%d more Events", n)
		}
	})
	t.Run("an object in the commit that adds or removes waits, too", func(*testing.T) {
		s.push("new.yaml", configMap("new", "x"))
		s.push("other.yaml", "")
		s.fails("Frozen", "nothing leaves", "nothing is added", "3 of 3 changes wait")
		if err := s.get("new", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
			t.Errorf("it was made: %v", err)
		}
		s.configMap("other")
	})
	t.Run("a grant lets it through", func(t *testing.T) {
		engine.SetGrants([]policy.Grant{{
			Namespace: s.sync.Namespace, Name: "bg", Requester: "alice", Approver: "bo", Reason: "hotfix",
			Scope:     v1alpha1.BreakGlassScope{Operations: []string{"SYNC"}, Namespaces: []string{s.sync.Namespace}},
			ExpiresAt: time.Now().Add(time.Hour),
		}})
		if keys := s.loop.thaw(); len(keys) != 1 || keys[0] != s.sync {
			t.Errorf("to look at again: %v", keys)
		}
		s.synced()
		if got := value(); got != "new" {
			t.Errorf("value %q", got)
		}
		engine.SetGrants(nil)
		if keys := s.loop.thaw(); len(keys) != 0 {
			t.Errorf("to look at again: %v", keys)
		}
	})
	t.Run("a rule that can't be judged makes it wait, and undoes nothing", func(*testing.T) {
		freeze(`deny contains {"reason": "r"} if to_number(input.name) == 1`)
		s.push("settings.yaml", configMap("settings", "newer"))
		s.fails("Frozen", "a deny rule could not be judged")
		if got := value(); got != "new" {
			t.Errorf("value %q", got)
		}
	})
	t.Run("the end of the freeze", func(*testing.T) {
		freeze("")
		s.loop.thaw()
		s.synced()
		if got := value(); got != "newer" {
			t.Errorf("value %q", got)
		}
	})
	t.Run("a freeze of the repository's own is lifted by a commit", func(*testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Policies.Paths = []string{"policies"} })
		s.push("policies/freeze/freeze.rego", "package freeze\n\ndeny contains {\"reason\": \"own\"} if input.origin == \"sync\"\n")
		s.synced() // nothing changes but policies
		s.push("settings.yaml", configMap("settings", "newest"))
		s.fails("Frozen", "own")
		s.push("policies/freeze/freeze.rego", "# Lifted.\n")
		s.retried()
		if got := value(); got != "newest" {
			t.Errorf("value %q", got)
		}
	})
	t.Run("in mode Audit it is recorded, and the commit goes through", func(*testing.T) {
		freeze(`deny contains {"reason": "frozen"} if input.origin == "sync"`)
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Enforcement.Mode = v1alpha1.ModeAudit })
		s.push("settings.yaml", configMap("settings", "audited"))
		s.synced()
		if got := value(); got != "audited" {
			t.Errorf("value %q", got)
		}
	})
}

// retried syncs without the wait that follows a commit which does not go through.
func (s *theatre) retried() {
	s.t.Helper()
	s.loop.pass(s.sync).notBefore = time.Time{}
	s.synced()
}

func TestWhenAFrozenCommitIsAskedAboutAgain(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *time.Time { t := now.Add(d); return &t }
	changed := make(chan struct{})
	close(changed)
	for name, tt := range map[string]struct {
		w        withheld
		interval time.Duration
		want     time.Duration
	}{
		"with the interval":                   {withheld{}, 30 * time.Second, 30 * time.Second},
		"at least once a minute":              {withheld{}, time.Hour, maxBackoff},
		"at the end that the rule gives":      {withheld{until: at(5 * time.Second)}, time.Minute, 5 * time.Second},
		"at once where that is over":          {withheld{until: at(-time.Second)}, time.Minute, time.Millisecond},
		"soon where policies changed by then": {withheld{changed: changed}, time.Minute, time.Second},
	} {
		if got := tt.w.next(now, tt.interval); got != tt.want {
			t.Errorf("%s: after %s, want %s", name, got, tt.want)
		}
	}
}

func TestACommitIsNotJudgedByTheFreezeThatItLifts(t *testing.T) {
	s := newTheatre(t)
	engine, ok := s.loop.Policies.(*policy.Engine)
	if !ok {
		t.Fatal("no engine")
	}
	policyOf := func(rego string) string {
		return "apiVersion: mainstay.dev/v1alpha1\nkind: ChangePolicy\nmetadata: {name: freeze, namespace: NS}\nspec:\n  modules:\n    freeze.rego: " + rego + "\n"
	}
	s.push("freeze.yaml", policyOf("'package freeze # 1'"))
	s.push("settings.yaml", configMap("settings", "old"))
	s.synced()
	_, err := engine.Load(t.Context(), policy.Source{
		Key:     "changepolicy/" + s.sync.Namespace + "/freeze",
		Modules: map[string]string{"freeze.rego": "package freeze\n\ndeny contains {\"reason\": \"frozen\"}"},
	})
	must(t, err)
	s.push("settings.yaml", configMap("settings", "new"))
	s.fails("Frozen", "frozen")
	s.push("freeze.yaml", policyOf("'package freeze # 2'"))
	s.retried()
	if got := s.configMap("settings").Data["key"]; got != "new" {
		t.Errorf("value %q", got)
	}
	var cp v1alpha1.ChangePolicy
	must(t, s.get("freeze", &cp))
	if !strings.Contains(cp.Spec.Modules["freeze.rego"], "# 2") {
		t.Errorf("modules %v", cp.Spec.Modules)
	}
}
