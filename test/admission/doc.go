// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package admission tries every situation that Mainstay's door knows, on a real
// API server with the real controllers, and writes the README's table of them:
// its commands are run here word by word. It has tests only; -update writes the
// table.
package admission
