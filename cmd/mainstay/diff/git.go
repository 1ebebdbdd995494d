// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	rendering "github.com/mainstay-gitops/mainstay/cmd/mainstay/render"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// declared is an object as one side of git has it.
type declared struct {
	gvk     schema.GroupVersionKind
	desired []byte
	file    string
	line    int
}

type declarations map[ownership.ID]declared

// git is one side of a comparison: a revision or the working copy.
type git struct {
	name string
	tree fs.FS
}

// manner is how a side is rendered.
type manner struct {
	render.Options
	// target is the namespace of all namespaced objects, where it is given.
	target string
	mapper meta.RESTMapper
}

// objects renders a side.
func (g git) objects(ctx context.Context, m manner) (declarations, error) {
	objects, err := render.Objects(ctx, g.tree, m.Options)
	if err == nil {
		objects, err = render.Settle(objects, m.target, rendering.Scopes(objects, m.mapper))
	}
	if err != nil {
		return nil, fmt.Errorf("render %s of %s: %w", cmp.Or(m.Path, "."), g.name, err)
	}
	all := declarations{}
	for i := range objects {
		o := &objects[i]
		desired, err := json.Marshal(o.Object)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", o.ID, err)
		}
		all[o.ID] = declared{gvk: o.GroupVersionKind(), desired: desired, file: o.File, line: o.Line}
	}
	return all, nil
}

// workingCopy is what is on the disk, pushed or not.
func workingCopy(local *source.Local) (git, error) {
	work, err := source.OpenWorkingCopy(local.Root) // for as long as the process lives
	if err != nil {
		return git{}, err
	}
	return git{"the working copy", work}, nil
}

func revision(local *source.Local, name string) (git, error) {
	r, tree, err := local.Revision(name)
	if err != nil {
		return git{}, err
	}
	return git{cli.Short(r.Name), tree}, nil
}

// side finds what an argument means: a folder of the working copy, with the
// path to render in it, or a revision of the clone.
func side(argument string) (g git, path string, err error) {
	if info, statErr := os.Stat(argument); statErr == nil && info.IsDir() {
		local, err := source.OpenLocal(argument)
		if err != nil {
			return git{}, "", err
		}
		if path, err = within(local.Root, argument); err != nil {
			return git{}, "", err
		}
		g, err = workingCopy(local)
		return g, path, err
	}
	local, err := source.OpenLocal(".")
	if err != nil {
		return git{}, "", err
	}
	g, err = revision(local, argument)
	return g, "", err
}

// within is a folder's path from the repository's root; empty for the root.
func within(root, folder string) (string, error) {
	absolute, err := filepath.Abs(folder)
	if err == nil {
		absolute, err = filepath.EvalSymlinks(absolute)
	}
	if err != nil {
		return "", fmt.Errorf("find %s: %w", folder, err)
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	relative, err := filepath.Rel(root, absolute)
	if err != nil || strings.HasPrefix(relative, "..") {
		return "", fmt.Errorf("%s is not in the repository %s", folder, root)
	}
	if relative == "." {
		return "", nil
	}
	return filepath.ToSlash(relative), nil
}
