// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"flag"
	"os"
	"testing"

	"github.com/mainstay-gitops/mainstay/test/world"
)

var update = flag.Bool("update", false, "write the table into README.md")

// shared is the sandbox of this package. Each row works in a namespace of its
// own.
var shared *world.World

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(world.Main(m, func(w *world.World) { shared = w }))
}
