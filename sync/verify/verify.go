// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// ErrUnsigned is the error for what has no signature.
var ErrUnsigned = errors.New("is not signed")

// Signer is whose key made a signature.
type Signer struct {
	// Name is the key's user id, or the principals of its line in
	// allowed_signers.
	Name string
	// Key is its kind and fingerprint.
	Key string
}

// String is the name with the key.
func (s Signer) String() string { return s.Name + " (" + s.Key + ")" }

// Commit returns who signed a commit, given as git stores it. Now is the time
// at which the key has to be valid.
func (k *Keys) Commit(raw []byte, now time.Time) (Signer, error) {
	s, err := splitCommit(raw)
	if err != nil {
		return Signer{}, err
	}
	return k.check(s, "committer", now)
}

// Tag returns who signed an annotated tag, given as git stores it. A signature
// counts for the tag's own name and commit only: otherwise whoever may push
// could give an old, signed tag another name.
func (k *Keys) Tag(raw []byte, name, commit string, now time.Time) (Signer, error) {
	s := splitTag(raw)
	signer, err := k.check(s, "tagger", now)
	if err != nil {
		return Signer{}, err
	}
	if s.headers["tag"] != name {
		return Signer{}, fmt.Errorf("was signed under the name %q", s.headers["tag"])
	}
	if s.headers["type"] != "commit" || s.headers["object"] != commit {
		return Signer{}, errors.New("was signed for another commit")
	}
	return signer, nil
}

func (k *Keys) check(s *signed, who string, now time.Time) (Signer, error) {
	if len(s.signature) == 0 {
		return Signer{}, ErrUnsigned
	}
	claimed, ok := s.when(who)
	if !ok {
		return Signer{}, fmt.Errorf("has no %s with a date", who)
	}
	switch {
	case bytes.HasPrefix(s.signature, []byte(beginPGP)):
		return k.checkPGP(s, claimed, now)
	case bytes.HasPrefix(s.signature, []byte(beginSSH)):
		return k.checkSSH(s, claimed, now)
	case bytes.HasPrefix(s.signature, []byte(beginX509)):
		return Signer{}, errors.New("is signed with an X.509 certificate, which is not verified: sign with OpenPGP or SSH")
	}
	return Signer{}, errors.New("has a signature of an unknown kind")
}
