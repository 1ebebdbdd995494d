// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "k8s.io/apimachinery/pkg/types"

// GitSyncSource is the key of the source that holds a GitSync's own policies.
func GitSyncSource(key types.NamespacedName) string { return "gitsync/" + key.String() }

// ChangePolicySource is the key of the source that holds a ChangePolicy's modules.
func ChangePolicySource(key types.NamespacedName) string { return "changepolicy/" + key.String() }

// RepositorySource is the source with the policies of a GitSync's repository.
// They speak about that GitSync's objects; outside Mainstay's own namespace they
// also see nothing of the cluster but their namespace.
func RepositorySource(sync types.NamespacedName, own string, modules map[string]string) Source {
	s := Source{Key: GitSyncSource(sync), Sync: &sync, Modules: modules}
	if sync.Namespace != own {
		s.Namespace = sync.Namespace
	}
	return s
}
