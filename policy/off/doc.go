// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package off is the way out for the day on which Mainstay is wrong
// everywhere: a ConfigMap that anyone on call can create with plain kubectl.
//
// While it is in force every replica permits and records, the loop writes
// nothing, and the webhook's entries fail open. It ends by itself, at the
// latest after Max; only a new ConfigMap prolongs it.
package off
