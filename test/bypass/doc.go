// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package bypass holds the tests that try to get around Mainstay: every known
// way to change a declared object without git, done for real by a person who
// may do everything, against a real control plane. Each row of its table says
// what was tried and what came of it; README.md shows the table as the last run
// found it, and a run that finds something else fails.
package bypass
