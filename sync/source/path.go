// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// CheckPath returns an error with names like it where a folder that is to be
// read does not exist in a snapshot.
func CheckPath(fsys fs.FS, name string) error {
	name = path.Clean(strings.TrimPrefix(strings.TrimSpace(name), "/"))
	if _, err := fs.Stat(fsys, name); !errors.Is(err, fs.ErrNotExist) {
		return nil // what else may be wrong with it, is found by whoever reads it
	}
	above := path.Dir(name)
	missing := path.Base(name)
	for above != "." {
		if _, err := fs.Stat(fsys, above); err == nil {
			break
		}
		missing = path.Base(above)
		above = path.Dir(above)
	}
	entries, err := fs.ReadDir(fsys, above)
	if err != nil {
		return nil //nolint:nilerr // Whoever reads it says so.
	}
	var folders []string
	for _, e := range entries {
		if e.IsDir() {
			folders = append(folders, e.Name())
		}
	}
	where := above
	if above == "." {
		where = "the repository"
	}
	if len(folders) == 0 {
		return fail(ReasonPathNotFound, nil, "path %q does not exist: %s has no folders; check spec.source.path", name, where)
	}
	return fail(ReasonPathNotFound, nil, "path %q does not exist: %s has the folders %s; check spec.source.path", name, where, near(missing, folders))
}
