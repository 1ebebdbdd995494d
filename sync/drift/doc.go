// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package drift compares live objects with what git declares and says what is
// to be done. It is pure: it reads no cluster and writes nothing.
package drift
