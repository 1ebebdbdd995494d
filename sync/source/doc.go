// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package source turns a repository and a ref into a revision and its tree.
//
// A Store keeps one bare clone for each repository and set of credentials, so
// that what one tenant may read is never read with the word of another. Each
// Fetch asks the server once where the ref points to, and transfers only what
// the clone lacks: the ref's newest commit, without history. A Snapshot is
// read from the clone's objects, which never change, and not from a checkout;
// it stays readable while later fetches happen. Nothing here needs a git
// binary, and no message holds a credential.
package source
