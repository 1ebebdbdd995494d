// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package audit words and records decisions.
//
// One wording serves the refusal, the warning, the Event and the ledger, so
// that the same decision reads the same wherever it is met. Every decision that
// matters leaves one line in the ledger; a dry run leaves nothing. The values
// of Secrets appear nowhere: keyed hashes stand for them.
package audit
