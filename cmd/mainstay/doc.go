// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Command mainstay keeps git the only path to production: it is the controller
// that runs in the cluster, and the tools around it.
package main
