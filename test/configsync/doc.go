// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package configsync tries the scenarios by which Config Sync tests its
// admission webhook and its way to ignore changes, as black-box tests of
// Mainstay: the same, or different and why. README.md has the outcome.
package configsync
