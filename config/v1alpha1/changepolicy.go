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
	// Conditions: Ready. An error names file, line and column.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Rules that are in force.
	// +optional
	// +listType=atomic
	Rules []RuleStatus `json:"rules,omitempty"`
}

// RuleStatus is one rule of a policy.
type RuleStatus struct {
	// Name is <package>.<exception|deny>.
	Name string `json:"name"`
	// Title from the rule's metadata.
	// +optional
	Title string `json:"title,omitempty"`
}

// GitSyncOfPolicy is the name of the GitSync from whose repository the
// ChangePolicy of that name comes.
func GitSyncOfPolicy(name string) (string, bool) {
	return strings.CutPrefix(name, GitSyncPolicyPrefix)
}
