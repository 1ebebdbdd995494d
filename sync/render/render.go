// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// Options of a rendering.
type Options struct {
	// Path is the folder to render, from the tree's root; empty for the root.
	Path string
	// SkipPaths are files and folders to leave out, from the tree's root: the
	// policy folders.
	SkipPaths []string
}

// Object is one declared object.
type Object struct {
	// Unstructured is the manifest. Whole numbers in it are int64. The
	// namespace is the one that was written, perhaps none: only the API server
	// knows whether the kind has one.
	*unstructured.Unstructured
	ID ownership.ID
	// File from the tree's root, and the Line on which the object starts.
	File string
	Line int

	from *candidate
}

// Objects renders the tree. The objects are in the order of files and lines.
// An error about the content joins one Error for each place, at most 20.
func Objects(ctx context.Context, fsys fs.FS, opts Options) ([]Object, error) {
	problems := &problems{}
	files, err := manifests(ctx, fsys, opts, problems)
	if err != nil {
		return nil, err
	}
	var objects []Object
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		content, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, err
		}
		for _, doc := range documents(file, content, problems) {
			objects = append(objects, doc.objects(problems)...)
		}
	}
	checkTogether(objects, problems)
	if err := problems.join(); err != nil {
		return nil, err
	}
	return objects, nil
}

// Digest is the SHA-256 of an object in canonical JSON, in hexadecimal. It is
// empty for what JSON cannot express, which Objects never returns.
func Digest(object *unstructured.Unstructured) string {
	// encoding/json sorts keys.
	canonical, err := json.Marshal(object.Object)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}
