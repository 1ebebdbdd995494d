// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package registration tells the API server what to ask Mainstay about.
//
// The ValidatingWebhookConfiguration is generated from the index: exactly the
// declared resources, one entry for each way to fail. No entry fails closed
// before the API server was seen to reach Mainstay by this very configuration,
// and none does while mainstay-off is in force. A configuration that someone
// deletes or edits is put back; what others may add without weakening it is
// left alone. It is never deleted on exit.
package registration
