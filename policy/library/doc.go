// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package library holds the policies that ship with Mainstay and are switched
// on by name: one folder each, with Rego, its tests and a page for people. What
// a policy is called, which parameters it takes and whose refused writes it is
// made for stands in the metadata of its package, so that nothing else has to
// know.
//
// The policies are of the package library.<name>, which no other source may use.
package library
