// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook answers admission requests: before a change to a declared
// object happens, may it stand?
//
// A request that can't be read, a judge that fails, a time-out or a panic is
// never a permit. The content of a write is what is trusted, whoever sends it:
// Mainstay's own account gets no more than what git says. An object that is not
// declared is nobody's business here and passes.
package webhook
