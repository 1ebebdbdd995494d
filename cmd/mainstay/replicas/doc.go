// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package replicas asks the replicas of Mainstay what they know, in the name of
// a kubeconfig's user: each of them through the API server's port-forward, or one
// by the URL that Mainstay's namespace names. The user's credentials are shown
// only to who has a certificate of Mainstay's own authority.
package replicas
