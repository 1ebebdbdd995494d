// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package adopt has the commands adopt and release, with which objects come
// under a GitSync and leave it again as they are.
//
// They only ask: what is written on objects is written by Mainstay itself, under
// the rights of whoever may write the GitSync.
package adopt
