// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sops

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"filippo.io/age"
	agearmor "filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// Keys are the private keys that files may be encrypted for.
type Keys struct {
	age []age.Identity
	pgp openpgp.EntityList
}

// NewKeys reads a Secret's data: age keys under names that end in .agekey,
// OpenPGP keys under names that end in .asc. Other names are left alone, but
// without any key it is an error.
func NewKeys(data map[string][]byte) (*Keys, error) {
	k := &Keys{}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		switch {
		case strings.HasSuffix(name, ".agekey"):
			identities, err := age.ParseIdentities(bytes.NewReader(data[name]))
			if err != nil {
				// The parser's message may repeat the line.
				return nil, fmt.Errorf("%s holds no age keys: write what age-keygen prints", name)
			}
			k.age = append(k.age, identities...)
		case strings.HasSuffix(name, ".asc"):
			entities, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data[name]))
			if err != nil {
				return nil, fmt.Errorf("%s holds no OpenPGP keys: write what \"gpg --armor --export-secret-keys\" prints", name)
			}
			if err := usable(entities); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			k.pgp = append(k.pgp, entities...)
		}
	}
	if len(k.age)+len(k.pgp) == 0 {
		return nil, errors.New("no private keys: put age keys under a name that ends in .agekey, OpenPGP keys under one that ends in .asc")
	}
	return k, nil
}

func usable(entities openpgp.EntityList) error {
	for _, e := range entities {
		if e.PrivateKey == nil {
			return errors.New("is a public key: export the private one")
		}
		if e.PrivateKey.Encrypted {
			return errors.New("the key has a passphrase, which nobody is there to type: export it without")
		}
	}
	return nil
}

// dataKey opens the key of a file with the first of its recipients that Keys
// are for.
func (k *Keys) dataKey(m *metadata) ([]byte, error) {
	for _, r := range m.Age {
		in := agearmor.NewReader(strings.NewReader(r.Enc))
		if out, err := age.Decrypt(in, k.ageOrNone()...); err == nil {
			if key, err := io.ReadAll(out); err == nil {
				return key, nil
			}
		}
	}
	for _, r := range m.PGP {
		block, err := armor.Decode(strings.NewReader(r.Enc))
		if err != nil {
			continue
		}
		message, err := openpgp.ReadMessage(block.Body, k.pgp, nil, nil)
		if err != nil {
			continue
		}
		if key, err := io.ReadAll(message.UnverifiedBody); err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("none of the keys of spec.render.decryption opens it: it is encrypted for %s", m.recipients())
}

// ageOrNone are the identities; age wants at least one.
func (k *Keys) ageOrNone() []age.Identity {
	if len(k.age) == 0 {
		return []age.Identity{none{}}
	}
	return k.age
}

// none opens nothing.
type none struct{}

// Unwrap implements age.Identity.
func (none) Unwrap([]*age.Stanza) ([]byte, error) { return nil, age.ErrIncorrectIdentity }
