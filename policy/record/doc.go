// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package record keeps decisions with all that they rest on, so that each can
// be explained, judged again by other policies, and made a test.
//
// What a replica decided lately is in its memory, bounded in number, size and
// age. To hand a decision over costs the request one copy of its review; all
// else happens afterwards. Nothing waits: what there is no room for is counted
// as lost. The values of Secrets are keyed hashes throughout.
package record
