// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Command prepare builds the control plane that the tests run against, and
// shows how far it is. Each test would build it as well, but go test keeps what
// a package prints until the package is done.
package main
