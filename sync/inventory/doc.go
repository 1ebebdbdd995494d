// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package inventory writes what each GitSync declares to the cluster.
//
// An object is in the inventory before it is in the cluster and leaves it
// after. A save is atomic: chunks are immutable and named by their content, and
// one write of the Inventory object replaces the list of their names. Package
// policy/ownership reads what is written here.
package inventory
