// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package pitfall knows what goes wrong with policies that compile: rules that
// never match, that permit more than was meant, that stop controllers, or that
// hold at the door and not after a restart.
//
// Finding something changes nothing: what may be loaded is said by package
// policy alone. Every rule has a stable name, and a comment in the policy
// silences it where it is wrong.
package pitfall
