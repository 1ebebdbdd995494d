// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package charts holds the Helm chart and renders it in memory, for the sandbox
// and the tests, so that they run under exactly what a user installs.
//
// Rendering touches neither the disk nor a cluster, and values that the chart's
// schema refuses are an error.
package charts
