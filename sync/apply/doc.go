// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package apply writes declared objects to the cluster.
//
// Every object is written by one function: a full, forced server-side apply as
// field manager "mainstay". A partial apply would delete our other fields, and
// without force another writer could keep ours. What the API server answers is
// where the baseline and the declared fields come from.
package apply
