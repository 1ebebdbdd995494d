// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BreakGlass is a request for a time-boxed, audited exception. This version
// stores and validates requests; it grants nothing yet.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bg,categories=mainstay
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="By",type=string,JSONPath=`.spec.requestedBy`
// +kubebuilder:printcolumn:name="Duration",type=string,JSONPath=`.spec.duration`
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

// BreakGlassSpec is the request. It is immutable.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a request can't be edited: delete it and make a new one"
// +kubebuilder:validation:XValidation:rule="has(self.decision) != has(self.scope)",message="exactly one of decision and scope must be set"
type BreakGlassSpec struct {
	// RequestedBy is the name of whoever writes the request.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	RequestedBy string `json:"requestedBy"`
	// Decision is the id that a refusal printed: as narrow as that refusal.
	// +optional
	// +kubebuilder:validation:Pattern=`^[a-z0-9]{5,16}$`
	Decision string `json:"decision,omitempty"`
	// Scope says what may be changed where there is no decision.
	// +optional
	Scope *BreakGlassScope `json:"scope,omitempty"`
	// Reason is shown wherever the grant is used.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=500
	Reason string `json:"reason"`
	// Duration of the grant, counted from its approval.
	// +required
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s') && duration(self) <= duration('24h')",message="duration must be more than 0s and at most 24h"
	Duration metav1.Duration `json:"duration"`
}

// BreakGlassScope is what may be changed; every list that is given has to match.
type BreakGlassScope struct {
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	Namespaces []string `json:"namespaces,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	Kinds []string `json:"kinds,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	Names []string `json:"names,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	Paths []string `json:"paths,omitempty"`
}

// BreakGlassStatus is written by Mainstay alone.
type BreakGlassStatus struct {
	// Phase is Requested in this version.
	// +optional
	// +kubebuilder:validation:Enum=Requested;Active;Ended;Revoked
	Phase string `json:"phase,omitempty"`
}
