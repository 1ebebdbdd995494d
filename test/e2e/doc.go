// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e tries the whole of Mainstay as its users meet it: the real
// binary under the chart's account on a real control plane, kubectl as alice,
// and git pushes. It has tests only.
package e2e
