// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the types of the API group mainstay.dev.
//
// A field that nothing reads is left out: what the schema accepts, Mainstay
// acts upon. GitSync, ChangePolicy and BreakGlass are namespaced with one rule:
// in Mainstay's own namespace they may speak about the whole cluster, in any
// other namespace only about that namespace.
//
// +kubebuilder:object:generate=true
// +groupName=mainstay.dev
package v1alpha1
