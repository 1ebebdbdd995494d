// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Mode says how strictly a GitSync's objects are held.
//
// +kubebuilder:validation:Enum=Observe;Audit;Warn;Enforce
type Mode string

// The modes. All but Observe apply git.
const (
	// ModeObserve writes nothing at all: what would be applied and refused is
	// only judged and recorded.
	ModeObserve Mode = "Observe"
	// ModeAudit permits every change and records what would have been refused.
	ModeAudit Mode = "Audit"
	// ModeWarn is ModeAudit, and tells the user.
	ModeWarn Mode = "Warn"
	// ModeEnforce refuses, and reverts what slipped through.
	ModeEnforce Mode = "Enforce"
)

// Undeclared says who may add, change or remove fields that git does not set.
//
// +kubebuilder:validation:Enum=RejectPeople;Reject;Permit
type Undeclared string

// The values of Undeclared.
const (
	// UndeclaredRejectPeople refuses people; service accounts and system
	// components may. It guards against habit and is no security boundary.
	UndeclaredRejectPeople Undeclared = "RejectPeople"
	// UndeclaredReject refuses everybody.
	UndeclaredReject Undeclared = "Reject"
	// UndeclaredPermit permits everybody.
	UndeclaredPermit Undeclared = "Permit"
)

// Controllers says what becomes of a service account's write to declared fields.
//
// +kubebuilder:validation:Enum=Refuse;Correct
type Controllers string

// The values of Controllers.
const (
	// ControllersRefuse refuses the write.
	ControllersRefuse Controllers = "Refuse"
	// ControllersCorrect puts git's values back and lets the rest of the write
	// through.
	ControllersCorrect Controllers = "Correct"
)

// Adopt says what becomes of objects that exist already when a GitSync begins
// to declare them.
//
// +kubebuilder:validation:Enum=Equal;Force;Never
type Adopt string

// The values of Adopt.
const (
	// AdoptEqual takes over those in which nothing would change; the others are
	// left alone until somebody accepts that they become what git says.
	AdoptEqual Adopt = "Equal"
	// AdoptForce takes over all of them: git's values win.
	AdoptForce Adopt = "Force"
	// AdoptNever leaves all of them alone.
	AdoptNever Adopt = "Never"
)

// GitSync is one repository, one ref, one path, and how strictly to hold what
// it declares.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=gsync,categories=mainstay
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.enforcement.mode`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.lastAppliedRevision`
// +kubebuilder:printcolumn:name="Drift",type=integer,JSONPath=`.status.drift.current`
// +kubebuilder:printcolumn:name="Refused24h",type=integer,JSONPath=`.status.drift.refused24h`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 50",message="metadata.name must be at most 50 characters: it is part of the ownership label's value"
type GitSync struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec GitSyncSpec `json:"spec"`
	// +optional
	Status GitSyncStatus `json:"status,omitempty"`
}

// GitSyncList is a list of GitSyncs.
//
// +kubebuilder:object:root=true
type GitSyncList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GitSync `json:"items"`
}

// GitSyncSpec says what to follow and how strictly to hold it.
type GitSyncSpec struct {
	// Source is the repository, the ref and the path to follow.
	// +required
	Source Source `json:"source"`

	// Render says how the files under source.path become objects.
	// +optional
	Render Render `json:"render,omitempty"`

	// TargetNamespace is the namespace of every namespaced object, whatever its
	// manifest says. Empty: what the manifest says.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="targetNamespace must be the name of a namespace"
	TargetNamespace string `json:"targetNamespace,omitempty"`

	// ServiceAccountName is an account in the GitSync's namespace that is
	// impersonated for every write to its objects. Required outside Mainstay's
	// own namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// Interval is the time between two looks at the repository.
	// +optional
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="interval must be between 1s and 24h"
	Interval *metav1.Duration `json:"interval,omitempty"`

	// Timeout bounds one sync, from fetch to the last object.
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="timeout must be between 1s and 1h"
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// Adopt says what becomes of objects that exist already: Equal (default)
	// takes over those in which nothing would change and waits with the others,
	// Force takes over all, Never none. What waits is taken over as git says
	// when the annotation mainstay.dev/adopt names the commit.
	// +optional
	// +kubebuilder:default=Equal
	Adopt Adopt `json:"adopt,omitempty"`

	// DependsOn are GitSyncs that have to be Ready, with what their spec and
	// their newest commit say, before a commit of this one is brought in. What
	// is applied stays enforced meanwhile.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	DependsOn []Dependency `json:"dependsOn,omitempty"`

	// Health says whether Ready waits until every object is healthy: Wait
	// (default), for at most timeout, or Ignore. The counts in status and
	// mainstay.dev/depends-on go by health in either case.
	// +optional
	// +kubebuilder:default=Wait
	Health Health `json:"health,omitempty"`

	// Prune deletes objects that a commit no longer declares.
	// +optional
	// +kubebuilder:default=true
	Prune *bool `json:"prune,omitempty"`

	// MaxPrune is the most that one commit may prune of a GitSync that holds at
	// least 5 objects: a share (50%, the default) or a number of objects. A
	// commit that would prune more, or every Namespace, or a Namespace with
	// objects that it does not prune, waits until the annotation
	// mainstay.dev/confirm names it.
	// +optional
	// +kubebuilder:default="50%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^(100|[0-9]{1,2})%$`
	// +kubebuilder:validation:XValidation:rule="type(self) == string || self >= 0",message="maxPrune must be a share, such as 50%, or a number of objects"
	MaxPrune *intstr.IntOrString `json:"maxPrune,omitempty"`

	// DeletionPolicy says what happens to the objects when the GitSync itself
	// is deleted: Orphan (default) lets them go and keeps them, Delete deletes
	// them.
	// +optional
	// +kubebuilder:default=Orphan
	// +kubebuilder:validation:Enum=Orphan;Delete
	DeletionPolicy string `json:"deletionPolicy,omitempty"`

	// Enforcement says how strictly the objects are held.
	// +required
	Enforcement Enforcement `json:"enforcement"`

	// Policies are the exceptions and denials that concern this GitSync's
	// objects.
	// +optional
	Policies Policies `json:"policies,omitempty"`

	// Contact is the last line of a refusal: whom to ask.
	// +optional
	// +kubebuilder:validation:MaxLength=120
	// +kubebuilder:validation:Pattern=`^[^\n\r]*$`
	Contact string `json:"contact,omitempty"`
}

// Source is one path of one ref of one repository.
//
// +kubebuilder:validation:XValidation:rule="!has(self.verify) || self.verify.mode == 'Off' || has(self.verify.secretRef)",message="verify.secretRef is required: it names the Secret with the keys of those who may sign"
type Source struct {
	// URL of the repository: https://, ssh:// or file:///.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.startsWith('https://') || self.startsWith('ssh://') || self.startsWith('file:///')",message="url must start with https://, ssh:// or file:///; git@host:path.git is written ssh://git@host/path.git"
	URL string `json:"url"`

	// Ref is exactly one of branch, tag, semver, commit and name.
	// +required
	Ref Ref `json:"ref"`

	// Path is the folder whose manifests are applied, relative to the
	// repository's root.
	// +optional
	// +kubebuilder:default="."
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(s, s == '..')",message="path must be relative and stay inside the repository"
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path,omitempty"`

	// SecretRef names a Secret in the GitSync's namespace. For https it has
	// username and password, or bearerToken, or githubAppID,
	// githubAppInstallationID, githubAppPrivateKey and perhaps githubAppBaseURL;
	// and, where they are needed, ca.crt, tls.crt with tls.key, and proxy. For
	// ssh it has identity, perhaps encrypted with password, and known_hosts.
	// +optional
	SecretRef *LocalRef `json:"secretRef,omitempty"`

	// Verify says whose signatures a revision needs before it is applied.
	// +optional
	Verify *Verify `json:"verify,omitempty"`

	// AllowRewind applies a branch or tag also when it moves to a commit that
	// does not descend from the applied one. Otherwise such a commit waits.
	// +optional
	AllowRewind bool `json:"allowRewind,omitempty"`

	// Submodules says what becomes of submodules under path: Refuse (default)
	// makes them an error, Follow reads them at the commits that git pins. They
	// have to be on the server of the repository, whose credentials they are
	// fetched with, or where the operator's configuration allows it.
	// +optional
	// +kubebuilder:default=Refuse
	Submodules Submodules `json:"submodules,omitempty"`

	// WebURL is a template for links to a file and line: {commit}, {file} and
	// {line} are replaced. Guessed from URL where it is empty.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	WebURL string `json:"webURL,omitempty"`
}

// Submodules says what becomes of submodules.
//
// +kubebuilder:validation:Enum=Refuse;Follow
type Submodules string

// The values of Submodules.
const (
	// SubmodulesRefuse makes a submodule that would be read an error.
	SubmodulesRefuse Submodules = "Refuse"
	// SubmodulesFollow reads submodules at the commits that git pins.
	SubmodulesFollow Submodules = "Follow"
)

// VerifyMode says which commits have to be signed.
//
// +kubebuilder:validation:Enum=Off;Head;Strict
type VerifyMode string

// The values of VerifyMode.
const (
	// VerifyOff asks for no signature.
	VerifyOff VerifyMode = "Off"
	// VerifyHead wants the commit that is applied to be signed, or the tag that
	// leads to it.
	VerifyHead VerifyMode = "Head"
	// VerifyStrict wants every commit since the applied one to be signed, those
	// of merged branches included. A first sync checks what Head checks.
	VerifyStrict VerifyMode = "Strict"
)

// Verify says whose signatures count.
type Verify struct {
	// Mode is "Off", Head or Strict. YAML takes the bare word Off for false: write
	// it in quotes, or leave verify out.
	// +required
	Mode VerifyMode `json:"mode"`
	// SecretRef names a Secret in the GitSync's namespace with OpenPGP public
	// keys under names that end in .asc or .gpg, SSH keys under
	// allowed_signers, and keys that count no more under revoked_keys.
	// +optional
	SecretRef *LocalRef `json:"secretRef,omitempty"`
}

// Ref is exactly one of its fields.
//
// +kubebuilder:validation:XValidation:rule="[has(self.branch), has(self.tag), has(self.semver), has(self.commit), has(self.name)].filter(x, x).size() == 1",message="exactly one of branch, tag, semver, commit and name must be set"
type Ref struct {
	// Branch follows the head of a branch.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Branch string `json:"branch,omitempty"`
	// Tag is one tag.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	Tag string `json:"tag,omitempty"`
	// SemVer follows the tag with the highest version in a range, for example
	// "~1.4" or ">=1.2.0 <2.0.0". Tags are versions of three numbers, with or
	// without a v in front; one with a prerelease counts where the range names
	// a prerelease, for example ">=1.2.0-0".
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	SemVer string `json:"semver,omitempty"`
	// Commit is one full commit id.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{40}$`
	Commit string `json:"commit,omitempty"`
	// Name is any ref by its full name, for example refs/pull/7/head.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^refs/[^ ~^:?*\[\\]+$`
	Name string `json:"name,omitempty"`
}

// LocalRef names an object in the same namespace.
type LocalRef struct {
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Enforcement says how strictly objects are held.
type Enforcement struct {
	// Mode is Observe (write nothing; judge and record), Audit (apply git,
	// permit and record), Warn (Audit, and tell the user) or Enforce (refuse,
	// and revert what slips through).
	// +required
	Mode Mode `json:"mode"`

	// Undeclared says who may touch fields that git does not set.
	// +optional
	// +kubebuilder:default=RejectPeople
	Undeclared Undeclared `json:"undeclared,omitempty"`

	// Controllers says what becomes of a service account's write that touches
	// declared fields: Refuse (default), or Correct, which puts git's values
	// back and lets the rest of the write through.
	// +optional
	// +kubebuilder:default=Refuse
	Controllers Controllers `json:"controllers,omitempty"`
}

// The values of Policies.OnFailure.
const (
	// OnFailureKeepLast applies the commit and keeps the last good policies.
	OnFailureKeepLast = "KeepLast"
	// OnFailureHoldCommit makes the commit wait.
	OnFailureHoldCommit = "HoldCommit"
)

// Policies are the policies of one GitSync.
type Policies struct {
	// Library switches on policies that ship with Mainstay, by name, for example
	// keda. They judge the objects of this GitSync alone.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +listType=set
	Library []string `json:"library,omitempty"`

	// Parameters of the policies in Library, by their names; Rego in the folders
	// reads all of them as data.parameters.
	// +optional
	Parameters Parameters `json:"parameters,omitempty"`

	// Exceptions are the declarative form, compiled to Rego.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	Exceptions []Exception `json:"exceptions,omitempty"`

	// Paths are folders with Rego, relative to the repository's root.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.all(p, !p.startsWith('/') && !p.split('/').exists(s, s == '..'))",message="paths must be relative and stay inside the repository"
	// +listType=set
	Paths []string `json:"paths,omitempty"`

	// OnFailure says what becomes of a commit whose policies do not compile or
	// whose tests fail: KeepLast applies it and keeps the last good policies,
	// HoldCommit makes it wait.
	// +optional
	// +kubebuilder:default=KeepLast
	// +kubebuilder:validation:Enum=KeepLast;HoldCommit
	OnFailure string `json:"onFailure,omitempty"`
}

// Parameters are values for policies: JSON by name, read as
// data.parameters.<name>.
//
// +kubebuilder:validation:MaxProperties=50
type Parameters map[string]apiextensionsv1.JSON

// Values are the parameters decoded, so that equal ones are equal however they
// were written.
func (p Parameters) Values() (map[string]any, error) {
	values := make(map[string]any, len(p))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		var v any
		if err := json.Unmarshal(p[name].Raw, &v); err != nil {
			return nil, fmt.Errorf("parameters.%s: %w", name, err)
		}
		values[name] = v
	}
	return values, nil
}

// Exception permits a change to what git declares. Every list that is given
// has to match; reason and paths are required.
type Exception struct {
	// Kinds, for example Deployment or Deployment.apps; absent: every kind.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	Kinds []string `json:"kinds,omitempty"`
	// Names of objects; * matches any characters. Absent: every name.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	Names []string `json:"names,omitempty"`
	// Paths that may change, in the notation that a refusal prints; * is one
	// key or element, ** any depth. "**" permits a whole update, never a delete.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=1024
	// +listType=atomic
	Paths []string `json:"paths"`
	// Users by their full names, for example
	// system:serviceaccount:keda:keda-operator. Absent: everybody.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	Users []string `json:"users,omitempty"`
	// Reason is shown wherever the exception is used.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=250
	Reason string `json:"reason"`
	// Until is the end of the exception. Absent: no end.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// RepositoryStatus says how a repository can't be read, or could not lately.
type RepositoryStatus struct {
	// LostAt is since when it can't be read.
	// +optional
	LostAt *metav1.Time `json:"lostAt,omitempty"`
	// BackAt is since when it can be read again. For a while nothing that has
	// ended is put back.
	// +optional
	BackAt *metav1.Time `json:"backAt,omitempty"`
}

// GitSyncStatus is what Mainstay has seen and done.
type GitSyncStatus struct {
	// ObservedGeneration is the generation that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Ready, Reconciling, Stalled, Enforcing, Verified, PoliciesReady,
	// Drifted.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// LastAppliedRevision is enforced, for example main@sha1:1a2b….
	// +optional
	LastAppliedRevision string `json:"lastAppliedRevision,omitempty"`
	// LastAttemptedRevision is the newest revision that was tried.
	// +optional
	LastAttemptedRevision string `json:"lastAttemptedRevision,omitempty"`
	// LastHandledRequest is the last value of mainstay.dev/requested-at acted upon.
	// +optional
	LastHandledRequest string `json:"lastHandledRequest,omitempty"`
	// LastPush is when a push webhook last told that the ref has moved.
	// +optional
	LastPush *metav1.MicroTime `json:"lastPush,omitempty"`
	// Objects counts what is declared and what is as git says.
	// +optional
	// +kubebuilder:default={declared:0,ready:0}
	Objects ObjectCounts `json:"objects,omitempty"`
	// Drift counts differences from git.
	// +optional
	// +kubebuilder:default={current:0,permitted:0,refused24h:0,reverted24h:0}
	Drift DriftCounts `json:"drift,omitempty"`
	// Suspended tells that enforcement is suspended, by whom and until when.
	// +optional
	Suspended *Suspended `json:"suspended,omitempty"`
	// Off tells that mainstay-off is in force, why and until when.
	// +optional
	Off *Off `json:"off,omitempty"`
	// Repository says since when the repository can't be read; absent where it
	// can.
	// +optional
	Repository *RepositoryStatus `json:"repository,omitempty"`
	// NextSync is when the repository is looked at again.
	// +optional
	NextSync *metav1.Time `json:"nextSync,omitempty"`
	// History are the revisions that were applied last, the newest first.
	// +optional
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	History []AppliedRevision `json:"history,omitempty"`
}

// Suspended is a suspension in force, as the annotation mainstay.dev/suspend
// asked for it.
type Suspended struct {
	// By is who asked.
	By string `json:"by"`
	// Since and Until are its beginning and its end.
	Since metav1.Time `json:"since"`
	Until metav1.Time `json:"until"`
	// Reason that was given.
	Reason string `json:"reason"`
	// Told is the last notice of its end that was given.
	// +optional
	Told *EndNotice `json:"told,omitempty"`
}

// Off is mainstay-off in force, or over while what was changed meanwhile stays
// because the repository can't be read.
type Off struct {
	// Until is its end.
	Until metav1.Time `json:"until"`
	// Reason that was given.
	Reason string `json:"reason"`
}

// ObjectCounts counts declared objects.
type ObjectCounts struct {
	// Declared by the applied revision.
	// +optional
	Declared int32 `json:"declared"`
	// Ready are those of them that are there and healthy.
	// +optional
	Ready int32 `json:"ready"`
	// Kinds are the same counts for each kind.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	Kinds []KindCounts `json:"kinds,omitempty"`
	// NotReady are objects that are not ready, at most ten.
	// +optional
	// +kubebuilder:validation:MaxItems=10
	// +listType=atomic
	NotReady []NotReady `json:"notReady,omitempty"`
}

// DriftCounts counts differences from git.
type DriftCounts struct {
	// Current differences that no exception permits.
	// +optional
	Current int32 `json:"current"`
	// Permitted differences.
	// +optional
	Permitted int32 `json:"permitted"`
	// Refused24h is the number of requests refused in the last 24 hours.
	// +optional
	Refused24h int32 `json:"refused24h"`
	// Reverted24h is the number of reverts in the last 24 hours.
	// +optional
	Reverted24h int32 `json:"reverted24h"`
	// Objects that differ from git, at most twenty; those that may not come first.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	Objects []DriftedObject `json:"objects,omitempty"`
}
