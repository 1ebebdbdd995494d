// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package reading lets people read what a replica knows: its recorded
// decisions, and what git says of a live object.
//
// Whoever asks is known by a client certificate of the cluster's or by a token
// that the API server knows, and sees what the API server lets them: decisions
// to who may get decisions.mainstay.dev in the object's namespace, values to who
// may get the object itself. Values of Secrets are keyed hashes for everybody.
// Nothing can be changed here.
package reading
