// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package regal

import (
	"embed"
	"path"
)

//go:embed rules/*.rego
var files embed.FS

// Category of the rules, as Regal reports it.
const Category = "mainstay"

// Rules are the rules by file name, as Regal takes them from a folder.
func Rules() (map[string]string, error) {
	entries, err := files.ReadDir("rules")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, entry := range entries {
		content, err := files.ReadFile(path.Join("rules", entry.Name()))
		if err != nil {
			return nil, err
		}
		out[entry.Name()] = string(content)
	}
	return out, nil
}
