// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"crypto/ed25519"
	"crypto/rand"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// asks runs git and returns what it says.
func (s *theatre) asks(input string, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "git", args...)
	cmd.Dir, cmd.Stdin = s.repo, strings.NewReader(input)
	out, err := cmd.Output()
	must(s.t, err)
	return string(out)
}

// signs replaces the last commit by the same one, signed.
func (s *theatre) signs(signer ssh.Signer) {
	s.t.Helper()
	raw := s.asks("", "cat-file", "commit", "HEAD")
	signature, err := sshsig.Sign(strings.NewReader(raw), signer, sshsig.HashSHA512, "git")
	must(s.t, err)
	headers, message, _ := strings.Cut(raw, "\n\n")
	armored := strings.ReplaceAll(strings.TrimSpace(string(sshsig.Armor(signature))), "\n", "\n ")
	id := s.asks(headers+"\ngpgsig "+armored+"\n\n"+message, "hash-object", "-t", "commit", "-w", "--stdin")
	s.git("reset", "-q", "--hard", strings.TrimSpace(id))
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	must(t, err)
	return signer
}

func TestARefThatGoesBackWaits(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	first := s.head()
	s.push("cm.yaml", configMap("settings", "two"))
	second := s.head()
	s.synced()

	s.git("reset", "-q", "--hard", first)
	s.fails("Rewound", "main has moved to "+first, "does not descend from the applied "+second,
		"kubectl annotate gitsync shop -n NS --overwrite mainstay.dev/confirm="+first, "stays enforced")
	if got := s.configMap("settings").Data["key"]; got != "two" {
		t.Errorf("key = %q, want what was applied", got)
	}
	s.git("reset", "-q", "--hard", second)
	s.push("other.yaml", configMap("other", "one"))
	s.loop.pass(s.sync).notBefore = time.Time{}
	s.synced() // forward again

	t.Run("until somebody confirms it", func(t *testing.T) {
		s.git("reset", "-q", "--hard", first)
		s.fails("Rewound")
		s.edit(func(gs *v1alpha1.GitSync) {
			gs.Annotations = map[string]string{v1alpha1.ConfirmAnnotation: second}
		})
		s.fails("Rewound") // another commit was confirmed
		s.edit(func(gs *v1alpha1.GitSync) {
			gs.Annotations = map[string]string{v1alpha1.ConfirmAnnotation: first}
		})
		s.synced() // at once
		if got := s.configMap("settings").Data["key"]; got != "one" {
			t.Errorf("key = %q, want what was confirmed", got)
		}
	})
	t.Run("or all may", func(*testing.T) {
		s.push("cm.yaml", configMap("settings", "three"))
		s.synced()
		s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.AllowRewind = true })
		s.git("reset", "-q", "--hard", first+"^")
		s.push("cm.yaml", configMap("settings", "four"))
		s.synced()
	})
	t.Run("and another ref may be anywhere", func(t *testing.T) {
		s.edit(func(gs *v1alpha1.GitSync) {
			gs.Spec.Source.AllowRewind = false
			gs.Spec.Source.Ref = v1alpha1.Ref{Commit: second}
		})
		s.synced()
		if got := s.configMap("settings").Data["key"]; got != "two" {
			t.Errorf("key = %q, want that of the pinned commit", got)
		}
	})
}

func TestOnlyWhatIsSignedIsApplied(t *testing.T) {
	s := newTheatre(t)
	alice, mallory := newSigner(t), newSigner(t)
	verified := func() metav1.Condition {
		t.Helper()
		gs := new(v1alpha1.GitSync)
		must(t, s.client.Get(t.Context(), s.sync, gs))
		c := meta.FindStatusCondition(gs.Status.Conditions, v1alpha1.ConditionVerified)
		if c == nil {
			return metav1.Condition{}
		}
		return *c
	}
	signed := func(words string) {
		t.Helper()
		s.loop.pass(s.sync).notBefore = time.Time{}
		s.synced()
		if c := verified(); c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, words) {
			t.Errorf("Verified = %+v, want True and %q", c, words)
		}
	}
	unsigned := func(words ...string) {
		t.Helper()
		s.fails("Unverified", words...)
		if c := verified(); c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, words[0]) {
			t.Errorf("Verified = %+v, want False and %q", c, words[0])
		}
	}
	s.edit(func(gs *v1alpha1.GitSync) {
		gs.Spec.Source.Verify = &v1alpha1.Verify{Mode: v1alpha1.VerifyHead, SecretRef: &v1alpha1.LocalRef{Name: "signers"}}
	})
	s.push("cm.yaml", configMap("settings", "one"))
	s.fails("SecretNotFound", "secret NS/signers of spec.source.verify.secretRef does not exist")
	secret := &corev1.Secret{Data: map[string][]byte{"allowed_signers": []byte("alice@example.org")}}
	secret.Name, secret.Namespace = "signers", s.sync.Namespace
	must(t, s.client.Create(t.Context(), secret))
	unsigned("secret "+s.sync.String()[:len(s.sync.Namespace)]+"/signers", "allowed_signers: line 1")
	secret.Data["allowed_signers"] = append([]byte("alice@example.org "), ssh.MarshalAuthorizedKey(alice.PublicKey())...)
	must(t, s.client.Update(t.Context(), secret))

	unsigned("is not signed", "by Bo (\"change cm.yaml\")")
	if err := s.get("settings", new(corev1.ConfigMap)); !apierrors.IsNotFound(err) {
		t.Errorf("settings: %v, want nothing applied", err)
	}
	s.signs(mallory)
	unsigned("is not among the allowed_signers")
	s.git("commit", "-q", "--amend", "--no-edit")
	s.signs(alice)
	signed("is signed by alice@example.org (ssh-ed25519 SHA256:")

	// Head looks at the last commit alone.
	s.push("cm.yaml", configMap("settings", "two"))
	s.push("other.yaml", configMap("other", "one"))
	s.signs(alice)
	signed("is signed by alice@example.org")

	// Strict at every one since the applied.
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Verify.Mode = v1alpha1.VerifyStrict })
	s.push("cm.yaml", configMap("settings", "three"))
	first := s.head()
	s.push("other.yaml", configMap("other", "two"))
	s.push("other.yaml", configMap("other", "three"))
	s.signs(alice)
	unsigned("commit "+short7(first)+" by Bo (\"change cm.yaml\") is not signed", "stays enforced")
	if got := s.configMap("settings").Data["key"]; got != "two" {
		t.Errorf("key = %q, want what was applied", got)
	}
	// The policies of such a commit take no effect, either.
	s.git("reset", "-q", "--hard", first+"^")
	for _, value := range []string{"three", "four"} {
		s.push("cm.yaml", configMap("settings", value))
		s.signs(alice)
	}
	signed("and so are the 1 before it, since the applied one")
	s.edit(func(gs *v1alpha1.GitSync) { gs.Spec.Source.Verify = nil })
	s.push("cm.yaml", configMap("settings", "five"))
	s.synced()
	if c := verified(); c.Type != "" {
		t.Errorf("Verified = %+v, want it gone", c)
	}
}

func TestUntilNext(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 123)
	at := func(url string) time.Time { return now.Add(untilNext(url, time.Minute, now)) }
	if wait := untilNext("https://a", time.Minute, now); wait <= 0 || wait > time.Minute {
		t.Errorf("the next look is in %s", wait)
	}
	first := at("https://a")
	if later := now.Add(time.Second); later.Before(first) {
		if again := later.Add(untilNext("https://a", time.Minute, later)); !again.Equal(first) {
			t.Errorf("two GitSyncs of one repository look at %s and %s", first, again)
		}
	}
	if first.Equal(at("https://b")) {
		t.Error("two repositories are looked at in the same moment")
	}
	if again := first.Add(untilNext("https://a", time.Minute, first)); again.Sub(first) != time.Minute {
		t.Errorf("the look after that is %s later", again.Sub(first))
	}
}

func TestAPushIsLookedAtAtOnce(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	s.push("cm.yaml", "kind: [")
	s.look()
	s.push("cm.yaml", configMap("settings", "two"))
	if c := condition(s.look(), "Ready"); c.Status != metav1.ConditionFalse {
		t.Fatalf("Ready = %+v, want it to wait", c)
	}
	before := new(v1alpha1.GitSync)
	must(t, s.client.Get(t.Context(), s.sync, before))
	pushed := before.DeepCopy()
	now := metav1.NowMicro()
	pushed.Status.LastPush = &now
	must(t, s.client.Status().Patch(t.Context(), pushed, client.MergeFrom(before)))
	if !pushHeard().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: pushed}) {
		t.Error("a push is no reason to look")
	}
	if pushHeard().Update(event.UpdateEvent{ObjectOld: pushed, ObjectNew: pushed}) {
		t.Error("the same push is one twice")
	}
	s.synced()
	if got := s.configMap("settings").Data["key"]; got != "two" {
		t.Errorf("key = %q, want what was pushed", got)
	}
}
