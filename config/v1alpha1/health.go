// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Health says what the health of objects means for Ready.
//
// +kubebuilder:validation:Enum=Wait;Ignore
type Health string

// The values of Health.
const (
	// HealthWait has Ready wait until every object is healthy.
	HealthWait Health = "Wait"
	// HealthIgnore has Ready tell only that git was applied.
	HealthIgnore Health = "Ignore"
)

// Dependency is another GitSync.
type Dependency struct {
	// Namespace of the GitSync: the same or Mainstay's own. Absent: the same.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// Name of the GitSync.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// KindCounts counts the declared objects of one kind.
type KindCounts struct {
	// +optional
	Group string `json:"group,omitempty"`
	Kind  string `json:"kind"`
	// Declared by the applied revision.
	Declared int32 `json:"declared"`
	// Ready are there and healthy.
	// +optional
	Ready int32 `json:"ready"`
}

// NotReady is an object that is not healthy, or not there.
type NotReady struct {
	// +optional
	Group string `json:"group,omitempty"`
	Kind  string `json:"kind"`
	// +optional
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// State is InProgress, Failed, Terminating, NotFound or Unknown.
	State string `json:"state"`
	// Message says what is missing.
	// +optional
	Message string `json:"message,omitempty"`
}

// DriftedObject is an object that differs from git.
type DriftedObject struct {
	// +optional
	Group string `json:"group,omitempty"`
	Kind  string `json:"kind"`
	// +optional
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// State is Differs (git says otherwise, and nothing permits it), Permitted
	// or Fight (somebody changes it again and again).
	State string `json:"state"`
	// Paths that differ, at most five; none where the object is missing.
	// +optional
	// +kubebuilder:validation:MaxItems=5
	// +listType=atomic
	Paths []string `json:"paths,omitempty"`
	// Manager is the field manager that wrote it, as far as that can be told.
	// +optional
	Manager string `json:"manager,omitempty"`
	// Rule that permits it.
	// +optional
	Rule string `json:"rule,omitempty"`
	// Until is when it goes back to what git says.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// The states of a DriftedObject.
const (
	StateDiffers   = "Differs"
	StatePermitted = "Permitted"
	StateFight     = "Fight"
)

// AppliedRevision is one revision that was applied.
type AppliedRevision struct {
	// Revision is <ref>@sha1:<commit>.
	Revision string `json:"revision"`
	// Author and Subject of the commit.
	// +optional
	Author string `json:"author,omitempty"`
	// +optional
	Subject string `json:"subject,omitempty"`
	// CommittedAt is the commit's own time, AppliedAt when it was applied.
	// +optional
	CommittedAt *metav1.Time `json:"committedAt,omitempty"`
	AppliedAt   metav1.Time  `json:"appliedAt"`
	// Written and Pruned count the objects.
	// +optional
	Written int32 `json:"written,omitempty"`
	// +optional
	Pruned int32 `json:"pruned,omitempty"`
}
