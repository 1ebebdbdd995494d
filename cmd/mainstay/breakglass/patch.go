// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package breakglass

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"

	"github.com/spf13/cobra"
	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/breakglass/edit"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	rendering "github.com/mainstay-gitops/mainstay/cmd/mainstay/render"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/sync/loop"
	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

func newPatch(f *flags) *cobra.Command {
	var clone string
	cmd := named(f, &cobra.Command{
		Use:   "patch NAME",
		Short: "Print what was changed as a patch for git",
		Long: `Print what was changed under a grant, and that git does not say, as a patch of the
repository's files: a clone of it is needed, with the followed branch checked
out. Fields of plain manifests are changed where they are written, with comments
and order kept; a kustomization gets a patch file and an entry for it. What can't
be written that way, such as a chart's values, is listed with the value that it
needs. Values of Secrets are never printed.

The status is 0 if all of it is in the patch, 1 if something is left to do.`,
		Example: `  mainstay breakglass patch bg-7f3k2-x4w9t
  mainstay breakglass patch bg-7f3k2-x4w9t --clone ~/shop | git -C ~/shop apply`,
	}, func(s *session, bg *v1alpha1.BreakGlass, cmd *cobra.Command) error {
		return s.printPatch(cmd.Context(), bg, clone)
	})
	cmd.Flags().StringVar(&clone, "clone", ".", "`FOLDER` of a clone of the repository")
	return cmd
}

// patched is the document of -o json.
type patched struct {
	// Patch is a unified diff, as git apply takes it.
	Patch string `json:"patch"`
	// Files that it changes or makes.
	Files []string `json:"files"`
	// Left is what it could not take in.
	Left []leftOver `json:"left"`
}

type leftOver struct {
	Object string          `json:"object"`
	Path   string          `json:"path,omitempty"`
	Value  json.RawMessage `json:"value,omitempty"`
	Why    string          `json:"why"`
}

func (s *session) printPatch(ctx context.Context, bg *v1alpha1.BreakGlass, clone string) error {
	changes := bg.Status.AwaitingGit
	if bg.Spec.Extends != "" {
		if old, err := s.find(ctx, bg.Namespace+"/"+bg.Spec.Extends); err == nil {
			changes = append(changes, old.Status.AwaitingGit...)
		}
	}
	if len(changes) == 0 {
		return cli.Answer("nothing that was changed under %s awaits git", bg.Name)
	}
	p, err := s.patcher(clone, bg.Name)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if err := p.change(ctx, c); err != nil {
			return err
		}
	}
	out := p.result()
	if s.json() {
		e := json.NewEncoder(s.out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(out); err != nil {
			return err
		}
	} else {
		fmt.Fprint(s.out, out.Patch)
		for _, l := range out.Left {
			fmt.Fprintf(s.progress, "# not in the patch: %s %s %s: %s\n", l.Object, l.Path, l.Value, l.Why)
		}
	}
	if len(out.Left) > 0 {
		return cli.Answer("%d changes are not in the patch", len(out.Left))
	}
	return nil
}

// patcher collects edits of a clone's files.
type patcher struct {
	s    *session
	name string
	tree fs.FS
	// files as they were, and as they are to be.
	before, after map[string][]byte
	order         []string
	left          []leftOver
	// rendered is what each GitSync makes of the clone.
	rendered map[types.NamespacedName][]render.Object
	// overlays are the patches for each kustomization's folder and object.
	overlays map[string]map[string]any
}

func (s *session) patcher(clone, name string) (*patcher, error) {
	local, err := source.OpenLocal(clone)
	if err != nil {
		return nil, fmt.Errorf("%w: give a clone of the repository with --clone", err)
	}
	tree, err := source.OpenWorkingCopy(local.Root)
	if err != nil {
		return nil, err
	}
	return &patcher{
		s: s, name: name, tree: tree, before: map[string][]byte{}, after: map[string][]byte{},
		rendered: map[types.NamespacedName][]render.Object{}, overlays: map[string]map[string]any{},
	}, nil
}

func (p *patcher) leave(object, path string, value []byte, why string) {
	p.left = append(p.left, leftOver{Object: object, Path: path, Value: value, Why: why})
}

// change takes one object's change into the files.
func (p *patcher) change(ctx context.Context, c v1alpha1.BreakGlassChange) error {
	kindName, nsName, _ := strings.Cut(c.Object, " ")
	kind, group, _ := strings.Cut(kindName, ".")
	namespace, name, ok := strings.Cut(nsName, "/")
	if !ok {
		namespace, name = "", nsName
	}
	object, err := p.declared(ctx, group, kind, namespace, name)
	if err != nil {
		return err
	}
	switch {
	case object == nil:
		p.leave(c.Object, "", nil, "no GitSync that you may read declares it in this clone")
		return nil
	case len(c.Paths) == 0:
		p.leave(c.Object, "", nil, fmt.Sprintf("it was deleted: take it out of %s:%d", object.File, object.Line))
		return nil
	case kind == "Secret" && group == "":
		p.leave(c.Object, strings.Join(c.Paths, ", "), nil, fmt.Sprintf("values of Secrets are not printed: change %s:%d", object.File, object.Line))
		return nil
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(object.GroupVersionKind())
	if err := p.s.client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, live); err != nil {
		return fmt.Errorf("read %s: %w", c.Object, err)
	}
	raw, err := live.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encode %s: %w", c.Object, err)
	}
	doc, err := fastjson.ParseBytes(raw)
	if err != nil {
		return fmt.Errorf("parse %s: %w", c.Object, err)
	}
	for _, text := range c.Paths {
		at, err := fieldset.Parse(text)
		if err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		var value []byte
		if v := fieldset.At(doc, at); v != nil {
			value = v.MarshalTo(nil)
		}
		if err := p.field(object, namespace, at, value); err != nil {
			p.leave(c.Object, text, value, err.Error())
		}
	}
	return nil
}

func (p *patcher) field(object *render.Object, namespace string, at fieldset.Path, value []byte) error {
	switch object.Root.Type {
	case v1alpha1.RenderHelm:
		return errors.New("a chart makes it: set the values from which " + object.File + " makes this field")
	case v1alpha1.RenderKustomize:
		return p.overlay(object, at, value)
	case v1alpha1.RenderPlain, v1alpha1.RenderAuto:
	}
	content, err := p.read(object.File)
	if err != nil {
		return err
	}
	changed, err := edit.Set(content, edit.Object{Kind: object.GetKind(), Namespace: namespace, Name: object.GetName()}, at, value)
	if err != nil {
		return fmt.Errorf("%s: %w", object.File, err)
	}
	p.after[object.File] = changed
	return nil
}

// overlay writes a field into the kustomization's patch of the object.
func (p *patcher) overlay(object *render.Object, at fieldset.Path, value []byte) error {
	for _, segment := range at {
		if segment.Value != "" || segment.Keys != nil && !builtin(object.GroupVersionKind().Group) {
			return errors.New("a patch of Kustomize does not know the elements of this list: change it in " + object.File)
		}
	}
	file := path.Join(object.Root.Folder, fmt.Sprintf("breakglass-%s-%s.yaml", p.name, strings.ToLower(object.GetKind()+"-"+object.GetName())))
	if p.overlays[file] == nil {
		patch := map[string]any{
			"apiVersion": object.GetAPIVersion(), "kind": object.GetKind(),
			"metadata": map[string]any{"name": object.GetName()},
		}
		if ns := object.GetNamespace(); ns != "" && !p.namespaced(object.Root.Folder) {
			patch["metadata"].(map[string]any)["namespace"] = ns //nolint:forcetypeassert // it is the line above
		}
		p.overlays[file] = patch
		if err := p.entry(object.Root.Folder, path.Base(file)); err != nil {
			return err
		}
	}
	var decoded any
	if value != nil {
		if err := json.Unmarshal(value, &decoded); err != nil {
			return fmt.Errorf("read the value: %w", err)
		}
	}
	merge(p.overlays[file], at, decoded)
	content, err := edit.YAML(p.overlays[file])
	if err != nil {
		return err
	}
	if _, known := p.after[file]; !known {
		p.order = append(p.order, file)
	}
	p.after[file] = content
	return nil
}

// namespaced tells whether the kustomization sets the namespace itself: it does so
// after its patches, which find the object by what it was before.
func (p *patcher) namespaced(folder string) bool {
	for _, name := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
		content, err := fs.ReadFile(p.tree, path.Join(folder, name))
		if err != nil {
			continue
		}
		var k struct {
			Namespace string `json:"namespace"`
		}
		return yaml.Unmarshal(content, &k) == nil && k.Namespace != ""
	}
	return false
}

// builtin tells whether Kustomize knows the lists of a group's kinds.
func builtin(group string) bool {
	return !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io")
}

// entry names the patch file in the kustomization.
func (p *patcher) entry(folder, file string) error {
	for _, name := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
		at := path.Join(folder, name)
		content, err := p.read(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		changed, err := edit.Append(content, "patches", fmt.Appendf(nil, `{"path":%q}`, file))
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		p.after[at] = changed
		return nil
	}
	return errors.New("there is no kustomization in " + folder)
}

// merge puts a value into a strategic merge patch.
func merge(into map[string]any, at fieldset.Path, value any) {
	current := into
	for i := 0; i < len(at); i++ {
		if i == len(at)-1 {
			current[at[i].Field] = value
			return
		}
		if next := at[i+1]; next.Keys != nil {
			item := listItem(current, at[i].Field, next)
			if i+1 == len(at)-1 {
				if whole, ok := value.(map[string]any); ok {
					maps.Copy(item, whole)
				} else {
					item["$patch"] = "delete"
				}
				return
			}
			current = item
			i++
			continue
		}
		child, ok := current[at[i].Field].(map[string]any)
		if !ok {
			child = map[string]any{}
			current[at[i].Field] = child
		}
		current = child
	}
}

// listItem is the element of a list in the patch that a segment names.
func listItem(parent map[string]any, field string, s fieldset.Segment) map[string]any {
	list, _ := parent[field].([]any)
	want := map[string]any{}
	for _, k := range s.Keys {
		var v any
		if json.Unmarshal([]byte(k.Value), &v) != nil {
			v = k.Value
		}
		want[k.Name] = v
	}
	for _, e := range list {
		item, ok := e.(map[string]any)
		same := ok
		for k, v := range want {
			same = same && item[k] == v
		}
		if same {
			return item
		}
	}
	parent[field] = append(list, want)
	return want
}

func (p *patcher) read(file string) ([]byte, error) {
	if content, ok := p.after[file]; ok {
		return content, nil
	}
	content, err := fs.ReadFile(p.tree, file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	p.before[file], p.after[file] = content, content
	p.order = append(p.order, file)
	return content, nil
}

func (p *patcher) result() patched {
	out := patched{Files: []string{}, Left: append([]leftOver{}, p.left...)}
	for _, file := range p.order {
		if text := edit.Unified(file, p.before[file], p.after[file]); text != "" {
			out.Patch += text
			out.Files = append(out.Files, file)
		}
	}
	return out
}

// declared finds the GitSync that declares an object, by the object's label, and
// what the clone makes of it.
func (p *patcher) declared(ctx context.Context, group, kind, namespace, name string) (*render.Object, error) {
	var list v1alpha1.GitSyncList
	err := p.s.client.List(ctx, &list)
	if err != nil {
		if err = p.s.client.List(ctx, &list, client.InNamespace(p.s.flags.system)); err != nil {
			return nil, fmt.Errorf("list gitsyncs: %w", err)
		}
	}
	for i := range list.Items {
		objects, err := p.render(ctx, &list.Items[i])
		if err != nil {
			fmt.Fprintf(p.s.progress, "# GitSync %s: %v\n", list.Items[i].Name, err)
			continue
		}
		for j := range objects {
			o := &objects[j]
			id := o.ID
			if id.Group == group && id.Kind == kind && id.Namespace == namespace && id.Name == name {
				return o, nil
			}
		}
	}
	return nil, nil //nolint:nilnil // nobody declares it
}

// render makes what a GitSync makes of the clone, once.
func (p *patcher) render(ctx context.Context, gs *v1alpha1.GitSync) ([]render.Object, error) {
	key := client.ObjectKeyFromObject(gs)
	if known, ok := p.rendered[key]; ok {
		return known, nil
	}
	options, err := loop.RenderOptions(gs, p.s.flags.system)
	if err != nil {
		return nil, err
	}
	if err := rendering.Ask(ctx, p.s.client, p.s.config, gs, &options); err != nil {
		return nil, err
	}
	objects, err := render.Objects(ctx, p.tree, options)
	if err != nil {
		return nil, err
	}
	httpClient, err := rest.HTTPClientFor(p.s.config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(p.s.config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("ask which kinds there are: %w", err)
	}
	if objects, err = render.Settle(objects, gs.Spec.TargetNamespace, rendering.Scopes(objects, mapper)); err != nil {
		return nil, err
	}
	p.rendered[key] = objects
	return objects, nil
}
