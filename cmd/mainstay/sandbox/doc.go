// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package sandbox gives anyone a cluster to try Mainstay on: a real control
// plane in the background of this machine, a git repository with a small shop,
// and the controller between them, running under the chart's account and
// rights.
//
// Everything lives in one folder, and nothing in ~/.kube. A failed or
// interrupted Up leaves nothing running; Down stops exactly what Up started,
// and a process that merely has a recorded id is never touched.
package sandbox
