// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
)

// between renders both sides in each folder that matches, and what the GitSyncs
// in it follow, and returns what differs. No cluster is asked.
func (p *pull) between(ctx context.Context, pattern string, progress io.Writer) ([]Result, error) {
	from, to := p.from, p.to
	folders, err := matching(pattern, from.tree, to.tree)
	if err != nil {
		return nil, err
	}
	if len(folders) == 0 {
		return nil, fmt.Errorf("no folder matches %s, in %s or in %s", pattern, from.name, to.name)
	}
	var results []Result
	for i, folder := range folders {
		if len(folders) > 1 {
			fmt.Fprintf(progress, "rendering %s (%d of %d)\n", folder, i+1, len(folders))
		}
		old, err := rendered(ctx, from, folder)
		if err != nil {
			return nil, err
		}
		next, err := rendered(ctx, to, folder)
		if err != nil {
			return nil, err
		}
		r := Result{From: from.name, To: to.name, Folder: folder, Compared: len(union(old, next)), Objects: []Object{}}
		if r.Objects, err = changed(old, next, newMask()); err != nil {
			return nil, err
		}
		syncs, own, err := p.below(ctx, folder, old, next)
		if err != nil {
			return nil, err
		}
		if !own {
			results = append(results, r)
		}
		results = append(results, syncs...)
	}
	return results, nil
}

// rendered is what a folder declares; nothing where it is not there.
func rendered(ctx context.Context, g git, folder string) (declarations, error) {
	info, err := fs.Stat(g.tree, folder)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir():
		return declarations{}, nil
	case err != nil:
		return nil, fmt.Errorf("%s of %s: %w", folder, g.name, err)
	}
	return g.objects(ctx, manner{Options: render.Options{
		Path: folder, Helm: render.Helm{ReleaseName: path.Base(folder), Namespace: "default"},
	}})
}

// matching are the folders of both sides that a pattern means.
func matching(pattern string, trees ...fs.FS) ([]string, error) {
	pattern = path.Clean(pattern)
	var folders []string
	for _, tree := range trees {
		found, err := fs.Glob(tree, pattern)
		if err != nil {
			return nil, fmt.Errorf("--clusters %s: %w", pattern, err)
		}
		for _, f := range found {
			if info, err := fs.Stat(tree, f); err == nil && info.IsDir() && !slices.Contains(folders, f) {
				folders = append(folders, f)
			}
		}
	}
	slices.Sort(folders)
	return folders, nil
}

func union(a, b declarations) []ownership.ID {
	var ids []ownership.ID
	for id := range a {
		ids = append(ids, id)
	}
	for id := range b {
		if _, ok := a[id]; !ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// changed are the objects that differ between two revisions.
func changed(old, next declarations, m *mask) ([]Object, error) {
	objects := []Object{}
	for _, id := range union(old, next) {
		a, before := old[id]
		b, after := next[id]
		o := object(id, Differs)
		o.File, o.Line = b.file, b.line
		switch {
		case !before:
			o.State = Missing
		case !after:
			o.State, o.File, o.Line = Leaves, a.file, a.line
		default:
			var err error
			if o.Changes, err = fields(id, a.desired, b.desired, m); err != nil {
				return nil, err
			}
			if len(o.Changes) == 0 && a.gvk == b.gvk {
				continue
			}
		}
		objects = append(objects, o)
	}
	sortObjects(objects)
	return objects, nil
}

// fields are those in which two manifests of an object differ. Elements of
// lists are told by their names, as kubectl does for most kinds.
func fields(id ownership.ID, from, to []byte, m *mask) ([]Change, error) {
	a, err := fastjson.ParseBytes(from)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", id, err)
	}
	b, err := fastjson.ParseBytes(to)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", id, err)
	}
	structure := fieldset.Union(namedElements(a), namedElements(b))
	var changes []Change
	for _, d := range fieldset.Compare(a, b, structure, nil) {
		changes = append(changes, Change{Path: d.Path.String(), From: m.value(id, d.Path, d.From), To: m.value(id, d.Path, d.To)})
	}
	return changes, nil
}

// namedElements is a field set that has the lists of an object keyed by name
// whose elements all have one.
func namedElements(v *fastjson.Value) *fieldset.Set {
	var arena fastjson.Arena
	set, err := fieldset.SetOf(keyed(&arena, v))
	if err != nil {
		return nil // then its lists are compared as a whole
	}
	return set
}

// keyed builds the FieldsV1 of an object.
func keyed(arena *fastjson.Arena, v *fastjson.Value) *fastjson.Value {
	out := arena.NewObject()
	switch v.Type() {
	case fastjson.TypeObject:
		v.GetObject().Visit(func(key []byte, child *fastjson.Value) {
			out.Set("f:"+string(key), keyed(arena, child))
		})
	case fastjson.TypeArray:
		seen := map[string]bool{}
		for _, item := range v.GetArray() {
			name := item.Get("name")
			if name == nil || name.Type() != fastjson.TypeString || seen[name.String()] {
				return arena.NewObject()
			}
			seen[name.String()] = true
			out.Set(`k:{"name":`+name.String()+`}`, keyed(arena, item))
		}
	default: // a leaf
	}
	return out
}
