// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package breakglass is the command mainstay breakglass: asking for a
// time-boxed grant, approving it, and ending it, in as few words as possible.
// It is a client like any other and holds no right of its own: each thing that
// it does is a write of a BreakGlass, which the webhook judges.
package breakglass
