// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

func TestACommitDoesNotLockItsOwnGitSyncOut(t *testing.T) {
	s := newTheatre(t)
	declare := func(ref, path string) {
		t.Helper()
		s.push("sync.yaml", fmt.Sprintf(`apiVersion: mainstay.dev/v1alpha1
kind: GitSync
metadata: {name: shop, namespace: NS}
spec:
  source: {url: "file://%s", ref: {branch: %s}, path: %s}
  health: Ignore
  adopt: Force
  enforcement: {mode: Enforce}
`, s.repo, ref, path))
	}
	follows := func(ref, path string) {
		t.Helper()
		if source := s.look().Spec.Source; source.Ref.Branch != ref || source.Path != path {
			t.Errorf("it follows %s, %s; want %s, %s", source.Ref.Branch, source.Path, ref, path)
		}
	}
	s.push("more/cm.yaml", configMap("more", "one"))
	declare("main", ".")
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Adopt = v1alpha1.AdoptForce })
	s.synced()
	for name, tt := range map[string]struct{ ref, path, reason, says string }{
		"a branch that does not exist": {"mian", ".", "RefNotFound", `branch "mian" does not exist`},
		"a folder that does not exist": {"main", "moer", "PathNotFound", "moer"},
	} {
		t.Run(name+" is not followed, and git revert mends it", func(t *testing.T) {
			declare(tt.ref, tt.path)
			s.push("cm.yaml", configMap("settings", tt.ref+tt.path))
			s.fails(tt.reason, "sync.yaml:1: this GitSync would follow what can't be read", tt.says, "nothing of the commit is applied",
				"mainstay.dev/confirm="+s.head())
			follows("main", ".")
			if s.held("settings") {
				t.Error("a part of the commit is applied")
			}
			s.push("cm.yaml", "")
			declare("main", ".")
			s.loop.pass(s.sync).notBefore = s.loop.pass(s.sync).notBefore.AddDate(-1, 0, 0)
			s.synced()
		})
	}
	t.Run("what can be read is followed", func(*testing.T) {
		declare("next", ".")
		s.git("branch", "next")
		s.look()
		follows("next", ".")
	})
}

func TestWhoMeansItMayHaveAGitSyncFollowWhatCantBeReadYet(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Adopt = v1alpha1.AdoptForce })
	s.synced()
	s.push("sync.yaml", fmt.Sprintf(`apiVersion: mainstay.dev/v1alpha1
kind: GitSync
metadata: {name: shop, namespace: NS}
spec:
  source: {url: "file://%s", ref: {branch: later}, path: .}
  health: Ignore
  adopt: Force
  enforcement: {mode: Enforce}
`, s.repo))
	s.fails("RefNotFound", "sync.yaml:1")
	s.edit(func(gs *v1alpha1.GitSync) {
		gs.Annotations = map[string]string{v1alpha1.ConfirmAnnotation: s.head()}
	})
	s.look()
	if branch := s.look().Spec.Source.Ref.Branch; branch != "later" {
		t.Errorf("it follows %s, want what was confirmed", branch)
	}
}

func TestACommitDoesNotHaveItsTenantReadTheControllersDisk(t *testing.T) {
	s := newTheatre(t)
	s.loop.o.Namespace, s.loop.o.TenantFileSources = "mainstay-elsewhere", false
	gs := s.look()
	gs.Spec.Source.URL = "file:///var/lib/git/shop.git"
	f, ok := errors.AsType[*failure](s.loop.readable(t.Context(), gs))
	if !ok || f.reason != "SourceNotAllowed" {
		t.Errorf("got %v, want it refused before anything is read", f)
	}
}
