// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package diff is the command diff: what differs between the cluster and git, be
// it what is applied, a branch or the working copy, and what differs between two
// revisions of git without a cluster. It writes nothing, and asks the API server
// for no dry-run, which Mainstay would refuse for what is not in git yet.
package diff
