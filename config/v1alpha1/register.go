// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every type in this package.
var GroupVersion = schema.GroupVersion{Group: "mainstay.dev", Version: "v1alpha1"}

// AddToScheme adds the types of this package to scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&GitSync{}, &GitSyncList{},
		&ChangePolicy{}, &ChangePolicyList{},
		&BreakGlass{}, &BreakGlassList{},
		&Inventory{}, &InventoryList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
