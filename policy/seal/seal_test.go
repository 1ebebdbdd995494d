// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func key(t *testing.T, fill byte) *Key {
	t.Helper()
	k, err := NewKey(bytes.Repeat([]byte{fill}, Size))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestVerify(t *testing.T) {
	k := key(t, 1)
	seal := k.Seal("permit", []byte("data"))
	for name, tt := range map[string]struct {
		key           *Key
		purpose, data string
		seal          string
		ok            bool
	}{
		"the seal fits":              {k, "permit", "data", seal, true},
		"an equal key will do":       {key(t, 1), "permit", "data", seal, true},
		"another key does not":       {key(t, 2), "permit", "data", seal, false},
		"another purpose does not":   {k, "approval", "data", seal, false},
		"other data does not":        {k, "permit", "date", seal, false},
		"moving the border does not": {k, "permitd", "ata", seal, false},
		"no seal":                    {k, "permit", "data", "", false},
		"half a seal":                {k, "permit", "data", seal[:32], false},
		"what is not hexadecimal":    {k, "permit", "data", strings.Repeat("z", len(seal)), false},
		"a mask is no seal":          {k, "permit", "data", k.Mask([]byte("data")), false},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.key.Verify(tt.purpose, []byte(tt.data), tt.seal)
			if tt.ok && err != nil {
				t.Errorf("Verify = %v", err)
			}
			if !tt.ok && !errors.Is(err, ErrSeal) {
				t.Errorf("Verify = %v, want ErrSeal", err)
			}
		})
	}
}

func TestMask(t *testing.T) {
	k := key(t, 1)
	a := k.Mask([]byte("a"))
	if a != key(t, 1).Mask([]byte("a")) {
		t.Error("equal values have different masks")
	}
	if a == k.Mask([]byte("b")) || a == key(t, 2).Mask([]byte("a")) {
		t.Error("another value or key has the same mask")
	}
	if len(a) != 12 {
		t.Errorf("mask %q has %d characters, want 12", a, len(a))
	}
}

func TestToken(t *testing.T) {
	k := key(t, 1)
	token := k.Token("a")
	if token != key(t, 1).Token("a") {
		t.Error("two replicas have different tokens")
	}
	if token == k.Token("b") || token == key(t, 2).Token("a") {
		t.Error("another purpose or key has the same token")
	}
	if len(token) != 32 || strings.Trim(token, "0123456789abcdef") != "" {
		t.Errorf("token %q, want 32 hexadecimal characters", token)
	}
	if strings.HasPrefix(k.Seal("", []byte("a")), token) || strings.HasPrefix(token, k.Mask([]byte("a"))) {
		t.Error("a token is the beginning of a seal or a mask")
	}
}

func TestNewKeyWantsItsSize(t *testing.T) {
	for _, n := range []int{0, Size - 1, Size + 1} {
		if _, err := NewKey(make([]byte, n)); err == nil {
			t.Errorf("NewKey took %d bytes", n)
		}
	}
	secret, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	seal := k.Seal("p", nil)
	clear(secret)
	if err := k.Verify("p", nil, seal); err != nil {
		t.Error("the key changed with the bytes it was made of")
	}
}
