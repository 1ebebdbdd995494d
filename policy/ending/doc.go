// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package ending says when people are told that an exception ends, and in which
// words: that of a grant, of holding what was changed under it, of a suspension
// and of mainstay-off.
//
// What is due rests on the end, the clock and what was told before, so that the
// next leader neither forgets a notice nor gives it again.
package ending
