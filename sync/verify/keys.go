// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// Keys are who may sign.
type Keys struct {
	pgp     openpgp.EntityList
	ssh     []allowed
	revoked map[string]bool
}

// The keys of a Secret that are no OpenPGP keys.
const (
	allowedSigners = "allowed_signers"
	revokedKeys    = "revoked_keys"
)

// NewKeys reads a Secret's data: *.asc and *.gpg are OpenPGP public keys,
// allowed_signers has SSH keys as git's gpg.ssh.allowedSignersFile,
// revoked_keys public SSH keys that count no more, one a line. What cannot be
// read is an error, with key and line: leaving it out could turn a revocation
// into a permit.
func NewKeys(data map[string][]byte) (*Keys, error) {
	k := &Keys{revoked: map[string]bool{}}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		content := data[name]
		var err error
		switch {
		case strings.HasSuffix(name, ".asc"), strings.HasSuffix(name, ".gpg"):
			err = k.addPGP(content)
		case name == allowedSigners:
			err = k.addAllowed(content)
		case name == revokedKeys:
			err = k.addRevoked(content)
		default:
			err = errors.New("is neither *.asc, *.gpg, allowed_signers nor revoked_keys")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(k.pgp) == 0 && len(k.ssh) == 0 {
		return nil, errors.New("it holds no key: put OpenPGP public keys under names that end in .asc, or SSH keys into allowed_signers")
	}
	return k, nil
}

// addPGP takes in keys, armoured or not; a file may hold several.
func (k *Keys) addPGP(content []byte) error {
	read := openpgp.ReadKeyRing
	if bytes.Contains(content, []byte("-----BEGIN PGP")) {
		read = openpgp.ReadArmoredKeyRing
	}
	keys, err := read(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("is no OpenPGP public key: %w", err)
	}
	for _, key := range keys {
		if key.PrivateKey != nil {
			return errors.New("holds a private key, which nobody but its owner should have: export the public one")
		}
	}
	k.pgp = append(k.pgp, keys...)
	return nil
}
