// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package ownership is the read side of the inventory: which GitSync declares
// an object, and what the API server made of its manifest (the baseline).
//
// Both halves judge by the Index. It is filled by the leader as it syncs and,
// in every other replica, from the sealed inventory in the cluster; it never
// needs git. What is not in the Index is not declared; labels on live objects
// never decide.
package ownership
