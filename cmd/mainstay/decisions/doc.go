// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package decisions is the command that takes recorded decisions out of a
// cluster, so that policies can be judged by them where there is none.
package decisions
