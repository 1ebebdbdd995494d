// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package report is the command that counts what was refused, or would have
// been: by account, kind and path, with what would permit it. What it counts is
// the way from Observe to Enforce, and mainstay policy suggest writes.
package report
