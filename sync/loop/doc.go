// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package loop keeps the cluster as git says, on the leader.
//
// Two flows meet here. A sync brings a commit into the cluster: fetch → render
// → policies → plan (dry-run) → inventory → apply → prune → status; it is read
// in Loop.sync. The guard brings an object back: watch → drift → permits →
// policy → revert; it is read in guard.judge. Self-heal never pauses: while a
// newer commit fails, the guard enforces the last one that was applied.
package loop
