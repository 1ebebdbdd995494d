// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

func TestAnOlderCommitNamesNoneOfWhatCameAfterIt(t *testing.T) {
	s := newTheatre(t)
	// brought is the commit that a refusal would name for an object.
	brought := func(name string) string {
		t.Helper()
		s.synced()
		return s.loop.Index.Entries(s.sync)[ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: name}].Applied.Revision.Commit
	}
	at := func(hour string) { t.Setenv("GIT_COMMITTER_DATE", "2026-01-01T"+hour+":00:00Z") }
	pin := func(commit string) {
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Ref = v1alpha1.Ref{Commit: commit} })
	}
	at("01")
	s.push("settings.yaml", configMap("settings", "one"))
	first := s.head()
	brought("settings")
	at("02")
	s.push("settings.yaml", configMap("settings", "two"))
	brought("settings")
	at("03")
	s.git("revert", "--no-edit", "HEAD")
	reverted := s.head()
	if got := brought("settings"); got != reverted {
		t.Errorf("it came with %s, want the revert, %s", got, reverted)
	}
	pin(first)
	if got := brought("settings"); got != first {
		t.Errorf("with the first commit pinned, which says the same, it came with %s, want %s", got, first)
	}

	at("04")
	s.push("other.yaml", configMap("other", "one"))
	pin(s.head())
	if got := brought("settings"); got != first {
		t.Errorf("after a commit that leaves it alone it came with %s, want %s", got, first)
	}
	pin(reverted)
	if got := brought("settings"); got != first {
		t.Errorf("with an older commit pinned that left it alone it came with %s, want %s", got, first)
	}
}

func TestOnlyFilesThatChangedAreParsed(t *testing.T) {
	s := newTheatre(t)
	s.push("apps/settings.yaml", configMap("settings", "one"))
	s.push("apps/more.yaml", configMap("more", "one")+"---\n"+configMap("most", "one"))
	s.push("apps/local.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: local, annotations: {config.kubernetes.io/local-config: \"true\"}}\n")
	s.synced()
	p := s.loop.pass(s.sync)
	// renders looks once more, wants so many files parsed and those objects held.
	renders := func(t *testing.T, parsed int, want ...string) {
		t.Helper()
		s.synced()
		if p.rendered.parsed != parsed {
			t.Errorf("%d files were parsed, want %d", p.rendered.parsed, parsed)
		}
		var have []string
		for id, e := range s.loop.Index.Entries(s.sync) {
			have = append(have, id.Name+" of "+e.Applied.File)
		}
		slices.Sort(have)
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("held (-want +have):\n%s", diff)
		}
	}
	// fails has the commit fail for its one file, and then, in the order of files,
	// for all of them.
	fails := func(t *testing.T, words ...string) {
		t.Helper()
		s.fails("RenderFailed", words...)
		if p.rendered.parsed != 1 {
			t.Errorf("%d files were parsed, want 1", p.rendered.parsed)
		}
		s.fails("RenderFailed")
		p.notBefore = time.Time{}
	}
	t.Run("of the first commit all", func(t *testing.T) {
		renders(t, 3, "more of apps/more.yaml", "most of apps/more.yaml", "settings of apps/settings.yaml")
	})
	t.Run("then the one that changed", func(t *testing.T) {
		s.push("apps/settings.yaml", configMap("settings", "two"))
		renders(t, 1, "more of apps/more.yaml", "most of apps/more.yaml", "settings of apps/settings.yaml")
		if got := s.configMap("settings").Data["key"]; got != "two" {
			t.Errorf("settings is %q, want two", got)
		}
	})
	t.Run("and again", func(t *testing.T) {
		s.push("apps/more.yaml", configMap("more", "one"))
		renders(t, 1, "more of apps/more.yaml", "settings of apps/settings.yaml")
	})
	t.Run("none where a file goes, and its objects go with it", func(t *testing.T) {
		s.push("apps/local.yaml", "")
		s.push("apps/more.yaml", "")
		renders(t, 0, "settings of apps/settings.yaml")
	})
	t.Run("a file that is renamed", func(t *testing.T) {
		s.git("mv", "apps/settings.yaml", "apps/other.yaml")
		s.push("apps/new.yaml", configMap("new", "one"))
		renders(t, 2, "new of apps/new.yaml", "settings of apps/other.yaml")
	})
	t.Run("a file that is ignored from now on, and no longer", func(t *testing.T) {
		s.push("apps/.mainstayignore", "new.yaml\n")
		renders(t, 0, "settings of apps/other.yaml")
		s.push("apps/.mainstayignore", "")
		renders(t, 1, "new of apps/new.yaml", "settings of apps/other.yaml")
	})
	t.Run("an object that another file has already is declared twice", func(t *testing.T) {
		s.push("apps/again.yaml", configMap("settings", "three"))
		fails(t, "apps/again.yaml:1: ConfigMap", "is declared twice: here and in apps/other.yaml:1")
		s.push("apps/again.yaml", "")
		renders(t, 2, "new of apps/new.yaml", "settings of apps/other.yaml")
	})
	t.Run("a kind in another version than in another file", func(t *testing.T) {
		scaler := func(version, name string) string {
			return "apiVersion: autoscaling/" + version + "\nkind: HorizontalPodAutoscaler\nmetadata: {name: " + name + ", namespace: " + s.sync.Namespace +
				"}\nspec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}}\n"
		}
		s.push("apps/v2.yaml", scaler("v2", "x"))
		renders(t, 1, "new of apps/new.yaml", "settings of apps/other.yaml", "x of apps/v2.yaml")
		s.push("apps/v1.yaml", scaler("v1", "z"))
		fails(t, "apps/v1.yaml:1", "in version autoscaling/v1 here and in version autoscaling/v2 in apps/v2.yaml:1")
		s.push("apps/v1.yaml", "")
		renders(t, 3, "new of apps/new.yaml", "settings of apps/other.yaml", "x of apps/v2.yaml")
	})
	t.Run("all where somebody asks for it", func(t *testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) {
			gs.Annotations = map[string]string{v1alpha1.RequestedAtAnnotation: "now"}
		})
		renders(t, 3, "new of apps/new.yaml", "settings of apps/other.yaml", "x of apps/v2.yaml")
	})
	t.Run("all where the spec has changed, with a namespace for all of them", func(t *testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.TargetNamespace = s.sync.Namespace })
		renders(t, 3, "new of apps/new.yaml", "settings of apps/other.yaml", "x of apps/v2.yaml")
		s.push("apps/new.yaml", configMap("new", "two"))
		renders(t, 3, "new of apps/new.yaml", "settings of apps/other.yaml", "x of apps/v2.yaml")
	})
}
