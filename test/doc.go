// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package test holds what is true of the repository as a whole: which package
// may import which, that each of them says what it guarantees, and that the
// README knows every reason for which a GitSync is not ready.
package test
