// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// Size is the length of a key in bytes.
const Size = 32

// Key seals and masks. It is immutable and safe for concurrent use.
type Key struct {
	secret []byte
}

// NewKey makes a Key from Size secret bytes.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) != Size {
		return nil, fmt.Errorf("sealing key has %d bytes, want %d", len(secret), Size)
	}
	return &Key{secret: append([]byte(nil), secret...)}, nil
}

// Generate returns secret bytes for a new key.
func Generate() ([]byte, error) {
	secret := make([]byte, Size)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("generate sealing key: %w", err)
	}
	return secret, nil
}

// ErrSeal is returned by Verify for a record that Mainstay did not write.
var ErrSeal = errors.New("the seal does not fit: this record was not written by Mainstay")

// Seal returns the seal of data. The purpose keeps a record of one kind from
// passing as one of another kind.
func (k *Key) Seal(purpose string, data []byte) string {
	return hex.EncodeToString(k.sum("seal\x00"+purpose, data))
}

// Verify returns ErrSeal unless seal was made by Seal with the same purpose,
// data and key.
func (k *Key) Verify(purpose string, data []byte, seal string) error {
	got, err := hex.DecodeString(seal)
	if err != nil || !hmac.Equal(got, k.sum("seal\x00"+purpose, data)) {
		return ErrSeal
	}
	return nil
}

// Token is a word of 128 bits, in lower-case hexadecimal, that only who has the
// key can tell, for what has to be the same on all replicas and can't be guessed.
func (k *Key) Token(purpose string) string {
	return hex.EncodeToString(k.sum("token", []byte(purpose))[:16])
}

// Mask is a short keyed hash of a value: equal values have equal masks, and
// the value can't be found from it without the key.
func (k *Key) Mask(value []byte) string {
	return hex.EncodeToString(k.sum("mask", value)[:6])
}

func (k *Key) sum(purpose string, data []byte) []byte {
	m := hmac.New(sha256.New, k.secret)
	m.Write([]byte(purpose))
	m.Write([]byte{0})
	m.Write(data)
	return m.Sum(nil)
}
