// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package policy is the command mainstay policy: what an author of exceptions
// and denials needs, from the first line to the pull request. Its commands judge
// with the same functions as the webhook and the sync loop, on the same input.
package policy
