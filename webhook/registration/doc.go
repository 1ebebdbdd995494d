// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package registration tells the API server what to ask Mainstay about.
//
// Two webhook configurations are generated from the index: exactly the declared
// resources, one entry for each way to fail; the mutating one is there only
// while a GitSync wants controllers' writes corrected. No entry fails closed
// before the API server was seen to reach Mainstay by this very configuration,
// and none does while mainstay-off is in force. A configuration that someone
// deletes or edits is put back; what others may add without weakening it is
// left alone. They are tried in a dry run before they are written, and are
// never deleted on exit.
package registration
