// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/sync/verify"
)

// repository is one of git's own, with keys that ssh-keygen and gpg made.
type repository struct {
	t   *testing.T
	dir string
	env []string
}

func (r *repository) run(name string, args ...string) []byte {
	r.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = r.dir, r.env
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, complaint.String())
	}
	return out
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{t: t, dir: t.TempDir()}
	home, err := os.MkdirTemp("", "gpg") //nolint:usetesting // the agent's socket has a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	r.env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GNUPGHOME="+home, "HOME="+r.dir,
		"GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=alice@example.org", "GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=alice@example.org")
	r.run("git", "init", "-q", "-b", "main", ".")
	return r
}

// TestRealTools reads what git signs with the programs that people have.
func TestRealTools(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		tool string
		// setup makes a key, tells git of it, and returns the Secret's data.
		setup func(r *repository) map[string][]byte
	}{
		"ssh-keygen": {"ssh-keygen", func(r *repository) map[string][]byte {
			r.run("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "key")
			r.run("git", "config", "gpg.format", "ssh")
			r.run("git", "config", "user.signingKey", filepath.Join(r.dir, "key.pub"))
			key, err := os.ReadFile(filepath.Join(r.dir, "key.pub"))
			if err != nil {
				r.t.Fatal(err)
			}
			return map[string][]byte{"allowed_signers": append([]byte("alice@example.org "), key...)}
		}},
		"gpg": {"gpg", func(r *repository) map[string][]byte {
			r.t.Cleanup(func() {
				cmd := exec.Command("gpgconf", "--kill", "gpg-agent")
				cmd.Env = r.env
				_ = cmd.Run() // it ends by itself, later
			})
			r.run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "Alice <alice@example.org>", "ed25519", "sign", "1d")
			r.run("git", "config", "user.signingKey", "alice@example.org")
			return map[string][]byte{"alice.gpg": r.run("gpg", "--export", "alice@example.org")}
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(test.tool); err != nil {
				t.Skipf("%s is not installed; the libraries' own signatures are verified all the same", test.tool)
			}
			r := newRepository(t)
			keys, err := verify.NewKeys(test.setup(r))
			if err != nil {
				t.Fatal(err)
			}
			r.run("git", "commit", "-q", "-S", "--allow-empty", "-m", "Signed", "-m", "Ünïcode, and a trailing space ")
			r.run("git", "tag", "-s", "-m", "Release", "v1.0.0")
			r.run("git", "commit", "-q", "--allow-empty", "--no-gpg-sign", "-m", "Unsigned")
			id := strings.TrimSpace(string(r.run("git", "rev-parse", "HEAD~1")))
			signer, err := keys.Commit(r.run("git", "cat-file", "commit", id), time.Now())
			if err != nil || !strings.Contains(signer.Name, "alice@example.org") {
				t.Errorf("commit: %s, %v", signer, err)
			}
			signer, err = keys.Tag(r.run("git", "cat-file", "tag", "v1.0.0"), "v1.0.0", id, time.Now())
			if err != nil || !strings.Contains(signer.Name, "alice@example.org") {
				t.Errorf("tag: %s, %v", signer, err)
			}
			if signer, err := keys.Commit(r.run("git", "cat-file", "commit", "HEAD"), time.Now()); err == nil {
				t.Errorf("a commit without a signature counts as signed by %s", signer)
			}
		})
	}
}
