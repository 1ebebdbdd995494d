// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package config is the operator's configuration file, MainstayConfig.
//
// Reading is strict: an unknown or repeated key is an error that names its line
// and the nearest known key, never ignored. What Load returns is complete and
// valid; every absent key has its default.
package config
