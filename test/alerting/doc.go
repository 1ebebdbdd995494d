// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package alerting gives tests a real Prometheus, promtool and Alertmanager.
//
// They are built once from the versions that the nested module test/monitoring
// pins, and kept in the user's cache. Any number of tests may ask for them at
// once: each program is built once and appears whole.
package alerting
