// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"io/fs"

	"github.com/mainstay-gitops/mainstay/sync/source"
)

// tree is the working copy, or a commit of the repository. done lets it go.
func (c *command) tree(root string) (tree fs.FS, done func(), err error) {
	if c.revision == "" {
		work, err := source.OpenWorkingCopy(root)
		if err != nil {
			return nil, nil, err
		}
		return work, func() { _ = work.Close() }, nil
	}
	local, err := source.OpenLocal(root)
	if err != nil {
		return nil, nil, err
	}
	_, tree, err = local.Revision(c.revision)
	return tree, func() {}, err
}
