// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package audit words and records decisions.
//
// One wording serves the refusal, the warning, the Event and the ledger, so
// that the same decision reads the same wherever it is met. Every decision that
// matters leaves one line in the ledger; a dry run leaves nothing. Recording waits
// neither for the ledger's output nor for the API server, and what finds no room
// is counted. A refusal that comes again within ten minutes is counted and
// written as one line with its count; its Event comes once an hour. The values of
// Secrets appear nowhere: keyed hashes stand for them.
package audit
