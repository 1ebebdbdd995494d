// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render/sops"
)

const (
	localConfigAnnotation = "config.kubernetes.io/local-config"
	ciphertext            = "ENC[AES256_GCM"
)

// candidate is an object on its way through the rules.
type candidate struct {
	doc   *document
	value map[string]any
	// steps lead to the object in its document.
	steps []any
	gv    schema.GroupVersion
	kind  string
	found *problems
	// variables to replace; nil: none.
	variables map[string]string
}

// objects returns the objects of the document, those of a List one by one.
func (c *candidate) objects() []Object {
	if !c.identify() {
		return nil
	}
	if items, ok := c.value["items"].([]any); ok && strings.HasSuffix(c.kind, "List") {
		return c.items(items)
	}
	metadata, ok := c.value["metadata"].(map[string]any)
	if !ok {
		c.problem([]any{"metadata"}, "has no metadata: give it at least a name")
		return nil
	}
	annotations, ok := c.stringMap(metadata, "annotations")
	if ok && annotations[localConfigAnnotation] == "true" {
		return nil
	}
	if ok && !c.substitute(annotations) {
		return nil
	}
	_, labelsOK := c.stringMap(metadata, "labels")
	id, named := c.name(metadata)
	if !ok || !labelsOK || !named || !c.mode(annotations) || !c.allowed() || !c.foldStringData() {
		return nil
	}
	delete(c.value, "status")
	for _, field := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"} {
		delete(metadata, field)
	}
	file, line := c.doc.place(c.steps...)
	return []Object{{Unstructured: &unstructured.Unstructured{Object: c.value}, ID: id, File: file, Line: line, from: c}}
}

func (c *candidate) problem(steps []any, format string, args ...any) {
	file, line := c.doc.place(slices.Concat(c.steps, steps)...)
	c.found.add(file, line, format, args...)
}

func (c *candidate) identify() bool {
	apiVersion, isString := c.value["apiVersion"].(string)
	kind, isKind := c.value["kind"].(string)
	var missing []string
	if !isString || apiVersion == "" {
		missing = append(missing, "apiVersion")
	}
	if !isKind || kind == "" {
		missing = append(missing, "kind")
	}
	if len(missing) > 0 {
		c.problem(nil, "has no %s and is therefore not a Kubernetes object: add what is missing, or list the file in %s", strings.Join(missing, " and no "), ignoreFile)
		return false
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil || gv.Version == "" {
		c.problem([]any{"apiVersion"}, "apiVersion %q is not of the form group/version", apiVersion)
		return false
	}
	c.gv, c.kind = gv, kind
	return true
}

func (c *candidate) items(items []any) []Object {
	var objects []Object
	for i, item := range items {
		steps := slices.Concat(c.steps, []any{"items", i})
		value, ok := item.(map[string]any)
		if !ok {
			c.problem([]any{"items", i}, "item %d of the %s is not a Kubernetes object", i, c.kind)
			continue
		}
		// The API server leaves both out of the items of a typed list.
		if kind := strings.TrimSuffix(c.kind, "List"); kind != "" && value["kind"] == nil && value["apiVersion"] == nil {
			value["kind"], value["apiVersion"] = kind, c.gv.String()
		}
		objects = append(objects, (&candidate{doc: c.doc, value: value, steps: steps, found: c.found, variables: c.variables}).objects()...)
	}
	return objects
}

// stringMap returns labels or annotations, which hold nothing but strings.
func (c *candidate) stringMap(metadata map[string]any, field string) (map[string]string, bool) {
	if metadata[field] == nil {
		return nil, true
	}
	values, ok := metadata[field].(map[string]any)
	if !ok {
		c.problem([]any{"metadata", field}, "metadata.%s must be a map", field)
		return nil, false
	}
	result := make(map[string]string, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value, isString := values[key].(string)
		if !isString {
			c.problem([]any{"metadata", field, key}, "metadata.%s[%q] must be a string: put it in quotes", field, key)
			ok = false
		}
		result[key] = value
	}
	return result, ok
}

func (c *candidate) name(metadata map[string]any) (ownership.ID, bool) {
	name, isString := metadata["name"].(string)
	if !isString || name == "" {
		switch {
		case metadata["name"] != nil && !isString:
			c.problem([]any{"metadata", "name"}, "metadata.name must be a string: put it in quotes")
		case metadata["generateName"] != nil:
			c.problem([]any{"metadata", "generateName"}, "metadata.generateName would make another object with each sync: give it a metadata.name")
		default:
			c.problem([]any{"metadata"}, "has no metadata.name")
		}
		return ownership.ID{}, false
	}
	namespace, isString := metadata["namespace"].(string)
	if metadata["namespace"] != nil && !isString {
		c.problem([]any{"metadata", "namespace"}, "metadata.namespace must be a string: put it in quotes")
		return ownership.ID{}, false
	}
	return ownership.ID{Group: c.gv.Group, Kind: c.kind, Namespace: namespace, Name: name}, true
}

// mode refuses a mode that is none, so that nothing is held in another way than
// its author meant.
func (c *candidate) mode(annotations map[string]string) bool {
	mode, given := annotations[v1alpha1.ModeAnnotation]
	switch v1alpha1.Mode(mode) {
	case v1alpha1.ModeAudit, v1alpha1.ModeWarn, v1alpha1.ModeEnforce:
		return true
	case v1alpha1.ModeObserve:
	}
	if given {
		c.problem([]any{"metadata", "annotations", v1alpha1.ModeAnnotation}, "annotation %s is %q: write Audit, Warn or Enforce", v1alpha1.ModeAnnotation, mode)
	}
	return !given
}

// allowed refuses what must not come from git.
func (c *candidate) allowed() bool {
	if under, ok := c.value["sops"]; ok {
		c.problem([]any{"sops"}, "is encrypted with SOPS for %s, and spec.render.decryption names no keys: ciphertext is never applied", sops.Recipients(under))
		return false
	}
	if c.gv.Group == v1alpha1.GroupVersion.Group && (c.kind == "Inventory" || c.kind == "BreakGlass") {
		c.problem(nil, "%s is never declared in git: Mainstay and people write it in the cluster", c.kind)
		return false
	}
	if !c.isSecret() {
		return true
	}
	switch c.value["type"] {
	case v1alpha1.SecretTypeInventory, v1alpha1.SecretTypePermit, v1alpha1.SecretTypeKey:
		c.problem([]any{"type"}, "a Secret of type %s is Mainstay's own and is never declared in git", c.value["type"])
		return false
	}
	return c.plaintext()
}

// plaintext refuses a Secret's values that are encrypted still.
func (c *candidate) plaintext() bool {
	for _, field := range []string{"data", "stringData"} {
		values, ok := c.value[field].(map[string]any)
		if !ok {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			value, ok := values[key].(string)
			if !ok {
				continue
			}
			decoded, err := base64.StdEncoding.DecodeString(value)
			if strings.HasPrefix(value, ciphertext) || err == nil && bytes.Contains(decoded, []byte(ciphertext)) {
				c.problem([]any{field, key}, "%s[%q] is encrypted with SOPS, and has no sops metadata to decrypt it by: ciphertext is never applied", field, key)
				return false
			}
		}
	}
	return true
}

func (c *candidate) isSecret() bool {
	return c.gv.Group == "" && c.kind == "Secret"
}

// foldStringData does what the API server does with a Secret's stringData, so
// that the declared fields are those that are stored.
func (c *candidate) foldStringData() bool {
	if !c.isSecret() {
		return true
	}
	plain, ok := c.value["stringData"].(map[string]any)
	if !ok && c.value["stringData"] != nil {
		c.problem([]any{"stringData"}, "stringData must be a map")
		return false
	}
	data, ok := c.value["data"].(map[string]any)
	if !ok {
		if c.value["data"] != nil {
			c.problem([]any{"data"}, "data must be a map")
			return false
		}
		data = map[string]any{}
	}
	ok = true
	for _, key := range slices.Sorted(maps.Keys(plain)) {
		value, isString := plain[key].(string)
		if !isString {
			c.problem([]any{"stringData", key}, "stringData[%q] must be a string: put it in quotes", key)
			ok = false
			continue
		}
		data[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	delete(c.value, "stringData")
	if len(plain) > 0 {
		c.value["data"] = data
	}
	return ok
}

// checkTogether finds what is wrong between objects: one declared twice, or a
// kind in two versions, of which the API server would store either.
func checkTogether(objects []Object, problems *problems) {
	first := make(map[ownership.ID]Object, len(objects))
	versions := map[schema.GroupKind]Object{}
	reported := map[schema.GroupKind]bool{}
	for _, o := range objects {
		if other, ok := first[o.ID]; ok {
			problems.add(o.File, o.Line, "%s is declared twice: here and in %s:%d", o.ID, other.File, other.Line)
			continue
		}
		first[o.ID] = o
		gk := o.ID.GroupKind()
		other, ok := versions[gk]
		if !ok {
			versions[gk] = o
			continue
		}
		if other.GetAPIVersion() != o.GetAPIVersion() && !reported[gk] {
			reported[gk] = true
			problems.add(o.File, o.Line, "%s is declared in version %s here and in version %s in %s:%d: choose one of them for all",
				gk, o.GetAPIVersion(), other.GetAPIVersion(), other.File, other.Line)
		}
	}
}
