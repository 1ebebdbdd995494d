// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BreakGlass is a request for a time-boxed, audited exception. Once another
// person, who holds the verb approve, has written the own name into
// spec.approvedBy, it permits what it covers until it ends. In Mainstay's own
// namespace it may speak about the whole cluster, elsewhere about its namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bg,categories=mainstay
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="By",type=string,JSONPath=`.spec.requestedBy`
// +kubebuilder:printcolumn:name="Approved",type=string,JSONPath=`.spec.approvedBy`
// +kubebuilder:printcolumn:name="Duration",type=string,JSONPath=`.spec.duration`
// +kubebuilder:printcolumn:name="Ends",type=string,JSONPath=`.status.expiresAt`
// +kubebuilder:printcolumn:name="Emergency",type=boolean,JSONPath=`.spec.emergency`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BreakGlass struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec BreakGlassSpec `json:"spec"`
	// +optional
	Status BreakGlassStatus `json:"status,omitempty"`
}

// BreakGlassList is a list of BreakGlasses.
//
// +kubebuilder:object:root=true
type BreakGlassList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BreakGlass `json:"items"`
}

// BreakGlassSpec is the request. Of it approvedBy can be set once, and revoked;
// the rest is immutable.
//
// +kubebuilder:validation:XValidation:rule="has(self.decision) == has(oldSelf.decision) && has(self.scope) == has(oldSelf.scope) && has(self.extends) == has(oldSelf.extends) && has(self.ticket) == has(oldSelf.ticket) && has(self.subjects) == has(oldSelf.subjects) && self.?emergency.orValue(false) == oldSelf.?emergency.orValue(false)",message="a request can't be edited: delete it and make a new one"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.approvedBy) || size(oldSelf.approvedBy) == 0 || has(self.approvedBy) && self.approvedBy == oldSelf.approvedBy",message="an approval can't be changed: revoke it by spec.revoked, or make a new request"
// +kubebuilder:validation:XValidation:rule="!oldSelf.?revoked.orValue(false) || self.?revoked.orValue(false)",message="what was revoked stays revoked: make a new request"
// +kubebuilder:validation:XValidation:rule="[has(self.decision), has(self.scope), has(self.extends)].filter(given, given).size() == 1",message="exactly one of decision, scope and extends must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.extends) || !has(self.subjects)",message="an extension is for those who may use the grant that it extends: leave out subjects, or make a request with a scope"
// +kubebuilder:validation:XValidation:rule="!self.?emergency.orValue(false) || !has(self.approvedBy) || size(self.approvedBy) == 0",message="an emergency grant needs nobody's approval: leave approvedBy empty"
type BreakGlassSpec struct {
	// RequestedBy is the name of whoever writes the request.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a request can't be edited: delete it and make a new one"
	RequestedBy string `json:"requestedBy"`
	// Decision is the id that a refusal printed: as narrow as that refusal.
	// +optional
	// +kubebuilder:validation:Pattern=`^[a-z0-9]{5,16}$`
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a request can't be edited: delete it and make a new one"
	Decision string `json:"decision,omitempty"`
	// Scope says what may be changed where there is no decision.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a request can't be edited: delete it and make a new one"
	Scope *BreakGlassScope `json:"scope,omitempty"`
	// Extends names the BreakGlass of the same namespace that this one goes on
	// with: it covers what that one covered, for those who could use it, and what
	// was changed under that one stands as long as this one. It is a request like
	// any other and needs an approval of its own.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a request can't be edited: delete it and make a new one"
	Extends string `json:"extends,omitempty"`
	// Subjects are who may use the grant. The default is the requester.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a request can't be edited: delete it and make a new one"
	Subjects []BreakGlassSubject `json:"subjects,omitempty"`
	// Reason is shown wherever the grant is used.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=500
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a request can't be edited: delete it and make a new one"
	Reason string `json:"reason"`
	// Ticket is where the incident is followed.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a request can't be edited: delete it and make a new one"
	Ticket string `json:"ticket,omitempty"`
	// Duration of the grant, counted from its approval. The operator's
	// configuration sets a lower limit than this schema.
	// +required
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s') && duration(self) <= duration('24h')",message="duration must be more than 0s and at most 24h"
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration(oldSelf)",message="a request can't be edited: delete it and make a new one"
	Duration metav1.Duration `json:"duration"`
	// AtEnd says what becomes of what was changed under the grant when it ends.
	// Hold leaves it as it is, and nobody may change it further, until git says
	// the same, somebody gives it up (the annotation mainstay.dev/revert), or
	// breakGlass.maxHold of the operator's configuration is over. Revert puts
	// git's values back. Neither puts anything back while the repository can't be
	// read, nor in the first half hour after.
	// +optional
	// +kubebuilder:default=Hold
	// +kubebuilder:validation:Enum=Hold;Revert
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a request can't be edited: delete it and make a new one"
	AtEnd string `json:"atEnd,omitempty"`
	// Emergency makes the grant active at once, without a second person. It
	// takes membership in one of the configuration's
	// breakGlass.emergencyGroups, and raises an alert.
	// +optional
	Emergency bool `json:"emergency,omitempty"`
	// ApprovedBy is the name of whoever approves the request, written by that
	// person: somebody else than the requester and the subjects, who holds the
	// verb approve.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ApprovedBy string `json:"approvedBy,omitempty"`
	// Revoked ends the grant at once, for good. What was changed under it then
	// goes the way of atEnd.
	// +optional
	Revoked bool `json:"revoked,omitempty"`
}

// What becomes of a change at the end of the grant that permitted it.
const (
	AtEndHold   = "Hold"
	AtEndRevert = "Revert"
)

// Holds tells whether what was changed is held at the end.
func (s BreakGlassSpec) Holds() bool { return s.AtEnd != AtEndRevert }

// Digest names what is asked for: everything but approvedBy and revoked. It is
// the same however the fields were written.
func (s BreakGlassSpec) Digest() string {
	s.ApprovedBy, s.Revoked = "", false
	if s.AtEnd == AtEndHold {
		s.AtEnd = "" // which a request of an earlier version leaves out
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return "" // these fields always encode
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// BreakGlassSubject is somebody who may use a grant.
//
// +kubebuilder:validation:XValidation:rule="(self.kind == 'ServiceAccount') == has(self.namespace)",message="namespace must be given for a ServiceAccount, and for nothing else"
type BreakGlassSubject struct {
	// +required
	// +kubebuilder:validation:Enum=User;Group;ServiceAccount
	Kind string `json:"kind"`
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Namespace of a ServiceAccount.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// The kinds of BreakGlassSubject.
const (
	SubjectUser           = "User"
	SubjectGroup          = "Group"
	SubjectServiceAccount = "ServiceAccount"
)

// String is User alice, or ServiceAccount shop/deployer.
func (s BreakGlassSubject) String() string {
	if s.Namespace != "" {
		return fmt.Sprintf("%s %s/%s", s.Kind, s.Namespace, s.Name)
	}
	return s.Kind + " " + s.Name
}

// BreakGlassScope is what may be changed; every list that is given has to match.
type BreakGlassScope struct {
	// Namespaces by name. Outside Mainstay's own namespace it is the request's
	// own, also where it is left out.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=atomic
	Namespaces []string `json:"namespaces,omitempty"`
	// Kinds, for example Deployment or Deployment.apps; Service.core is that of
	// the core group alone.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	Kinds []string `json:"kinds,omitempty"`
	// Names of objects; a * stands for any text.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	Names []string `json:"names,omitempty"`
	// Operations: UPDATE where it is left out. CONNECT is the use of the
	// subresources of pods that a deny rule speaks of; SYNC lets a commit through
	// that a deny rule holds back.
	// +optional
	// +kubebuilder:validation:MaxItems=5
	// +kubebuilder:validation:items:Enum=CREATE;UPDATE;DELETE;CONNECT;SYNC
	// +listType=atomic
	Operations []string `json:"operations,omitempty"`
	// SubResources of pods, for CONNECT; all where it is left out.
	// +optional
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=atomic
	SubResources []string `json:"subResources,omitempty"`
	// Paths as refusals print them; * stands for one key or element, ** for any
	// depth. All where it is left out.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +listType=atomic
	Paths []string `json:"paths,omitempty"`
}

// The phases of a BreakGlass.
const (
	PhaseRequested = "Requested"
	PhaseActive    = "Active"
	PhaseEnded     = "Ended"
	PhaseRevoked   = "Revoked"
)

// BreakGlassStatus is written by Mainstay alone, for people to read: no
// decision rests on it.
type BreakGlassStatus struct {
	// Phase of the request.
	// +optional
	// +kubebuilder:validation:Enum=Requested;Active;Ended;Revoked
	Phase string `json:"phase,omitempty"`
	// StartsAt is when it was approved.
	// +optional
	StartsAt *metav1.Time `json:"startsAt,omitempty"`
	// ExpiresAt is when it ends by itself.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`
	// HeldUntil is until when at most what was changed under it stands after its
	// end. Not set where git's values come back at the end.
	// +optional
	HeldUntil *metav1.Time `json:"heldUntil,omitempty"`
	// Scope is what exactly may be changed: what the decision stood for, or
	// spec.scope with its defaults. Read it before you approve.
	// +optional
	Scope *BreakGlassScope `json:"scope,omitempty"`
	// Subjects are who may use it.
	// +optional
	// +listType=atomic
	Subjects []BreakGlassSubject `json:"subjects,omitempty"`
	// Uses are the last changes that were permitted by it; the ledger has all.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	Uses []BreakGlassUse `json:"uses,omitempty"`
	// AwaitingGit are the changes under it that stand and that git does not say.
	// +optional
	// +kubebuilder:validation:MaxItems=200
	// +listType=atomic
	AwaitingGit []BreakGlassChange `json:"awaitingGit,omitempty"`
	// Settled are those that are over: git says the same, or git's values are
	// back. The last ones; the ledger has all.
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +listType=atomic
	Settled []BreakGlassChange `json:"settled,omitempty"`
	// Told is the last notice of an end that was given.
	// +optional
	Told *EndNotice `json:"told,omitempty"`
}

// BreakGlassChange is what was changed of one object under a grant.
type BreakGlassChange struct {
	// Object, for example Deployment.apps shop/web.
	Object string `json:"object"`
	// Paths that differ from git; none for an object that was deleted.
	// +optional
	// +listType=atomic
	Paths []string `json:"paths,omitempty"`
	// By is who changed it, Decision the id under which the ledger has it.
	// +optional
	By string `json:"by,omitempty"`
	// +optional
	Decision string `json:"decision,omitempty"`
	// RestartsPods tells that git's values restart pods when they come back.
	// +optional
	RestartsPods bool `json:"restartsPods,omitempty"`
	// How it is over, and when: InGit, Reverted or Overwritten.
	// +optional
	How string `json:"how,omitempty"`
	// +optional
	At *metav1.Time `json:"at,omitempty"`
}

// How a change under a grant is over.
const (
	// SettledInGit: git says the same now.
	SettledInGit = "InGit"
	// SettledReverted: git's value is back.
	SettledReverted = "Reverted"
	// SettledOverwritten: something else was written, by a commit or by somebody.
	SettledOverwritten = "Overwritten"
)

// EndNotice is a notice that was given of the end of an exception.
type EndNotice struct {
	// End that comes.
	End metav1.Time `json:"end"`
	// Before is how long before it the notice was due.
	Before metav1.Duration `json:"before"`
}

// BreakGlassUse is one change that was permitted by a grant.
type BreakGlassUse struct {
	// Decision is the id under which the ledger has it.
	Decision string      `json:"decision"`
	Time     metav1.Time `json:"time"`
	User     string      `json:"user"`
	// Object, for example Deployment.apps shop/web.
	Object    string `json:"object"`
	Operation string `json:"operation"`
	// Paths that it permitted; at most ten.
	// +optional
	// +listType=atomic
	Paths []string `json:"paths,omitempty"`
}
