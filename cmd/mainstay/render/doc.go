// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package render is the command that prints what a folder, or a commit, would
// apply. It renders with the sync loop's own code, writes nothing, and reads
// nothing outside of the repository; with --sync it asks the cluster for the
// GitSync. Values of Secrets are masked unless they are asked for.
package render
