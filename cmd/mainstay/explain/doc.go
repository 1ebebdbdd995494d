// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package explain is the command that says why: why an object is as it is, and
// why a change was permitted or refused.
package explain
