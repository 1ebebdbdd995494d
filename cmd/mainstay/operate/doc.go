// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package operate has the commands by which people act on a GitSync: sync,
// suspend and resume. Each sets an annotation that kubectl sets as well, so that
// nothing depends on this program.
package operate
