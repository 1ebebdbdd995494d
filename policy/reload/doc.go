// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package reload keeps the engine's policies as the ChangePolicies in the
// cluster say, in every replica; the leader writes their status. A set that
// does not compile, or whose tests fail, changes nothing.
package reload
