// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package crds holds the CustomResourceDefinitions of the API group
// mainstay.dev, generated from config/v1alpha1 by make generate.
//
// What it returns is what the chart installs; a test of package charts holds
// the two together.
package crds
