// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package edit changes single fields of manifests in their files, and leaves
// comments, order and everything else as it is written; and it writes what it
// changed as a patch that git applies.
//
// A place that can't be changed without writing more of the file anew is an
// error, never a guess.
package edit
