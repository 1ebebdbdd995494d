// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "crypto/rand"

// NewDecisionID returns a new random identifier of seven characters of a-z and
// 0-9, short enough to be read out on a call.
func NewDecisionID() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	const fair = 256 / len(alphabet) * len(alphabet)
	id := make([]byte, 0, 7)
	var random [16]byte
	for {
		// It never returns an error: it ends the program instead.
		_, _ = rand.Read(random[:])
		for _, b := range random {
			if int(b) >= fair {
				continue
			}
			if id = append(id, alphabet[int(b)%len(alphabet)]); len(id) == cap(id) {
				return string(id)
			}
		}
	}
}
