// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package sops reads files that SOPS has encrypted: YAML, JSON, dotenv and
// binary, for age and OpenPGP keys.
//
// A file is decrypted as a whole, and only if its MAC is that of its content:
// what was moved, added or taken away in it is an error, and so is a rule of
// SOPS that this package does not know. No error and no other text that this
// package makes holds anything decrypted.
//
// It is written anew rather than taken from SOPS, whose every package needs the
// libraries of six clouds: they would make the program half as large again, for
// key services that rendering may not ask.
package sops
