// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sops

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var sealed = regexp.MustCompile(`^ENC\[AES256_GCM,data:(.+),iv:(.+),tag:(.+),type:(.+)\]`)

// errOpen says no more: whatever is wrong with a sealed value, it is not used.
var errOpen = errors.New("a value was changed after it was encrypted, or is not where it was then")

// open decrypts one value. context is where the value stands: it opens nowhere
// else.
func open(text string, key []byte, context string) (any, error) {
	if text == "" {
		return "", nil
	}
	parts := sealed.FindStringSubmatch(text)
	if parts == nil {
		return nil, errors.New("a value that has to be encrypted is not")
	}
	var raw [3][]byte
	for i := range raw {
		var err error
		if raw[i], err = base64.StdEncoding.DecodeString(parts[i+1]); err != nil {
			return nil, errOpen
		}
	}
	block, err := aes.NewCipher(key)
	if err != nil || len(key) != 32 || len(raw[1]) == 0 {
		return nil, errOpen
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(raw[1]))
	if err != nil {
		return nil, errOpen
	}
	plain, err := gcm.Open(nil, raw[1], append(raw[0], raw[2]...), []byte(context))
	if err != nil {
		return nil, errOpen
	}
	return typed(string(plain), parts[4])
}

// comment stands for one that SOPS keeps as an element of a list.
type comment struct{}

// typed gives a decrypted text the type that it had.
func typed(plain, kind string) (value any, err error) {
	switch kind {
	case "str", "bytes":
		return plain, nil
	case "comment":
		return comment{}, nil
	case "int":
		value, err = strconv.Atoi(plain)
	case "float":
		value, err = strconv.ParseFloat(plain, 64)
	case "bool":
		value, err = strconv.ParseBool(plain)
	case "time":
		value, err = time.Parse(time.RFC3339Nano, plain)
	default:
		return nil, errors.New("a value has an unknown type")
	}
	if err != nil {
		return nil, errOpen // the parser's message repeats the value
	}
	return value, nil
}

// canonical is a value as the MAC sees it.
func canonical(value any) ([]byte, error) {
	switch value := value.(type) {
	case string:
		return []byte(value), nil
	case int:
		return []byte(strconv.Itoa(value)), nil
	case float64:
		return []byte(strconv.FormatFloat(value, 'f', -1, 64)), nil
	case bool:
		text := strconv.FormatBool(value)
		return []byte(strings.ToUpper(text[:1]) + text[1:]), nil
	case time.Time:
		return value.MarshalText()
	default:
		return nil, errors.New("a value has a type that SOPS does not know")
	}
}
