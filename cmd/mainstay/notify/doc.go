// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package notify tells people in chats, by mail and by pager what happened.
//
// Telling never waits and never fails for who tells: what finds no room is
// dropped and counted. Notices about one GitSync and one account within a window
// become one message; a message is sent again, with growing pauses, until the
// receiver takes it or it is given up and counted. Addresses come from Secrets,
// are read for each message, and appear in no log line and no error.
package notify
