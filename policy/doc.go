// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package policy answers one question for both halves of Mainstay: may this
// change to a declared object stand?
//
// The order is fixed. What git says is permitted before any policy is asked;
// then deny rules refuse; then exceptions permit if the union of their paths
// covers every changed path; everything else is refused. Undefined, an error,
// a time-out, a missing or an unreadable value is never a permit.
package policy
