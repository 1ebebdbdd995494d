// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

func (k *Keys) checkPGP(s *signed, claimed, now time.Time) (Signer, error) {
	block, err := armor.Decode(bytes.NewReader(s.signature))
	if err != nil {
		return Signer{}, fmt.Errorf("has a signature that cannot be read: %w", err)
	}
	if block.Type != openpgp.SignatureType {
		return Signer{}, errors.New("has a signature that is none")
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	signature, entity, err := openpgp.VerifyDetachedSignature(k.pgp, bytes.NewReader(s.payload), block.Body, config)
	if entity == nil {
		switch {
		case errors.Is(err, pgperrors.ErrUnknownIssuer):
			return Signer{}, errors.New("is signed with an OpenPGP key that is not among those of spec.source.verify.secretRef")
		case err == nil:
			err = pgperrors.ErrUnknownIssuer
		}
		return Signer{}, fmt.Errorf("has a signature that does not fit: %w", err)
	}
	signer := pgpSigner(entity)
	switch {
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return Signer{}, fmt.Errorf("is signed by %s, whose key has expired", signer)
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return Signer{}, fmt.Errorf("is signed by %s, whose key is revoked", signer)
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return Signer{}, fmt.Errorf("is signed by %s, and the signature has expired", signer)
	case err != nil:
		return Signer{}, fmt.Errorf("is signed by %s, which does not count: %w", signer, err)
	}
	switch signature.Hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
	default:
		return Signer{}, fmt.Errorf("is signed by %s with %s, which can be forged: sign with SHA-256 or longer", signer, signature.Hash)
	}
	// What was signed before the key was made, or after it ends, is not its
	// owner's word either.
	if made := entity.PrimaryKey.CreationTime; claimed.Before(made.Add(-clockSkew)) {
		return Signer{}, fmt.Errorf("is signed by %s, whose key is younger than the date of the commit", signer)
	}
	return signer, nil
}

// clockSkew is how far the clocks of signers may be off.
const clockSkew = 5 * time.Minute

func pgpSigner(e *openpgp.Entity) Signer {
	s := Signer{Name: "somebody without a name", Key: fmt.Sprintf("OpenPGP %X", e.PrimaryKey.Fingerprint)}
	if identity := e.PrimaryIdentity(); identity != nil {
		s.Name = identity.Name
	}
	return s
}
