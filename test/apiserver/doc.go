// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package apiserver gives tests a real Kubernetes control plane.
//
// A test's package calls Main from its TestMain; the other functions are for
// its tests. Each test process has one control plane, started when a test first
// asks for it and gone when the process is, however that ends. It has
// Mainstay's resource definitions, and users as the sandbox has them: admin,
// and alice and bob of the group developers, who may do everything.
package apiserver
