// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package facts feeds data.cluster: it watches exactly the kinds that the
// loaded policies' references name, and nothing else.
package facts
