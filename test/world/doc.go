// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package world starts a sandbox for the tests of a package that need all of
// Mainstay: a real control plane, the program of this tree, and a repository
// that it follows. Under the race detector the program is built with it.
package world
