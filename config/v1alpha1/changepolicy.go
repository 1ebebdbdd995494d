// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ChangePolicy is Rego in the cluster: exceptions and denials. In Mainstay's
// own namespace it judges every held object, in another only that namespace's.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=cpol,categories=mainstay
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Failing",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Failing")].reason`
// +kubebuilder:printcolumn:name="Serving",type=string,priority=1,JSONPath=`.status.replicas[*].generation`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type ChangePolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec ChangePolicySpec `json:"spec"`
	// +optional
	Status ChangePolicyStatus `json:"status,omitempty"`
}

// ChangePolicyList is a list of ChangePolicies.
//
// +kubebuilder:object:root=true
type ChangePolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ChangePolicy `json:"items"`
}

// ChangePolicySpec holds Rego modules by file name; *_test.rego are tests.
//
// +kubebuilder:validation:XValidation:rule="has(self.modules) && size(self.modules) > 0 || has(self.library) && size(self.library) > 0",message="modules or library must name a policy"
type ChangePolicySpec struct {
	// Modules are Rego v1 files by name. Their tests have to pass before the
	// set is accepted.
	// +optional
	// +kubebuilder:validation:MaxProperties=100
	// +kubebuilder:validation:XValidation:rule="self.all(name, name.endsWith('.rego'))",message="every module's name must end in .rego"
	Modules map[string]string `json:"modules,omitempty"`

	// Library switches on policies that ship with Mainstay, by name, for example
	// keda.
	// +optional
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +listType=set
	Library []string `json:"library,omitempty"`

	// Parameters of the policies in Library, by their names; the modules read all
	// of them as data.parameters.
	// +optional
	Parameters Parameters `json:"parameters,omitempty"`
}

// ChangePolicyStatus says whether the modules are in force.
type ChangePolicyStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Ready, where an error names file, line and column; Failing,
	// which is True while rules can't be judged or are quarantined.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Rules that are in force.
	// +optional
	// +listType=atomic
	Rules []RuleStatus `json:"rules,omitempty"`
	// Replicas of Mainstay, and which generation each of them serves.
	// +optional
	// +listType=map
	// +listMapKey=name
	Replicas []ReplicaStatus `json:"replicas,omitempty"`
}

// ReplicaStatus is what one replica of Mainstay says of a policy.
type ReplicaStatus struct {
	// Name of the replica.
	Name string `json:"name"`
	// Generation that it serves: an older one where the newest does not load, 0
	// where none ever did.
	Generation int64 `json:"generation"`
	// Time at which it said so; one that is silent for 15 minutes is gone.
	// +optional
	Time metav1.Time `json:"time,omitempty"`
	// Errors of judging since it loaded that generation, and the last of them.
	// +optional
	Errors int64 `json:"errors,omitempty"`
	// +optional
	LastError string `json:"lastError,omitempty"`
}

// RuleStatus is one rule of a policy.
type RuleStatus struct {
	// Name is <package>.<exception|deny>.
	Name string `json:"name"`
	// Title from the rule's metadata.
	// +optional
	Title string `json:"title,omitempty"`
	// Kind is exception or deny.
	// +optional
	Kind string `json:"kind,omitempty"`
	// Until is the end that is written in the rule; absent where there is none,
	// or where it is computed.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
}

// GitSyncOfPolicy is the name of the GitSync from whose repository the
// ChangePolicy of that name comes.
func GitSyncOfPolicy(name string) (string, bool) {
	return strings.CutPrefix(name, GitSyncPolicyPrefix)
}
