// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package controlplane builds and runs a real Kubernetes control plane: etcd,
// kube-apiserver and kube-controller-manager, on loopback ports of this
// machine, without containers.
//
// Start returns a control plane that answers, or an error with the last words
// of the program that did not; then nothing of it is left running. Nothing is
// written outside the folder that the caller names, save for the binaries,
// which are built once and kept in the user's cache folder.
package controlplane
