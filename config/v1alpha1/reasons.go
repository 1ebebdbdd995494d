// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// UnreadyReasons are the reasons with which the condition Ready of a GitSync is
// False. They are part of the API: none is renamed, and alerts and scripts may
// go by them. The README says for each what to do.
func UnreadyReasons() []string {
	return []string{
		// The repository.
		"AuthFailed", "FetchFailed", "HostKeyFailed", "PathNotFound", "RateLimited", "RefNotFound", "RepositoryNotFound",
		"SecretNotFound", "SourceNotAllowed", "SubmoduleNotAllowed", "TLSFailed", "Unreachable",
		// The commit.
		"EmptyRender", "Invalid", "PoliciesFailed", "RenderFailed", "Rewound", "Unverified",
		// What it would do.
		"AccessDenied", "AdoptionPending", "Conflict", "DependencyCycle", "DependencyNotReady", "Frozen", "Immutable",
		"KindNotInstalled", "MovePending", "NamespaceNotFound", "PlanFailed", "PrunePending", "ServiceAccountRequired", "Suspended",
		// What it did.
		"ApplyFailed", "Deleting", "HealthTimeout", "InventoryFailed", "PruneFailed", "RecreateFailed", "RegistrationFailed",
		"Timeout", "Unhealthy",
	}
}
