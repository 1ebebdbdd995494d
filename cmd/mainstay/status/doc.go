// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package status is the command status: what a GitSync has applied, how its
// objects are, what differs from git, and what to do next. All of it comes from
// the GitSync, so that whoever may read that may see it.
package status
