// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/mainstay-gitops/mainstay/sync/render/sops"
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
	ctx  context.Context //nolint:containedctx // of one rendering; libraries that read through the tree pass none on
	fsys fs.FS
	keys *sops.Keys
	*spent
}

// spent is what all reading of one rendering has come to.
type spent struct {
	reads int
	bytes int64
	// secrets were decrypted, and are kept out of messages.
	secrets []string
}

// through is the same tree, read through another one that has the same in it.
func (t *tree) through(fsys fs.FS) *tree {
	other := *t
	other.fsys = fsys
	return &other
}

// read returns a file's content, decrypted where it is encrypted. Without a key
// for it that is an error: ciphertext is never a value of anything.
func (t *tree) read(file string) ([]byte, error) {
	content, err := t.raw(file)
	if err != nil || !sops.Encrypted(file, content) {
		return content, err
	}
	if t.keys == nil {
		return nil, errEncrypted
	}
	plain, err := t.keys.Decrypt(file, content)
	if err != nil {
		return nil, fmt.Errorf("is encrypted with SOPS: %w", err)
	}
	t.secrets = append(t.secrets, plain.Values...)
	return plain.Content, nil
}

// errEncrypted is why a file is not read.
var errEncrypted = errors.New("is encrypted with SOPS, and spec.render.decryption names no keys: ciphertext is never applied")

// raw returns a file's content as it is in the repository.
func (t *tree) raw(file string) ([]byte, error) {
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
	if info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: file, Err: errFolder}
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

// errFolder is why a name is not read as a file.
var errFolder = errors.New("is a folder")

func tooLarge(size int64) error {
	return fmt.Errorf("has %d bytes, and more than %d are not read", size, maxBytes)
}

// documents reads a file of manifests. Those that are encrypted have the
// positions that they have in the repository; without a key they stay as they
// are, and are refused as objects.
func (t *tree) documents(file string, problems *problems) ([]*document, error) {
	content, err := t.raw(file)
	if err != nil {
		return nil, err
	}
	if t.keys == nil || !sops.Encrypted(file, content) {
		return documents(file, content, problems), nil
	}
	plain, err := t.read(file)
	if err != nil {
		problems.add(file, 0, "%s", err)
		return nil, nil
	}
	docs := documents(file, plain, problems)
	at := withContent(splitYAML(file, content))
	for i, doc := range docs {
		switch {
		case len(at) == len(docs):
			doc.offset, doc.line, doc.text = at[i].offset, at[i].line, at[i].text
		default:
			doc.offset, doc.line, doc.text = 1, 1, content
		}
	}
	return docs, nil
}

// withContent leaves out documents of comments alone.
func withContent(docs []*document) []*document {
	return slices.DeleteFunc(docs, func(d *document) bool {
		for line := range bytes.Lines(d.text) {
			if hasContent(line) {
				return false
			}
		}
		return true
	})
}
