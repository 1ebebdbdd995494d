// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package app is the controller's process: it builds every part from the
// configuration, left to right, and runs them until its context ends. Flags and
// signals are the command's business.
package app
