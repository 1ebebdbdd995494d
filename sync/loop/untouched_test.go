// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func TestACommitElsewhereRendersNothing(t *testing.T) {
	s := newTheatre(t)
	s.push("apps/shop/kustomization.yaml", "resources: [../../base]\n")
	s.push("base/kustomization.yaml", "resources: [cm.yaml]\n")
	s.push("base/cm.yaml", configMap("settings", "one"))
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "apps/shop" })
	s.synced()
	p := s.loop.pass(s.sync)
	first := p.rendered.commit

	// applied looks once more and wants the newest commit applied, rendered or not.
	applied := func(t *testing.T, rendered bool) {
		t.Helper()
		gs := s.look()
		head := s.head()
		if !strings.HasSuffix(gs.Status.LastAppliedRevision, head) || !strings.HasSuffix(gs.Status.LastAttemptedRevision, head) {
			t.Fatalf("applied is %s, attempted %s, want %s", gs.Status.LastAppliedRevision, gs.Status.LastAttemptedRevision, head)
		}
		if known, _ := s.loop.Index.Sync(s.sync); known.Applied.Commit != head {
			t.Errorf("the inventory has %s, want %s", known.Applied.Commit, head)
		}
		if (p.rendered.commit == head) != rendered {
			t.Errorf("rendered was %s, the commit is %s; want it rendered: %v", p.rendered.commit, head, rendered)
		}
	}
	t.Run("in another folder", func(t *testing.T) {
		s.push("apps/other/cm.yaml", "this is: [no manifest")
		applied(t, false)
		if p.rendered.commit != first {
			t.Errorf("rendered is %s, want %s", p.rendered.commit, first)
		}
	})
	t.Run("and the next one, in a base that it refers to, is rendered", func(t *testing.T) {
		s.push("base/cm.yaml", configMap("settings", "two"))
		applied(t, true)
		content := s.loop.Index.Entries(s.sync)[ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: "settings"}].Applied
		if content == nil || !strings.Contains(string(content.Desired), "two") {
			t.Errorf("settings is not what the base says: %+v", content)
		}
	})
	t.Run("what was asked for is rendered all the same", func(t *testing.T) {
		s.push("apps/other/cm.yaml", "")
		s.edit(func(gs *v1alpha1.GitSync) {
			gs.Annotations = map[string]string{v1alpha1.RequestedAtAnnotation: "now"}
		})
		applied(t, true)
	})
	t.Run("after a commit that failed, too", func(t *testing.T) {
		s.push("base/cm.yaml", "this is: [no manifest")
		s.fails("RenderFailed", "base/cm.yaml")
		s.push("base/cm.yaml", configMap("settings", "two"))
		s.loop.pass(s.sync).notBefore = s.loop.pass(s.sync).notBefore.AddDate(-1, 0, 0)
		applied(t, true)
	})
}
