// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package receive

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
)

// genuine tells whether a request comes from who knows the secret. Every
// header that is there has to fit, in constant time; without one it does not.
func genuine(h http.Header, body, secret []byte) bool {
	if len(secret) == 0 {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	want := hex.EncodeToString(mac.Sum(nil))
	signed, fits := false, true
	check := func(name, prefix, want string) {
		for _, got := range h.Values(name) {
			signed = true
			got, ok := strings.CutPrefix(got, prefix)
			if !ok || subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
				fits = false
			}
		}
	}
	check("X-Hub-Signature-256", "sha256=", want) // GitHub, and beside their own Gitea and Forgejo
	check("X-Hub-Signature", hubPrefix(h), hubWant(h, want))
	check("X-Gitea-Signature", "", want)
	check("X-Forgejo-Signature", "", want)
	// Hashed, so that not even the secret's length can be told.
	sum := sha256.Sum256(secret)
	for _, token := range h.Values("X-Gitlab-Token") {
		signed = true
		got := sha256.Sum256([]byte(token))
		fits = fits && subtle.ConstantTimeCompare(got[:], sum[:]) == 1
	}
	return signed && fits
}

// hubPrefix is that of Bitbucket's signature. GitHub and Gitea have one with
// SHA-1 under the same name, beside the one that counts: it is left alone.
func hubPrefix(h http.Header) string {
	if h.Get("X-Hub-Signature-256") != "" && strings.HasPrefix(h.Get("X-Hub-Signature"), "sha1=") {
		return ""
	}
	return "sha256="
}

func hubWant(h http.Header, want string) string {
	if hubPrefix(h) == "" {
		return h.Get("X-Hub-Signature")
	}
	return want
}
