// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// RenderType names a way in which files become objects.
//
// +kubebuilder:validation:Enum=Auto;Plain;Kustomize;Helm
type RenderType string

// The ways to render.
const (
	// RenderAuto is Kustomize where the path has a kustomization file, else Helm
	// where it has a Chart.yaml, else Plain, with each folder below that has one of
	// these rendered by itself.
	RenderAuto RenderType = "Auto"
	// RenderPlain reads the manifests as they are.
	RenderPlain RenderType = "Plain"
	// RenderKustomize builds the kustomization at the path.
	RenderKustomize RenderType = "Kustomize"
	// RenderHelm renders the chart at the path.
	RenderHelm RenderType = "Helm"
)

// Render says how files become objects. Nothing outside the repository is read,
// nothing is run, and the same commit gives the same bytes.
//
// +kubebuilder:validation:XValidation:rule="!has(self.helm) || !has(self.type) || self.type in ['Auto', 'Helm']",message="helm is only for the types Auto and Helm"
type Render struct {
	// Type is Auto (default: Kustomize where the path has a kustomization file,
	// else Helm where it has a Chart.yaml, else Plain, with each folder below that
	// has one of these rendered by itself), Plain, Kustomize or Helm.
	// +optional
	// +kubebuilder:default=Auto
	Type RenderType `json:"type,omitempty"`

	// Helm says how a chart is rendered.
	// +optional
	Helm *Helm `json:"helm,omitempty"`

	// Variables replace ${name} and ${name:=default} in the strings of the
	// rendered objects; $${ stands for ${. A name has letters, digits and _. Where it is not set, nothing is
	// replaced. A name that is not here and has no default is an error. An object
	// with the annotation mainstay.dev/substitute: disabled stays as it is.
	// +optional
	// +kubebuilder:validation:MaxProperties=200
	Variables map[string]string `json:"variables,omitempty"`

	// Decryption says how files that are encrypted in the repository are read.
	// +optional
	Decryption *Decryption `json:"decryption,omitempty"`
}

// Helm says how a chart in the repository is rendered.
type Helm struct {
	// ReleaseName is .Release.Name. Default: the GitSync's name. Charts in folders
	// below the path are released under their folders' names.
	// +optional
	// +kubebuilder:validation:MaxLength=53
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	ReleaseName string `json:"releaseName,omitempty"`

	// Namespace is .Release.Namespace, and the namespace of namespaced objects
	// whose template gives none. Default: targetNamespace; outside Mainstay's own
	// namespace, the GitSync's.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace,omitempty"`

	// Values go over the chart's own and those of valuesFiles.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Type=object
	// +kubebuilder:validation:Schemaless
	Values *apiextensionsv1.JSON `json:"values,omitempty"`

	// ValuesFiles are read in this order, a later one over an earlier one.
	// Relative to the chart, or, with a leading slash, to the repository's root.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +listType=atomic
	ValuesFiles []string `json:"valuesFiles,omitempty"`
}

// Decryption says how encrypted files are read.
type Decryption struct {
	// Provider is SOPS.
	// +optional
	// +kubebuilder:default=SOPS
	// +kubebuilder:validation:Enum=SOPS
	Provider string `json:"provider,omitempty"`

	// SecretRef names a Secret in the GitSync's namespace with private keys: age
	// keys under names that end in .agekey, OpenPGP keys under names that end in
	// .asc.
	// +required
	SecretRef LocalRef `json:"secretRef"`
}
