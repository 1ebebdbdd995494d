// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package log is the command that reads decisions: those that the replicas
// recorded, or the ledger's lines from anywhere.
package log
