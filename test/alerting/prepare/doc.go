// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Command prepare builds the Prometheus and the Alertmanager that tests run, as
// the tests themselves would, but shows that it does.
package main
