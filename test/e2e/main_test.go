// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"testing"

	"github.com/mainstay-gitops/mainstay/test/world"
)

// shared is the sandbox of this package. Each test works in namespaces of its
// own.
var shared *world.World

func TestMain(m *testing.M) {
	os.Exit(world.Main(m, func(w *world.World) { shared = w }))
}
