// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package suspend is the way out for the day on which one GitSync is wrong: an
// annotation that stops enforcing what it declares, for a time and a reason.
//
// The annotation alone suspends nothing. Who set it, and until when it counts,
// is a sealed record that the judging replica writes before it answers; an
// annotation without a live record of exactly its value was forged or has had
// its time. So every replica agrees, and a suspension ends by itself.
package suspend
