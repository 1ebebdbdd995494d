// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package cert makes the webhook's serving certificate.
//
// All replicas share one certificate authority, kept in a Secret of Mainstay's
// namespace, so that the API server trusts each of them by the same bundle.
// A replica's own certificate lives in memory alone. Both are renewed after two
// thirds of their life; the bundle carries the old authority until it expires,
// so a renewal interrupts nobody.
package cert
