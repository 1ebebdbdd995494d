// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// A team that declares a name first must not keep the platform's commits out.
func TestThePlatformComesBeforeATenant(t *testing.T) {
	s := newTheatre(t)
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "platform" })
	s.push("platform/cm.yaml", configMap("own", "one"))
	s.synced()
	team := s.tenant("team")
	team.account("create", "patch", "delete")
	team.edit(func(gs *v1alpha1.GitSync) { gs.Spec.ServiceAccountName = "deployer" })
	team.push("team/cm.yaml", configMap("settings", "team"))
	team.ready()
	uid := team.configMap("settings").UID
	holds := func(want *theatre, key string) {
		t.Helper()
		cm := team.configMap("settings")
		id := ownership.ID{Kind: "ConfigMap", Namespace: team.sync.Namespace, Name: "settings"}
		r, ok := s.loop.Index.Lookup(id)
		if !ok || r.Sync.Key() != want.sync || r.Applied == nil || cm.UID != uid || cm.Data["key"] != key ||
			cm.Labels[v1alpha1.SyncLabel] != ownership.LabelValue(want.sync, id) {
			t.Errorf("record = %+v, labels = %v, data = %v; want those of %s", r, cm.Labels, cm.Data, want.sync)
		}
	}

	team.push("platform/settings.yaml", configMap("settings", "platform")) // of its namespace
	t.Run("but waits until the tenant's sync is over", func(*testing.T) {
		s.loop.pass(team.sync).mu.Lock()
		defer s.loop.pass(team.sync).mu.Unlock()
		s.fails("MovePending", "ConfigMap "+team.sync.Namespace+"/settings", "GitSync "+team.sync.String())
		holds(team, "team")
	})
	s.loop.pass(s.sync).notBefore = metav1.Time{}.Time
	s.synced()
	holds(s, "platform")
	t.Run("the tenant is told, by a new leader as well", func(*testing.T) {
		for range 2 {
			team.fails("Conflict", "team/cm.yaml:1", "GitSync "+s.sync.String()+" at platform/settings.yaml:1")
			s.loop.forget(team.sync)
		}
		holds(s, "platform")
	})
	t.Run("and has it back when the platform drops it", func(*testing.T) {
		s.push("platform/settings.yaml", "")
		s.synced()
		s.loop.pass(team.sync).notBefore = metav1.Time{}.Time
		team.ready()
		holds(team, "team")
	})
}
