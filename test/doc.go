// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package test holds what is true of the repository as a whole: which package
// may import which, and that each of them says what it guarantees.
package test
