// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package permit remembers what was permitted although git says otherwise.
//
// A permit is one sealed Secret for each object and path in Mainstay's own
// namespace, written by the judging replica before it answers. It counts only
// while its seal fits, its end has not come, and the object's uid, the path and
// the value are the ones that were permitted. A permit whose request was
// refused later is harmless.
package permit
