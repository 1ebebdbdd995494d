// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/mainstay-gitops/mainstay/sync/verify"
)

const commitID = "0123456789012345678901234567890123456789"

// now is when the signatures are verified, claimed the date of the commits.
var (
	now     = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	claimed = now.Add(-time.Hour)
)

// sign makes a signature over a payload.
type sign func(t *testing.T, payload string) string

// commit makes a commit as git stores it, signed if there is a signer.
func commit(t *testing.T, message string, by sign) []byte {
	t.Helper()
	headers := fmt.Sprintf("tree %s\nparent %s\nauthor Alice <alice@example.org> %d +0200\ncommitter Bob <bob@example.org> %d +0000\n",
		commitID, commitID, claimed.Unix(), claimed.Unix())
	if by == nil {
		return []byte(headers + "\n" + message)
	}
	signature := strings.TrimSuffix(by(t, headers+"\n"+message), "\n")
	return []byte(headers + "gpgsig " + strings.ReplaceAll(signature, "\n", "\n ") + "\n\n" + message)
}

func tag(t *testing.T, name, object string, by sign) []byte {
	t.Helper()
	text := fmt.Sprintf("object %s\ntype commit\ntag %s\ntagger Bob <bob@example.org> %d +0000\n\nRelease\n", object, name, claimed.Unix())
	if by == nil {
		return []byte(text)
	}
	return []byte(text + by(t, text))
}

func newSSH(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

func bySSH(signer ssh.Signer, namespace string) sign {
	return func(t *testing.T, payload string) string {
		t.Helper()
		s, err := sshsig.Sign(strings.NewReader(payload), signer, sshsig.HashSHA512, namespace)
		if err != nil {
			t.Fatal(err)
		}
		return string(sshsig.Armor(s))
	}
}

// newPGP makes a key two years ago that lasts so long; 0 for ever.
func newPGP(t *testing.T, name string, lasts time.Duration) *openpgp.Entity {
	t.Helper()
	made := now.AddDate(-2, 0, 0)
	e, err := openpgp.NewEntity(name, "", name+"@example.org", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return made }, KeyLifetimeSecs: uint32(lasts.Seconds()),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func byPGP(e *openpgp.Entity, hash crypto.Hash) sign {
	return func(t *testing.T, payload string) string {
		t.Helper()
		var out bytes.Buffer
		// An expired key signs only with its clock turned back.
		clock := func() time.Time { return now.AddDate(-2, 0, 1) }
		if err := openpgp.ArmoredDetachSign(&out, e, strings.NewReader(payload), &packet.Config{DefaultHash: hash, Time: clock}); err != nil {
			t.Fatal(err)
		}
		return out.String() + "\n"
	}
}

func public(t *testing.T, e *openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Serialize(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCommit(t *testing.T) {
	t.Parallel()
	alice, aliceKey := newSSH(t)
	mallory, _ := newSSH(t)
	revoked, revokedKey := newSSH(t)
	_, otherKey := newSSH(t)
	carol := newPGP(t, "Carol", 0)
	expired := newPGP(t, "Eve", 24*30*time.Hour)
	withdrawn := newPGP(t, "Rita", 0)
	ritas := commit(t, "Change\n", byPGP(withdrawn, crypto.SHA256)) // before
	if err := withdrawn.RevokeKey(packet.KeyCompromised, "stolen", &packet.Config{Time: func() time.Time { return now.AddDate(0, -1, 0) }}); err != nil {
		t.Fatal(err)
	}
	stranger := newPGP(t, "Sam", 0)
	pgp := map[string][]byte{"carol.asc": public(t, carol), "eve.asc": public(t, expired), "rita.asc": public(t, withdrawn)}
	signers := func(line string) map[string][]byte {
		return map[string][]byte{"allowed_signers": []byte("# who may sign\n\n" + line + "\n")}
	}
	good := signers("alice@example.org " + aliceKey)
	altered := func(raw []byte) []byte { return bytes.Replace(raw, []byte("Change"), []byte("Chance"), 1) }

	tests := map[string]struct {
		keys map[string][]byte
		raw  []byte
		// signer, or what the error says.
		signer, says string
	}{
		"an SSH key":                               {good, commit(t, "Change\n", bySSH(alice, "git")), "alice@example.org (ssh-ed25519 SHA256:", ""},
		"an SSH key for git among others":          {signers(`alice@example.org namespaces="file,g?t" ` + aliceKey), commit(t, "Change\n", bySSH(alice, "git")), "alice", ""},
		"an SSH key of several principals":         {signers("alice,al@example.org " + aliceKey), commit(t, "Change\n", bySSH(alice, "git")), "alice,al@example.org (", ""},
		"an SSH key within its time":               {signers(`alice valid-after="20260101",valid-before="202612312359Z" ` + aliceKey), commit(t, "Change\n", bySSH(alice, "git")), "alice", ""},
		"an SSH key with one line that counts":     {signers("old valid-before=\"20200101\" " + aliceKey + "\nnew " + aliceKey), commit(t, "Change\n", bySSH(alice, "git")), "new (", ""},
		"an OpenPGP key":                           {pgp, commit(t, "Change\n", byPGP(carol, crypto.SHA256)), "Carol <Carol@example.org> (OpenPGP ", ""},
		"a message that looks like a signature":    {good, commit(t, "Change\n\ngpgsig -----BEGIN SSH SIGNATURE-----\n", bySSH(alice, "git")), "alice", ""},
		"no signature":                             {good, commit(t, "Change\n", nil), "", "is not signed"},
		"a signature in the message":               {good, commit(t, "Change\n\n"+bySSH(alice, "git")(t, "Change"), nil), "", "is not signed"},
		"somebody else's SSH key":                  {good, commit(t, "Change\n", bySSH(mallory, "git")), "", "is not among the allowed_signers"},
		"an SSH key that is not for git":           {signers("other " + otherKey + "\nalice namespaces=\"file\" " + aliceKey), commit(t, "Change\n", bySSH(alice, "git")), "", "is not among the allowed_signers"},
		"an SSH key that is for all but git":       {signers("other " + otherKey + "\nalice namespaces=\"*,!git\" " + aliceKey), commit(t, "Change\n", bySSH(alice, "git")), "", "is not among the allowed_signers"},
		"an SSH signature for another purpose":     {good, commit(t, "Change\n", bySSH(alice, "file")), "", "does not fit"},
		"an SSH key that has ended":                {signers(`alice valid-before="20260601" ` + aliceKey), commit(t, "Change\n", bySSH(alice, "git")), "", "counts only until 2026-06-01"},
		"an SSH key that ended after the claim":    {signers(`alice valid-before="20260601113000Z" ` + aliceKey), commit(t, "Change\n", bySSH(alice, "git")), "", "counts only until"},
		"an SSH key that is yet to begin":          {signers(`alice valid-after="20270101" ` + aliceKey), commit(t, "Change\n", bySSH(alice, "git")), "", "counts only from 2027-01-01"},
		"an SSH key that began after the claim":    {signers(`alice valid-after="20260601113000Z" ` + aliceKey), commit(t, "Change\n", bySSH(alice, "git")), "", "counts only from"},
		"a revoked SSH key":                        {map[string][]byte{"allowed_signers": []byte("r " + revokedKey), "revoked_keys": []byte(revokedKey)}, commit(t, "Change\n", bySSH(revoked, "git")), "", "is revoked"},
		"a commit that was altered, SSH":           {good, altered(commit(t, "Change\n", bySSH(alice, "git"))), "", "does not fit"},
		"a commit that was altered, OpenPGP":       {pgp, altered(commit(t, "Change\n", byPGP(carol, crypto.SHA256))), "", "does not fit"},
		"an SSH signature where only OpenPGP is":   {pgp, commit(t, "Change\n", bySSH(alice, "git")), "", "is not among the allowed_signers"},
		"somebody else's OpenPGP key":              {pgp, commit(t, "Change\n", byPGP(stranger, crypto.SHA256)), "", "not among those of spec.source.verify.secretRef"},
		"an expired OpenPGP key":                   {pgp, commit(t, "Change\n", byPGP(expired, crypto.SHA256)), "", "Eve <Eve@example.org>"},
		"a revoked OpenPGP key":                    {pgp, ritas, "", "whose key is revoked"},
		"an X.509 signature":                       {good, commit(t, "Change\n", func(*testing.T, string) string { return "-----BEGIN SIGNED MESSAGE-----\nx\n" }), "", "X.509"},
		"a signature that is none":                 {good, commit(t, "Change\n", func(*testing.T, string) string { return "-----BEGIN SSH SIGNATURE-----\nx\n" }), "", "cannot be read"},
		"a signature of an unknown kind":           {good, commit(t, "Change\n", func(*testing.T, string) string { return "yes\n" }), "", "unknown kind"},
		"two signatures":                           {good, bytes.Replace(commit(t, "Change\n", bySSH(alice, "git")), []byte("\ngpgsig"), []byte("\ngpgsig x\ngpgsig"), 1), "", "several signatures"},
		"a header added after signing":             {good, bytes.Replace(commit(t, "Change\n", bySSH(alice, "git")), []byte("\ngpgsig"), []byte("\nencoding x\ngpgsig"), 1), "", "does not fit"},
		"a commit without a committer":             {good, []byte("tree x\ngpgsig -----BEGIN SSH SIGNATURE-----\n x\n\nhello"), "", "no committer with a date"},
		"another key among the allowed signers":    {signers("other " + otherKey), commit(t, "Change\n", bySSH(alice, "git")), "", "is not among the allowed_signers"},
		"a signature under the other hash is none": {good, bytes.Replace(commit(t, "Change\n", bySSH(alice, "git")), []byte("\ngpgsig "), []byte("\ngpgsig-sha256 "), 1), "", "is not signed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys, err := verify.NewKeys(test.keys)
			if err != nil {
				t.Fatal(err)
			}
			signer, err := keys.Commit(test.raw, now)
			switch {
			case test.says == "" && err != nil:
				t.Error(err)
			case test.says == "" && !strings.HasPrefix(signer.String(), test.signer):
				t.Errorf("signed by %s, want %s", signer, test.signer)
			case test.says != "" && err == nil:
				t.Errorf("it counts as signed by %s", signer)
			case test.says != "" && !strings.Contains(err.Error(), test.says):
				t.Errorf("%q does not say %q", err, test.says)
			}
		})
	}
}

func TestTag(t *testing.T) {
	t.Parallel()
	alice, aliceKey := newSSH(t)
	carol := newPGP(t, "Carol", 0)
	keys, err := verify.NewKeys(map[string][]byte{"allowed_signers": []byte("alice " + aliceKey), "c.asc": public(t, carol)})
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Repeat("f", 40)
	tests := map[string]struct {
		raw  []byte
		says string
	}{
		"an SSH key":                        {tag(t, "v1.0.0", commitID, bySSH(alice, "git")), ""},
		"an OpenPGP key":                    {tag(t, "v1.0.0", commitID, byPGP(carol, crypto.SHA512)), ""},
		"no signature":                      {tag(t, "v1.0.0", commitID, nil), "is not signed"},
		"an old tag under a new name":       {tag(t, "v0.9.0", commitID, bySSH(alice, "git")), `under the name "v0.9.0"`},
		"a tag of another commit":           {tag(t, "v1.0.0", other, bySSH(alice, "git")), "another commit"},
		"a tag that was altered":            {bytes.Replace(tag(t, "v1.0.0", commitID, bySSH(alice, "git")), []byte("Release"), []byte("Rejoice"), 1), "does not fit"},
		"a tag whose object was exchanged":  {bytes.Replace(tag(t, "v1.0.0", other, bySSH(alice, "git")), []byte(other), []byte(commitID), 1), "does not fit"},
		"a signature with another appended": {append(tag(t, "v1.0.0", commitID, bySSH(alice, "git")), "-----BEGIN SSH SIGNATURE-----\n"...), "cannot be read"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signer, err := keys.Tag(test.raw, "v1.0.0", commitID, now)
			if test.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatalf("it counts as signed by %s", signer)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("%q does not say %q", err, test.says)
			}
		})
	}
}

func TestNewKeysRefuses(t *testing.T) {
	t.Parallel()
	_, key := newSSH(t)
	carol := newPGP(t, "Carol", 0)
	var private bytes.Buffer
	if err := carol.SerializePrivate(&private, nil); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		data map[string][]byte
		says string
	}{
		"nothing":                     {nil, "it holds no key"},
		"only comments":               {map[string][]byte{"allowed_signers": []byte("# nobody\n")}, "it holds no key"},
		"a name that says nothing":    {map[string][]byte{"key": []byte(key)}, "key: is neither *.asc"},
		"OpenPGP that is none":        {map[string][]byte{"a.asc": []byte("hello")}, "a.asc: is no OpenPGP public key"},
		"an OpenPGP private key":      {map[string][]byte{"a.gpg": private.Bytes()}, "a.gpg: holds a private key"},
		"a line without principals":   {map[string][]byte{"allowed_signers": []byte("x\n")}, "allowed_signers: line 1: a line is"},
		"a line without a key":        {map[string][]byte{"allowed_signers": []byte("# a\nalice nokey\n")}, "allowed_signers: line 2: there is no public key"},
		"an authority":                {map[string][]byte{"allowed_signers": []byte("alice cert-authority " + key)}, "cert-authority is not taken"},
		"an option nobody knows":      {map[string][]byte{"allowed_signers": []byte("alice valid-till=\"20260101\" " + key)}, `unknown option "valid-till"`},
		"a date that is none":         {map[string][]byte{"allowed_signers": []byte("alice valid-before=\"tomorrow\" " + key)}, `"tomorrow" is no date`},
		"a revoked key that is none":  {map[string][]byte{"allowed_signers": []byte("alice " + key), "revoked_keys": []byte("SSHKRL")}, "revoked_keys: line 1"},
		"revocations of nobody's key": {map[string][]byte{"revoked_keys": []byte(key)}, "it holds no key"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := verify.NewKeys(test.data)
			if err == nil {
				t.Fatal("it was taken")
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("%q does not say %q", err, test.says)
			}
		})
	}
}

func FuzzCommit(f *testing.F) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		f.Fatal(err)
	}
	keys, err := verify.NewKeys(map[string][]byte{"allowed_signers": append([]byte("alice "), ssh.MarshalAuthorizedKey(signer.PublicKey())...)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("tree x\ncommitter B <b> 1 +0000\ngpgsig -----BEGIN SSH SIGNATURE-----\n x\n\nhello"))
	f.Add([]byte("object x\ntype commit\ntag v1\ntagger B <b> 1 +0000\n\nx\n-----BEGIN PGP SIGNATURE-----\n"))
	f.Add([]byte("gpgsig"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// Nobody has signed anything.
		if s, err := keys.Commit(raw, now); err == nil {
			t.Errorf("commit counts as signed by %s", s)
		}
		if s, err := keys.Tag(raw, "v1", commitID, now); err == nil {
			t.Errorf("tag counts as signed by %s", s)
		}
	})
}
