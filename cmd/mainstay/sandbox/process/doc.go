// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package process starts and stops the programs of a control plane.
//
// A process is either owned or detached. An owned one dies with the program
// that started it, however that program ends. A detached one lives on and is
// described by a record on disk, which names the process by its id and the
// time it started, so that a recycled id is never signalled.
package process
