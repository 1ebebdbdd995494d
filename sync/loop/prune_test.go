// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func TestHowMuchMayBePruned(t *testing.T) {
	entry := func(kind string) *ownership.Entry {
		return &ownership.Entry{ID: ownership.ID{Kind: kind}, Applied: &ownership.Content{}}
	}
	for name, tt := range map[string]struct {
		objects, namespaces, prune, pruneNamespaces int
		max                                         intstr.IntOrString
		why                                         string
	}{
		"half of them":                             {10, 0, 5, 0, intstr.FromString("50%"), ""},
		"more than half":                           {10, 0, 6, 0, intstr.FromString("50%"), "more than spec.maxPrune (50%)"},
		"more than half of four":                   {4, 0, 3, 0, intstr.FromString("50%"), ""},
		"more than half of five":                   {5, 0, 3, 0, intstr.FromString("50%"), "more than spec.maxPrune (50%)"},
		"a number":                                 {10, 0, 2, 0, intstr.FromInt32(2), ""},
		"more than a number":                       {4, 0, 3, 0, intstr.FromInt32(2), "more than spec.maxPrune (2)"},
		"anything where none may":                  {10, 0, 1, 0, intstr.FromInt32(0), "more than spec.maxPrune (0)"},
		"all where all may":                        {10, 0, 10, 0, intstr.FromString("100%"), ""},
		"every namespace, even where all may":      {10, 2, 0, 2, intstr.FromString("100%"), "every Namespace among them"},
		"the only namespace":                       {10, 1, 0, 1, intstr.FromString("50%"), "every Namespace among them"},
		"one namespace of two":                     {10, 2, 0, 1, intstr.FromString("50%"), ""},
		"a share that can't be read is never more": {10, 0, 1, 0, intstr.FromString("half"), `and spec.maxPrune "half" can't be read`},
	} {
		t.Run(name, func(t *testing.T) {
			a := &attempt{before: map[ownership.ID]*ownership.Entry{}, maxPrune: &tt.max}
			var doomed []ownership.ID
			add := func(kind string, total, prune int) {
				for i := range total {
					e := entry(kind)
					e.Name = fmt.Sprint(i)
					a.before[e.ID] = e
					if i < prune {
						doomed = append(doomed, e.ID)
					}
				}
			}
			add("ConfigMap", tt.objects, tt.prune)
			add("Namespace", tt.namespaces, tt.pruneNamespaces)
			if got := a.tooMany(doomed); got != tt.why {
				t.Errorf("got %q, want %q", got, tt.why)
			}
		})
	}
}

func TestWhatKeepsAnObject(t *testing.T) {
	object := func(name, value string) []byte {
		return fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, name, value)
	}
	for name, tt := range map[string]struct {
		git, live []byte
		want      string
	}{
		"ours in git":                           {object("mainstay.dev/prune", "disabled"), nil, "mainstay.dev/prune: disabled"},
		"ours in the cluster":                   {object("a", "b"), object("mainstay.dev/prune", "disabled"), "mainstay.dev/prune: disabled"},
		"Flux's":                                {object("kustomize.toolkit.fluxcd.io/prune", "disabled"), nil, "kustomize.toolkit.fluxcd.io/prune: disabled"},
		"Argo CD's among others":                {object("argocd.argoproj.io/sync-options", "Replace=true, Prune=false"), nil, "argocd.argoproj.io/sync-options: Prune=false"},
		"Config Sync's":                         {object("client.lifecycle.config.k8s.io/deletion", "detach"), nil, "client.lifecycle.config.k8s.io/deletion: detach"},
		"Helm's":                                {nil, object("helm.sh/resource-policy", "keep"), "helm.sh/resource-policy: keep"},
		"none with another value":               {object("mainstay.dev/prune", "enabled"), object("helm.sh/resource-policy", "delete"), ""},
		"none without any, nor of what is gone": {[]byte(`{"metadata":{}}`), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := keeper(tt.git, tt.live); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestACommitThatWouldPruneTooMuchWaits(t *testing.T) {
	s := newTheatre(t)
	for i := range 6 {
		s.push(fmt.Sprintf("cm%d.yaml", i), configMap(fmt.Sprintf("cm%d", i), "one"))
	}
	s.push("kept.yaml", strings.Replace(configMap("kept", "one"), "name: kept,", `name: kept, annotations: {"mainstay.dev/prune": disabled},`, 1))
	s.synced()
	for i := range 5 {
		s.git("rm", "-q", fmt.Sprintf("cm%d.yaml", i))
	}
	s.git("rm", "-q", "kept.yaml")
	s.push("new.yaml", configMap("new", "one"))
	s.fails("PrunePending", "would delete 5 of 7 objects, more than spec.maxPrune (50%)", "ConfigMap NS/cm0", "mainstay.dev/confirm=")
	if err := s.get("new", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
		t.Errorf("new: %v, want nothing of the commit to be applied", err)
	}
	s.patch(s.configMap("cm0"), "kubectl-edit", `{"data":{"key":"mine"}}`)
	s.await("what was applied last is still enforced", func() bool { return s.configMap("cm0").Data["key"] == "one" })

	t.Run("until it is confirmed", func(t *testing.T) {
		s.annotate(v1alpha1.ConfirmAnnotation, s.head()[:12])
		s.synced()
		s.configMap("new")
		if err := s.get("cm0", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
			t.Errorf("cm0: %v, want it pruned", err)
		}
		if kept := s.configMap("kept"); len(kept.Labels) > 0 || s.held("kept") {
			t.Errorf("kept = %v, held: %t, want it to be let go", kept.Labels, s.held("kept"))
		}
		if message := condition(s.look(), "Ready").Message; !strings.Contains(message, "1 created, 5 pruned, 1 let go") {
			t.Errorf("Ready says %q", message)
		}
	})
}

func TestANamespaceTakesNothingAlongWithoutAWord(t *testing.T) {
	s := newTheatre(t)
	s.push("a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-a}\n")
	s.push("b.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-b}\n")
	s.push("inner.yaml", strings.ReplaceAll(configMap("inner", "one"), "namespace: NS", "namespace: NS-b"))
	s.synced()
	must(t, s.client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace + "-b", Name: "foreign"}}))
	s.git("rm", "-q", "inner.yaml")
	s.push("b.yaml", "")
	s.fails("PrunePending", "along with them 1 objects", "ConfigMap NS-b/foreign with Namespace NS-b")
	must(t, s.client.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace + "-b", Name: "foreign"}}))
	s.loop.pass(s.sync).notBefore = metav1.Time{}.Time
	s.synced()
	if got := s.look().Status.LastAppliedRevision; !strings.HasSuffix(got, s.head()) {
		t.Errorf("applied %s", got)
	}
}

func TestAnObjectThatMovesIsNotDeleted(t *testing.T) {
	for name, order := range map[string][]string{
		"whichever looks first: the one that has it":   {"shop", "till"},
		"whichever looks first: the one that takes it": {"till", "shop", "till"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTheatre(t)
			s.push("a/cm.yaml", configMap("settings", "one"))
			s.push("a/stays.yaml", configMap("stays", "one"))
			s.push("b/other.yaml", configMap("other", "one"))
			s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "a" })
			till := s.another(s.sync.Namespace, "till")
			till.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "b" })
			s.synced()
			till.synced()
			before := s.configMap("settings")

			s.git("rm", "-q", "a/cm.yaml")
			s.push("b/cm.yaml", configMap("settings", "two"))
			for i, who := range order {
				switch {
				case who == "shop":
					s.synced()
				case i == 0:
					till.fails("MovePending", "ConfigMap NS/settings comes from GitSync NS/shop")
				default:
					till.synced()
				}
				if !s.held("settings") {
					t.Errorf("after %s nobody holds it", who)
				}
			}
			s.synced()
			after := s.configMap("settings")
			if after.UID != before.UID || after.Data["key"] != "two" || after.Labels[v1alpha1.SyncLabel] == before.Labels[v1alpha1.SyncLabel] {
				t.Errorf("before: %v, after: %v: want the same object with the new content and label", before, after)
			}
			id := ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: "settings"}
			if r, ok := s.loop.Index.Lookup(id); !ok || r.Sync.Name != "till" {
				t.Errorf("it is held by %+v", r)
			}
			if _, has := s.loop.Index.Entries(s.sync)[id]; has {
				t.Error("the inventory of the first has it still")
			}
			s.patch(after, "kubectl-edit", `{"data":{"key":"mine"}}`)
			s.await("it is reverted to what the second says", func() bool { return s.configMap("settings").Data["key"] == "two" })
		})
	}
}

// neighbours are two GitSyncs of a repository, of which shop has the folder a
// and till has b.
func neighbours(t *testing.T) (shop, till *theatre) {
	t.Helper()
	s := newTheatre(t)
	for _, name := range []string{"settings", "stays"} {
		s.push("a/"+name+".yaml", configMap(name, "one"))
	}
	s.push("b/other.yaml", configMap("other", "one"))
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "a" })
	till = s.another(s.sync.Namespace, "till")
	till.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "b" })
	return s, till
}

// same tells whether an object is the one that it was.
func (s *theatre) same(before *corev1.ConfigMap, content string) {
	s.t.Helper()
	after := s.configMap(before.Name)
	if after.UID != before.UID || after.Data["key"] != content {
		s.t.Errorf("before: %v, after: %v: want the same object, with %q", before, after, content)
	}
}

func TestAnObjectMovesToAGitSyncThatTheCommitBrings(t *testing.T) {
	t.Parallel()
	for name, gitSync := range map[string]string{"one that is new": "counter", "one that has another path now": "till"} {
		t.Run(name, func(t *testing.T) {
			s, till := neighbours(t)
			s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Adopt = v1alpha1.AdoptForce }) // till is there
			s.synced()
			before := s.configMap("settings")
			s.git("rm", "-q", "a/settings.yaml")
			s.push("c/settings.yaml", configMap("settings", "two"))
			s.push("a/gitsync.yaml", fmt.Sprintf(`apiVersion: mainstay.dev/v1alpha1
kind: GitSync
metadata: {name: %s, namespace: NS}
spec:
  source: {url: "file://%s", ref: {branch: main}, path: c}
  health: Ignore
  enforcement: {mode: Enforce}
`, gitSync, s.repo))
			s.synced()
			s.same(before, "one")
			other := *till
			other.sync.Name = gitSync
			other.synced()
			s.synced()
			s.same(before, "two")
			if r, ok := s.loop.Index.Lookup(ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: "settings"}); !ok || r.Sync.Name != gitSync {
				t.Errorf("it is held by %+v", r)
			}
		})
	}
}

func TestAllObjectsOfAGitSyncMove(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]string{"and its folder is gone": "", "and its folder is empty": "a/README.md"} {
		t.Run(name, func(t *testing.T) {
			s, till := neighbours(t)
			s.synced()
			till.synced()
			before := s.configMap("settings")
			s.git("mv", "a/settings.yaml", "a/stays.yaml", "b/")
			if left != "" {
				s.push(left, "nothing")
			} else {
				s.git("commit", "-q", "-m", "move all")
			}
			till.fails("MovePending", "comes from GitSync NS/shop")
			s.look()
			till.loop.pass(till.sync).notBefore = time.Time{}
			till.synced()
			s.look()
			s.same(before, "one")
			if entries := s.loop.Index.Entries(s.sync); len(entries) > 0 {
				t.Errorf("the first has %v still", entries)
			}
		})
	}
	t.Run("but one that nobody else declares stays", func(t *testing.T) {
		s, till := neighbours(t)
		s.synced()
		till.synced()
		s.git("rm", "-q", "a/stays.yaml")
		s.git("mv", "a/settings.yaml", "b/")
		s.git("commit", "-q", "-m", "move one and drop the other")
		s.fails("PathNotFound")
		till.synced()
		s.fails("PathNotFound")
		if !s.held("settings") || !s.held("stays") {
			t.Errorf("held: settings %t, stays %t", s.held("settings"), s.held("stays"))
		}
	})
}

func TestAnObjectIsNotDeletedWhileItMayBeOnItsWay(t *testing.T) {
	t.Parallel()
	s, till := neighbours(t)
	s.synced()
	till.synced()
	before := s.configMap("settings")
	s.git("mv", "a/settings.yaml", "b/")
	s.push("b/broken.yaml", "kind: ConfigMap\n")
	till.fails("RenderFailed")
	s.fails("PrunePending", "ConfigMap NS/settings may move to GitSync NS/till", "b/broken.yaml:1", "mend that first", v1alpha1.ConfirmAnnotation)
	s.same(before, "one")
	t.Run("and what it does not name goes", func(t *testing.T) {
		s.push("a/settings.yaml", configMap("settings", "one"))
		s.push("a/stays.yaml", "")
		s.loop.pass(s.sync).notBefore = time.Time{}
		s.synced()
		if err := s.get("stays", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
			t.Errorf("stays: %v, want it deleted", err)
		}
	})
	t.Run("and once that is mended, it moves", func(t *testing.T) {
		s.push("a/new.yaml", configMap("new", "one"))
		s.push("a/settings.yaml", "")
		s.push("b/broken.yaml", "")
		s.synced()
		till.loop.pass(till.sync).notBefore = time.Time{}
		till.synced()
		s.synced()
		s.same(before, "one")
		if !s.held("settings") {
			t.Error("nobody holds it")
		}
	})
}

func TestAnObjectIsLetGoWhereTheOtherOnlyObserves(t *testing.T) {
	t.Parallel()
	s, till := neighbours(t)
	till.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Enforcement.Mode = v1alpha1.ModeObserve })
	s.synced()
	before := s.configMap("settings")
	s.git("mv", "a/settings.yaml", "b/")
	s.git("commit", "-q", "-m", "move it")
	s.synced()
	s.same(before, "one")
	if label := s.configMap("settings").Labels[v1alpha1.SyncLabel]; label != "" {
		t.Errorf("label = %q", label)
	}
}
