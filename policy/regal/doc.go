// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package regal holds rules for Regal, the linter and language server for Rego:
// those of Mainstay's own checks that a syntax tree alone can tell, so that an
// editor shows them while a policy is written. mainstay policy check knows these
// and more; it needs no Regal.
package regal
