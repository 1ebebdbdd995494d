// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// exists makes an object as somebody did before Mainstay.
func (s *theatre) exists(name string, data map[string]string) {
	s.t.Helper()
	must(s.t, s.client.Create(s.t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: name},
		Data:       data,
	}, client.FieldOwner("kubectl-client-side-apply")))
}

// head is the newest commit.
func (s *theatre) head() string {
	s.t.Helper()
	out, err := exec.CommandContext(s.t.Context(), "git", "-C", s.repo, "rev-parse", "HEAD").Output()
	must(s.t, err)
	return strings.TrimSpace(string(out))
}

func (s *theatre) annotate(name, value string) {
	s.t.Helper()
	s.edit(func(gs *v1alpha1.GitSync) {
		if gs.Annotations == nil {
			gs.Annotations = map[string]string{}
		}
		gs.Annotations[name] = value
	})
}

func (s *theatre) held(name string) bool {
	_, ok := s.loop.Index.Lookup(ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: name})
	return ok
}

func TestObjectsThatExistAlready(t *testing.T) {
	s := newTheatre(t)
	s.exists("equal", map[string]string{"key": "git", "extra": "mine"})
	s.exists("other", map[string]string{"key": "mine"})
	must(t, s.client.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: "mail"}, StringData: map[string]string{"password": "mine"},
	}))
	s.push("equal.yaml", configMap("equal", "git"))
	s.push("other.yaml", configMap("other", "git"))
	s.push("new.yaml", configMap("new", "git"))
	s.push("mail.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: mail, namespace: NS}\nstringData: {password: hunter2}\n")

	s.fails("AdoptionPending", "2 objects exist already", `other.yaml:1: ConfigMap NS/other: data.key git: "git", live: "mine"`,
		"mail.yaml:1: Secret NS/mail: data.password differs", "kubectl annotate gitsync shop -n NS --overwrite mainstay.dev/adopt=")
	t.Run("are taken over where nothing would change", func(t *testing.T) {
		if !s.held("equal") || s.configMap("equal").Labels[v1alpha1.SyncLabel] == "" {
			t.Error("equal is not held")
		}
	})
	t.Run("are left alone otherwise", func(t *testing.T) {
		other := s.configMap("other")
		if s.held("other") || other.Data["key"] != "mine" || len(other.Labels) > 0 {
			t.Errorf("other = %v %v, held: %t", other.Data, other.Labels, s.held("other"))
		}
	})
	t.Run("keep nothing else waiting", func(*testing.T) { s.configMap("new") })
	t.Run("are still left alone where another commit is named", func(*testing.T) {
		s.annotate(v1alpha1.AdoptAnnotation, strings.Repeat("0", 40))
		s.fails("AdoptionPending")
	})
	t.Run("become what git says once that is accepted", func(t *testing.T) {
		s.loop.pass(s.sync).notBefore = metav1.Now().Add(maxBackoff)
		s.annotate(v1alpha1.AdoptAnnotation, s.head())
		s.synced()
		if got := s.configMap("other").Data["key"]; got != "git" {
			t.Errorf("key = %q, want git's", got)
		}
	})
	t.Run("lose what leaves git later, and keep what git never set", func(t *testing.T) {
		s.push("equal.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: equal, namespace: NS}\ndata: {more: x}\n")
		s.synced()
		if got := s.configMap("equal").Data; got["key"] != "" || got["extra"] != "mine" || got["more"] != "x" {
			t.Errorf("data = %v", got)
		}
	})
}

func TestNothingIsPrunedAfterTakingOver(t *testing.T) {
	s := newTheatre(t)
	s.exists("equal", map[string]string{"key": "git"})
	s.push("equal.yaml", configMap("equal", "git"))
	s.push("new.yaml", configMap("new", "git"))
	s.synced()
	s.push("equal.yaml", "")
	s.synced()
	if cm := s.configMap("equal"); len(cm.Labels) > 0 || s.held("equal") {
		t.Errorf("labels = %v, held: %t, want it to be let go", cm.Labels, s.held("equal"))
	}
	if message := condition(s.look(), "Ready").Message; !strings.Contains(message, "1 let go") {
		t.Errorf("Ready says %q", message)
	}
	s.push("other.yaml", configMap("other", "git"))
	s.push("new.yaml", "")
	s.synced()
	if err := s.get("new", new(corev1.ConfigMap)); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("new: %v, want it pruned by the next commit", err)
	}
}

func TestNothingIsPrunedWithANewPathThatTakesOver(t *testing.T) {
	s := newTheatre(t)
	s.push("a/cm.yaml", configMap("settings", "git"))
	s.push("b/equal.yaml", configMap("equal", "git"))
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "a" })
	s.synced()
	s.exists("equal", map[string]string{"key": "git"})
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Path = "b" })
	s.synced()
	if len(s.configMap("settings").Labels) > 0 || !s.held("equal") {
		t.Errorf("settings = %v, equal is held: %t", s.configMap("settings").Labels, s.held("equal"))
	}
}

func TestAdoptForceAndNever(t *testing.T) {
	s := newTheatre(t)
	s.exists("equal", map[string]string{"key": "git"})
	s.exists("other", map[string]string{"key": "mine"})
	s.push("equal.yaml", configMap("equal", "git"))
	s.push("other.yaml", configMap("other", "git"))
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Adopt = v1alpha1.AdoptNever })
	s.fails("AdoptionPending", "ConfigMap NS/equal", "ConfigMap NS/other", "Never")
	if len(s.configMap("equal").Labels) > 0 {
		t.Error("Never: equal was taken over")
	}
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Adopt = v1alpha1.AdoptForce })
	s.synced()
	if got := s.configMap("other").Data["key"]; got != "git" {
		t.Errorf("Force: key = %q, want git's", got)
	}
	if message := condition(s.look(), "Ready").Message; !strings.Contains(message, "2 taken over") {
		t.Errorf("Ready says %q", message)
	}
}

func TestAnInventoryThatWasLostAsksNobody(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	must(t, s.loop.Inventory.Delete(t.Context(), s.sync))
	s.patch(s.configMap("settings"), "kubectl-edit", `{"data":{"key":"mine"}}`)
	s.loop.forget(s.sync)
	s.synced()
	if got := s.configMap("settings").Data["key"]; got != "one" {
		t.Errorf("key = %q, want git's: it was Mainstay's object", got)
	}
}

func TestReplicasThatLeaveGitStayAnAutoscalers(t *testing.T) {
	for name, scaled := range map[string]int{"as it set them": 5, "as git set them": 2} {
		t.Run(name, func(t *testing.T) {
			s := newTheatre(t)
			s.push("web.yaml", web)
			s.edit(func(gs *v1alpha1.GitSync) {
				gs.Spec.Policies.Exceptions = []v1alpha1.Exception{{Kinds: []string{"Deployment"}, Paths: []string{"spec.replicas"}, Reason: "an autoscaler's"}}
			})
			s.synced()
			if scaled != 2 {
				s.patch(s.web(), "kube-controller-manager", `{"spec":{"replicas":5}}`)
			}
			for _, image := range []string{"nginx:1.27", "nginx:1.28"} { // the next commit leaves them, too
				s.push("web.yaml", strings.ReplaceAll(strings.Replace(web, "  replicas: 2\n", "", 1), "nginx:1.27", image))
				s.git("commit", "-q", "--allow-empty", "-m", "again")
				s.synced()
				if got := *s.web().Spec.Replicas; int(got) != scaled {
					t.Errorf("with %s: replicas = %d, want %d", image, got, scaled)
				}
			}
		})
	}
	t.Run("but go back to the default where nobody may set them", func(t *testing.T) {
		s := newTheatre(t)
		s.push("web.yaml", web)
		s.synced()
		s.push("web.yaml", strings.Replace(web, "  replicas: 2\n", "", 1))
		s.synced()
		if got := *s.web().Spec.Replicas; got != 1 {
			t.Errorf("replicas = %d, want 1", got)
		}
	})
}
