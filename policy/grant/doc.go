// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package grant knows which BreakGlasses are approved, and what was refused
// lately, so that a request can be as narrow as a refusal.
//
// Every request is one sealed Secret in Mainstay's own namespace, written by
// the replica that judges it before it answers, and written again by the one
// that judges its approval. A grant is active only while such a record says so,
// its end has not come, and its BreakGlass is there with the same uid and the
// same spec, not revoked. What the status of a BreakGlass says, or an approval
// that no replica has judged, grants nothing.
package grant
