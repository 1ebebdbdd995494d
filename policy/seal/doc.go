// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package seal proves that a record was written by Mainstay.
//
// A seal is an HMAC-SHA-256 under a key that all replicas share. A record
// without a seal that fits proves nothing, so a forged one grants nothing. The
// same key makes the keyed hashes that stand for the values of Secrets.
package seal
