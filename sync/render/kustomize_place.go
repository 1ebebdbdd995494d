// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"hash/fnv"
	"path"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// overlaid says where the fields of a resource that Kustomize built come from:
// the base's file, or what an overlay changed.
type overlaid struct {
	k      *kustomization
	origin resource.Origin
	// steps are the transformations, in their order.
	steps []resource.Origin

	base *document
	// baseSteps lead to the object in its document, baseLine is its line.
	baseSteps []any
	file      string
	line      int
}

// find looks for the object in the file that it comes from: for one of that
// kind, whose name is the built one's or within it.
func (o *overlaid) find(built *document) {
	o.file, o.line = o.k.files[o.k.root], 1
	name := text(built.value, "metadata", "name")
	if o.origin.ConfiguredIn != "" {
		o.file, o.line = o.origin.ConfiguredIn, o.generator(name)
		return
	}
	if o.origin.Path == "" {
		return
	}
	if err := o.k.checkManifests(o.origin.Path); err != nil {
		return
	}
	o.file = o.origin.Path
	best := -1
	for _, d := range o.k.docs[o.origin.Path] {
		for _, steps := range members(d.value, nil) {
			value := at(d.value, steps)
			n := text(value, "metadata", "name")
			if text(value, "kind") != text(built.value, "kind") || !strings.Contains(name, n) || len(n) <= best {
				continue
			}
			best = len(n)
			o.base, o.baseSteps = d, steps
			_, o.line = d.place(steps...)
		}
	}
}

// members are the paths of the objects in a document: one, or a List's items.
func members(value map[string]any, steps []any) [][]any {
	items, ok := value["items"].([]any)
	if !ok || !strings.HasSuffix(text(value, "kind"), "List") {
		return [][]any{steps}
	}
	var all [][]any
	for i, item := range items {
		if m, ok := item.(map[string]any); ok {
			all = append(all, members(m, slices.Concat(steps, []any{"items", i}))...)
		}
	}
	return all
}

// generator is the line of the entry that generates what has this name.
func (o *overlaid) generator(name string) int {
	line, best := o.k.keyLine(o.file, "configMapGenerator", "secretGenerator", "generators"), 0
	for _, doc := range o.k.docs[o.file] {
		root, _ := doc.find()
		for _, key := range []string{"configMapGenerator", "secretGenerator"} {
			_, list := childNode(root, key)
			if list == nil {
				continue
			}
			for _, entry := range list.Content {
				_, n := childNode(entry, "name")
				if n != nil && strings.Contains(name, n.Value) && len(n.Value) > best {
					line, best = entry.Line, len(n.Value)
				}
			}
		}
	}
	return max(line, 1)
}

// place implements maker.
func (o *overlaid) place(built *document, steps []any, _ int) (string, int) {
	if len(steps) == 0 {
		return o.file, o.line
	}
	value, isScalar := scalar(atPath(built.value, steps))
	baseLine, equal := o.line, false
	if o.base != nil {
		var node *yamlv3.Node
		node, baseLine = follow(o.base, o.baseSteps, built.value, steps)
		equal = node != nil && node.Kind == yamlv3.ScalarNode && node.Value == value
	}
	if !isScalar {
		return o.file, baseLine
	}
	if equal && identity(steps) {
		return o.file, baseLine
	}
	for _, step := range slices.Backward(o.steps) {
		if file, line := o.patched(step, built, steps, value); line > 0 {
			return file, line
		}
		if equal {
			continue
		}
		if line := o.transformed(step, steps, value); line > 0 {
			return step.ConfiguredIn, line
		}
	}
	if o.base == nil && o.origin.ConfiguredIn != "" {
		return o.file, o.generated(steps)
	}
	return o.file, baseLine
}

// identity tells that a patch names its target, or an element of a list, by the
// field at the path.
func identity(steps []any) bool {
	last := steps[len(steps)-1]
	return last == "name" || len(steps) == 1 && (last == "kind" || last == "apiVersion")
}

// generated is the line of a key in its generator's entry.
func (o *overlaid) generated(steps []any) int {
	key, ok := steps[len(steps)-1].(string)
	if !ok {
		return o.line
	}
	line := o.k.scan(o.file, func(n *yamlv3.Node) bool {
		return n.Line >= o.line && (strings.HasPrefix(n.Value, key+"=") || n.Value == key || path.Base(n.Value) == key)
	})
	return max(line, o.line)
}

// fieldsOf are the keys of a kustomization that set the field at the path, by
// the transformer that they configure.
func fieldsOf(transformer string, steps []any) []string {
	last, _ := steps[len(steps)-1].(string)
	switch transformer {
	case "ImageTagTransformer":
		if last == "image" {
			return []string{"images", "imageTags"}
		}
	case "ReplicaCountTransformer":
		if last == "replicas" {
			return []string{"replicas"}
		}
	case "NamespaceTransformer":
		if last == "namespace" || last == "name" {
			return []string{"namespace"}
		}
	case "PrefixTransformer", "PrefixSuffixTransformer":
		return []string{"namePrefix"}
	case "SuffixTransformer":
		return []string{"nameSuffix"}
	case "LabelTransformer":
		if slices.ContainsFunc(steps, func(s any) bool { return s == "labels" || s == "matchLabels" || s == "selector" }) {
			return []string{"labels", "commonLabels"}
		}
	case "AnnotationsTransformer":
		if slices.Contains(steps, "annotations") {
			return []string{"commonAnnotations"}
		}
	case "ReplacementTransformer":
		return []string{"replacements"}
	}
	return nil
}

// transformed is the line of what a transformation other than a patch sets a
// field by; 0 where it does not set it.
func (o *overlaid) transformed(step resource.Origin, steps []any, value string) int {
	keys := fieldsOf(step.ConfiguredBy.Kind, steps)
	if keys == nil {
		return 0
	}
	at := o.k.keyLine(step.ConfiguredIn, keys...)
	if at == 0 {
		return 0
	}
	if keys[0] == "namePrefix" || keys[0] == "nameSuffix" {
		affix := o.k.scan(step.ConfiguredIn, func(n *yamlv3.Node) bool {
			return n.Line == at && !slices.Contains(keys, n.Value) && strings.Contains(value, n.Value)
		})
		return affix
	}
	// The entry that has the value itself, as a tag or a number has.
	entry := o.k.scan(step.ConfiguredIn, func(n *yamlv3.Node) bool {
		return n.Line > at && n.Value != "" && (n.Value == value || strings.HasSuffix(value, ":"+n.Value) || strings.HasSuffix(value, "@"+n.Value))
	})
	if keys[0] == "images" && entry == 0 {
		// Another name and the same tag; or an image that no entry names.
		return o.k.scan(step.ConfiguredIn, func(n *yamlv3.Node) bool {
			return n.Line > at && (strings.HasPrefix(value, n.Value+":") || strings.HasPrefix(value, n.Value+"@"))
		})
	}
	return max(entry, at)
}

// patched is the place in a patch that sets the field to the value.
func (o *overlaid) patched(step resource.Origin, built *document, steps []any, value string) (string, int) {
	if !strings.HasPrefix(step.ConfiguredBy.Kind, "Patch") {
		return "", 0
	}
	for _, patch := range o.k.patches(step.ConfiguredIn) {
		node, line := follow(patch, nil, built.value, steps)
		if node == nil || node.Kind != yamlv3.ScalarNode || node.Value != value {
			continue
		}
		if name := text(patch.value, "metadata", "name"); name != "" && !strings.Contains(text(built.value, "metadata", "name"), name) {
			continue
		}
		return patch.file, line
	}
	for _, patch := range o.k.docs[step.ConfiguredIn+jsonPatches] {
		if line := operation(patch, steps, value); line > 0 {
			return patch.file, line
		}
	}
	return "", 0
}

// operation is the line of the JSON patch's operation that sets the field.
func operation(patch *document, steps []any, value string) int {
	var pointer strings.Builder
	for _, step := range steps {
		pointer.WriteString("/" + ownership.EscapeStep(fmt.Sprint(step)))
	}
	list, _ := patch.find()
	if list == nil {
		return 0
	}
	for _, op := range list.Content {
		_, at := childNode(op, "path")
		position, set := childNode(op, "value")
		if at != nil && set != nil && at.Value == pointer.String() && set.Value == value {
			return patch.offset + position.Line - 1
		}
	}
	return 0
}

// What k.docs keeps beside files of manifests: the patches of a kustomization
// file that are written as objects, and those that are lists of operations.
const (
	objectPatches = "\x00objects"
	jsonPatches   = "\x00operations"
)

// patches reads the patches of a kustomization file; it returns those that are
// written as objects.
func (k *kustomization) patches(file string) []*document {
	if docs, known := k.docs[file+objectPatches]; known {
		return docs
	}
	k.docs[file+objectPatches] = nil
	kust := k.parsed[file]
	if kust == nil {
		return nil
	}
	//nolint:staticcheck // old kustomizations have them
	for _, patch := range slices.Concat(kust.Patches, kust.PatchesJson6902) {
		if patch.Path != "" {
			k.addPatch(file, patch.Path)
		} else {
			k.addInline(file, patch.Patch)
		}
	}
	//nolint:staticcheck // as above
	for _, patch := range kust.PatchesStrategicMerge {
		if strings.Contains(string(patch), "\n") {
			k.addInline(file, string(patch))
		} else {
			k.addPatch(file, string(patch))
		}
	}
	return k.docs[file+objectPatches]
}

func (k *kustomization) addPatch(file, name string) {
	name = path.Join(path.Dir(file), name)
	if content, err := k.tree.read(name); err == nil {
		k.sortPatch(file, splitYAML(name, content))
	}
}

func (k *kustomization) addInline(file, content string) {
	texts := splitYAML(file, []byte(content))
	line := k.lineOf(file, content)
	for _, d := range texts {
		d.offset, d.line = d.offset+line, d.line+line
	}
	k.sortPatch(file, texts)
}

// sortPatch keeps what can be parsed; Kustomize has said what can't.
func (k *kustomization) sortPatch(file string, texts []*document) {
	for _, d := range texts {
		var value any
		if err := yaml.Unmarshal(d.text, &value); err != nil {
			continue
		}
		switch value := value.(type) {
		case map[string]any:
			d.value = value
			k.docs[file+objectPatches] = append(k.docs[file+objectPatches], d)
		case []any:
			k.docs[file+jsonPatches] = append(k.docs[file+jsonPatches], d)
		}
	}
}

// sum implements maker.
func (o *overlaid) sum() uint64 {
	h := fnv.New64a()
	add := func(file string) {
		h.Write([]byte(file))
		for _, d := range o.k.docs[file] {
			h.Write(d.text)
		}
	}
	add(o.file)
	for _, step := range o.steps {
		add(step.ConfiguredIn)
		for _, d := range o.k.patches(step.ConfiguredIn) {
			h.Write([]byte(d.file))
			h.Write(d.text)
		}
		for _, d := range o.k.docs[step.ConfiguredIn+jsonPatches] {
			h.Write([]byte(d.file))
			h.Write(d.text)
		}
	}
	return h.Sum64()
}

// follow finds in a document the field that the built object has at the path:
// elements of lists by name, where they have one. The line is that of the
// nearest field above where it is not there.
func follow(d *document, from []any, built any, steps []any) (*yamlv3.Node, int) {
	node, line := d.find(from...)
	for _, step := range steps {
		if node == nil {
			return nil, line
		}
		in := step
		if i, ok := step.(int); ok {
			in = counterpart(node, built, i)
		}
		built = atPath(built, []any{step})
		position, child := childNode(node, in)
		if child == nil {
			return nil, line
		}
		node, line = child, d.offset+position.Line-1
	}
	return node, line
}

// counterpart is the index in a sequence of the element that has the name of a
// list's element i.
func counterpart(node *yamlv3.Node, built any, i int) int {
	name, ok := scalar(atPath(built, []any{i, "name"}))
	if !ok {
		return i
	}
	for at, child := range node.Content {
		if _, value := childNode(child, "name"); value != nil && value.Value == name {
			return at
		}
	}
	return len(node.Content) // none
}

// atPath is the value at a path of keys and indices; nil where there is none.
func atPath(value any, steps []any) any {
	for _, step := range steps {
		switch in := value.(type) {
		case map[string]any:
			key, ok := step.(string)
			if !ok {
				return nil
			}
			value = in[key]
		case []any:
			i, ok := step.(int)
			if !ok || i >= len(in) {
				return nil
			}
			value = in[i]
		default:
			return nil
		}
	}
	return value
}

// at is the map at a path.
func at(value any, steps []any) map[string]any {
	m, ok := atPath(value, steps).(map[string]any)
	if !ok {
		return nil
	}
	return m
}

// text is the string at a path of keys; empty where there is none.
func text(value map[string]any, keys ...string) string {
	steps := make([]any, len(keys))
	for i, key := range keys {
		steps[i] = key
	}
	s, ok := atPath(value, steps).(string)
	if !ok {
		return ""
	}
	return s
}

// scalar is a value as a manifest writes it, if it is no map and no list.
func scalar(value any) (string, bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case nil, map[string]any, []any:
		return "", false
	default:
		return fmt.Sprint(value), true
	}
}
