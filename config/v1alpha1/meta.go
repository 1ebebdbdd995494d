// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Names that Mainstay writes on objects. They are part of the API.
const (
	// FieldManager is the field manager of every write that Mainstay makes.
	FieldManager = "mainstay"

	// SyncLabel is the ownership label. Its value is
	// <GitSync's name>.<hash of its namespace and the object's own identity>; a
	// value that does not fit its object is a copy and proves nothing.
	SyncLabel = "mainstay.dev/sync"

	// RequestedAtAnnotation on a GitSync asks for a sync now: any new value.
	RequestedAtAnnotation = "mainstay.dev/requested-at"

	// GitSyncFinalizer keeps a deleted GitSync until its objects are let go.
	GitSyncFinalizer = "mainstay.dev/gitsync"

	// SuspendAnnotation on a GitSync suspends its enforcement:
	// "<duration> <reason>". It takes the verb suspend and ends by itself.
	SuspendAnnotation = "mainstay.dev/suspend"

	// RevertAnnotation on a BreakGlass that has ended, or is revoked in the same
	// write, gives up what was changed under it: git's values come back at once.
	// Its value says why.
	RevertAnnotation = "mainstay.dev/revert"

	// AdoptAnnotation on a GitSync has the objects taken over that existed before
	// the commit which it names, or the first digits of which.
	AdoptAnnotation = "mainstay.dev/adopt"

	// ConfirmAnnotation on a GitSync confirms what the commit prunes that it
	// names, or the first digits of which, and that the ref has gone back to it.
	ConfirmAnnotation = "mainstay.dev/confirm"

	// PruneAnnotation on an object, with the value disabled, has it let go
	// instead of deleted when it leaves git.
	PruneAnnotation = "mainstay.dev/prune"

	// RecreateAnnotation on an object in git, with the value "true", has it
	// deleted and made anew where a field that can't be changed differs.
	RecreateAnnotation = "mainstay.dev/recreate"

	// ModeAnnotation on an object in git holds it as Audit, Warn or Enforce,
	// whatever the mode of its GitSync is, unless that is Observe.
	ModeAnnotation = "mainstay.dev/mode"
	// SubstituteAnnotation on an object in git, with the value
	// SubstituteDisabled, keeps spec.render.variables out of it.
	SubstituteAnnotation = "mainstay.dev/substitute"
	// SubstituteDisabled is the value of SubstituteAnnotation.
	SubstituteDisabled = "disabled"

	// DependsOnAnnotation on an object in git names objects of the same GitSync
	// that have to be healthy before it is written, separated by commas:
	// <group>/namespaces/<namespace>/<kind>/<name> or <group>/<kind>/<name>.
	DependsOnAnnotation = "mainstay.dev/depends-on"

	// HealthAnnotation on an object in git with the value Ignore has nothing
	// wait for the object's health.
	HealthAnnotation = "mainstay.dev/health"

	// FromLabel on a ChangePolicy names the GitSync from whose repository it
	// comes. Mainstay alone writes such a ChangePolicy; its name is
	// GitSyncPolicyPrefix and the GitSync's.
	FromLabel           = "mainstay.dev/from"
	GitSyncPolicyPrefix = "gitsync-"

	// OffConfigMap is the name of the ConfigMap in Mainstay's namespace that
	// turns enforcement off everywhere, for the time its data say.
	OffConfigMap = "mainstay-off"

	// SecretTypeInventory and SecretTypePermit are the types of the sealed
	// Secrets that Mainstay alone writes in its namespace.
	SecretTypeInventory = "mainstay.dev/inventory"
	SecretTypePermit    = "mainstay.dev/permit"
	// SecretTypeGrant is that of requests for break-glass and their approvals,
	// SecretTypeRefusals that of what a replica refused lately.
	SecretTypeGrant    = "mainstay.dev/grant"
	SecretTypeRefusals = "mainstay.dev/refusals"
	// SecretTypePolicy is that of the last good set of a ChangePolicy.
	SecretTypePolicy = "mainstay.dev/policy"
	// SecretTypeKey is the type of the Secret that holds the sealing key.
	SecretTypeKey = "mainstay.dev/key"
)

// KeySecret is the Secret of Mainstay's namespace that holds the sealing key
// under KeySecretKey.
const (
	KeySecret    = "mainstay-key"
	KeySecretKey = "key"
)

// Condition types and reasons, by the Kubernetes API conventions.
const (
	ConditionReady         = "Ready"
	ConditionReconciling   = "Reconciling"
	ConditionStalled       = "Stalled"
	ConditionEnforcing     = "Enforcing"
	ConditionVerified      = "Verified"
	ConditionPoliciesReady = "PoliciesReady"
	ConditionDrifted       = "Drifted"
	// ReasonAwaitingGit of Drifted: what was changed under a grant is held as it
	// is after the grant's end, until git says the same.
	ReasonAwaitingGit = "AwaitingGit"
	// ConditionFailing of a ChangePolicy is True while its rules can't be judged
	// or are in quarantine.
	ConditionFailing = "Failing"
)
