// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "k8s.io/apimachinery/pkg/types"

// GitSyncSource is the key of the source that holds a GitSync's own policies.
func GitSyncSource(key types.NamespacedName) string { return "gitsync/" + key.String() }

// ChangePolicySource is the key of the source that holds a ChangePolicy's modules.
func ChangePolicySource(key types.NamespacedName) string { return "changepolicy/" + key.String() }
