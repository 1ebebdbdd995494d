// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Inventory is what a GitSync of the same name declares. Mainstay alone writes
// it. The entries themselves are in sealed, compressed chunks: immutable
// Secrets of Mainstay's namespace, named by their content, so that replacing
// the list of names replaces the whole inventory at once.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=inventories,categories=mainstay
// +kubebuilder:printcolumn:name="Objects",type=integer,JSONPath=`.data.objects`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.data.revision`
// +kubebuilder:printcolumn:name="Generation",type=integer,JSONPath=`.data.generation`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Inventory struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Data InventoryData `json:"data"`
}

// InventoryList is a list of Inventories.
//
// +kubebuilder:object:root=true
type InventoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Inventory `json:"items"`
}

// InventoryData is the head of an inventory.
type InventoryData struct {
	// Generation grows with every write.
	Generation int64 `json:"generation"`
	// Revision that is applied, for people.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Objects is the number of declared objects.
	Objects int32 `json:"objects"`
	// Head is one JSON document about the GitSync: mode, repository, revisions.
	Head string `json:"head"`
	// Chunks are the names of the Secrets that hold the entries.
	// +optional
	// +listType=atomic
	Chunks []string `json:"chunks,omitempty"`
	// Seal is the HMAC over all of the above.
	Seal string `json:"seal"`
}
