// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package wire asks git servers for refs and packs.
//
// It speaks version 2 of git's protocol over HTTPS and SSH, in which a server
// lists only the refs that are asked for and gives out commits by their id, and
// version 0 to servers that know nothing newer. Nothing here has a clone: a
// caller says what it has, and stores the pack it gets. Every answer is
// bounded, a context ends every wait, credentials go to the host that they are
// for and to no other, and no error repeats them.
package wire
