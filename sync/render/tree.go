// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// The limits of one rendering.
const (
	maxFiles = 100_000
	// maxBytes of one file, maxTotal of all that are read.
	maxBytes = 10 * 1024 * 1024
	maxTotal = 512 * 1024 * 1024
	// maxReads bounds how often files are read: a kustomization that names
	// another one twice, which does the same, reads exponentially often.
	maxReads     = 2 * maxFiles
	maxDocuments = 10_000
	maxObjects   = 100_000
	// maxDepth of maps and lists in each other; the deepest schema of a known
	// CustomResourceDefinition has about 80.
	maxDepth = 500
	// maxNodes that a document may have once its aliases are written out.
	maxNodes = 2_000_000
)

// tree reads files within the limits.
type tree struct {
	ctx   context.Context //nolint:containedctx // of one rendering; libraries that read through the tree pass none on
	fsys  fs.FS
	reads int
	bytes int64
}

// read returns a file's content.
func (t *tree) read(file string) ([]byte, error) {
	if err := t.ctx.Err(); err != nil {
		return nil, err
	}
	if !fs.ValidPath(file) {
		return nil, errors.New("leads out of the repository")
	}
	info, err := fs.Stat(t.fsys, file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxBytes {
		return nil, tooLarge(info.Size())
	}
	content, err := fs.ReadFile(t.fsys, file)
	if err != nil {
		return nil, err
	}
	if n := int64(len(content)); n > maxBytes {
		return nil, tooLarge(n)
	}
	t.reads++
	t.bytes += int64(len(content))
	if t.reads > maxReads || t.bytes > maxTotal {
		return nil, fmt.Errorf("more than %d files or %d bytes are read: split what is rendered between several GitSyncs", maxReads, maxTotal)
	}
	return content, nil
}

func tooLarge(size int64) error {
	return fmt.Errorf("has %d bytes, and more than %d are not read", size, maxBytes)
}

// documents reads a file of manifests.
func (t *tree) documents(file string, problems *problems) ([]*document, error) {
	content, err := t.read(file)
	if err != nil {
		return nil, err
	}
	return documents(file, content, problems), nil
}
