// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package cli is what the commands about GitSyncs have in common: kubectl's own
// flags, the cluster, GitSyncs by name, and exit statuses.
package cli
