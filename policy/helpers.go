// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// helperMark starts a file that Helpers wrote; the digest of the rest follows.
const helperMark = "# Written by mainstay policy vendor, which updates it. Do not edit. sha256:"

// coversStart and coversEnd stand around the one rule of the library that only
// Mainstay can evaluate.
const (
	coversStart = "# METADATA\n# title: A path is covered by a pattern\n"
	coversEnd   = "# METADATA\n# title: The time is within a window"
)

// Helpers are data.mainstay.lib and data.mainstay.testing in plain Rego, by file
// name below a policy folder: with them OPA's own tools, Regal and editors work
// on the folder. Loading leaves them out, since every source has them anyway.
func Helpers() (map[string]string, error) {
	files := map[string]string{}
	for name, file := range map[string]string{
		"mainstay/lib/lib.rego":         "rego/lib.rego",
		"mainstay/lib/covers.rego":      "rego/plain/covers.rego",
		"mainstay/testing/testing.rego": "rego/testing.rego",
	} {
		content, err := regoFiles.ReadFile(file)
		if err != nil {
			return nil, err
		}
		text := string(content)
		if file == "rego/lib.rego" {
			before, rest, found := strings.Cut(text, coversStart)
			_, after, end := strings.Cut(rest, coversEnd)
			if !found || !end {
				return nil, fmt.Errorf("%s has no rule covers where it is expected", file)
			}
			text = before + coversEnd + after
		}
		files[name] = helperMark + sum(text) + "\n" + text
	}
	return files, nil
}

// helper tells whether a module is one that Helpers wrote, of this version of
// Mainstay or of another, and that nobody has edited since.
func helper(text string) bool {
	first, rest, _ := strings.Cut(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	digest, ok := strings.CutPrefix(first, helperMark)
	return ok && digest == sum(rest)
}

func sum(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}
