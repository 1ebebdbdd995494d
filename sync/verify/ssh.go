// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// namespace is what git signs under.
const namespace = "git"

// allowed is one line of allowed_signers.
type allowed struct {
	principals    string
	key           ssh.PublicKey
	after, before time.Time
}

func (k *Keys) addAllowed(content []byte) error {
	for i, line := range strings.Split(string(content), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		a, ours, err := parseAllowed(line)
		if err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
		if ours {
			k.ssh = append(k.ssh, a)
		}
	}
	return nil
}

// parseAllowed reads one line; false for a key that is not for git.
func parseAllowed(line string) (a allowed, ours bool, err error) {
	principals, rest, ok := strings.Cut(line, " ")
	if before, after, tab := strings.Cut(line, "\t"); tab && len(before) < len(principals) {
		principals, rest, ok = before, after, true
	}
	if !ok {
		return a, false, errors.New("a line is: principals, options, key type, key")
	}
	a.principals = strings.Trim(principals, `"`)
	var options []string
	if a.key, _, options, _, err = ssh.ParseAuthorizedKey([]byte(rest)); err != nil {
		return a, false, errors.New("there is no public key behind the principals")
	}
	ours = true
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "namespaces":
			ours = listed(value, namespace)
		case "valid-after":
			a.after, err = parseTime(value)
		case "valid-before":
			a.before, err = parseTime(value)
		case "cert-authority":
			err = errors.New("cert-authority is not taken: list the keys of the signers")
		default:
			err = fmt.Errorf("unknown option %q", name)
		}
		if err != nil {
			return a, false, err
		}
	}
	return a, ours, nil
}

// listed tells whether a list of patterns has a name; one with ! in front
// takes it out.
func listed(patterns, name string) bool {
	found := false
	for pattern := range strings.SplitSeq(patterns, ",") {
		not := strings.HasPrefix(pattern, "!")
		if ok, err := path.Match(strings.TrimPrefix(pattern, "!"), name); err != nil || !ok {
			continue
		}
		if not {
			return false
		}
		found = true
	}
	return found
}

// parseTime reads a date as ssh-keygen does: in UTC, where it says nothing else.
func parseTime(value string) (time.Time, error) {
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if t, err := time.Parse(layout, strings.TrimSuffix(value, "Z")); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no date: write YYYYMMDD or YYYYMMDDHHMMSSZ", value)
}

func (k *Keys) addRevoked(content []byte) error {
	for i, line := range strings.Split(string(content), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return fmt.Errorf("line %d: is no public key (revocation lists of ssh-keygen -k are not read)", i+1)
		}
		k.revoked[ssh.FingerprintSHA256(key)] = true
	}
	return nil
}

func (k *Keys) checkSSH(s *signed, claimed, now time.Time) (Signer, error) {
	signature, err := sshsig.Unarmor(s.signature)
	if err != nil {
		return Signer{}, fmt.Errorf("has a signature that cannot be read: %w", err)
	}
	fingerprint := ssh.FingerprintSHA256(signature.PublicKey)
	shown := signature.PublicKey.Type() + " " + fingerprint
	if k.revoked[fingerprint] {
		return Signer{}, fmt.Errorf("is signed with %s, which is revoked", shown)
	}
	if signature.Signature.Format == ssh.KeyAlgoRSA {
		return Signer{}, fmt.Errorf("is signed with %s under SHA-1, which can be forged: sign with a newer ssh-keygen", shown)
	}
	var outdated error
	for _, a := range k.ssh {
		if !bytes.Equal(a.key.Marshal(), signature.PublicKey.Marshal()) {
			continue
		}
		if err := sshsig.Verify(bytes.NewReader(s.payload), signature, a.key, signature.HashAlgorithm, namespace); err != nil {
			return Signer{}, fmt.Errorf("has a signature that does not fit: %w", err)
		}
		signer := Signer{Name: a.principals, Key: shown}
		if outdated = a.valid(signer, claimed, now); outdated == nil {
			return signer, nil
		}
	}
	if outdated != nil {
		return Signer{}, outdated
	}
	return Signer{}, fmt.Errorf("is signed with %s, which is not among the allowed_signers for git of spec.source.verify.secretRef", shown)
}

// valid tells whether the line counts, both at the time that the commit claims
// and now.
func (a *allowed) valid(s Signer, times ...time.Time) error {
	for _, t := range times {
		if !a.after.IsZero() && t.Before(a.after) {
			return fmt.Errorf("is signed by %s, whose key counts only from %s on", s, a.after.Format(time.DateTime))
		}
		if !a.before.IsZero() && !t.Before(a.before) {
			return fmt.Errorf("is signed by %s, whose key counts only until %s", s, a.before.Format(time.DateTime))
		}
	}
	return nil
}
