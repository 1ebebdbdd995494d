// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/sync/render"
)

// mask stands for the value of a Secret.
const mask = "•••"

// print writes the objects: documents with the place of each, or one List.
func (c *command) print(out io.Writer, objects []render.Object) error {
	items := make([]any, len(objects))
	for i := range objects {
		object := objects[i].Unstructured
		if !c.showSecrets {
			object = masked(object)
		}
		items[i] = object.Object
		if c.output == "json" {
			continue
		}
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			return fmt.Errorf("write %s: %w", objects[i].ID, err)
		}
		if _, err := fmt.Fprintf(out, "---\n# %s:%d\n%s", objects[i].File, objects[i].Line, text); err != nil {
			return err
		}
	}
	if c.output != "json" {
		return nil
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
}

// masked is a Secret without its values; any other object as it is. Annotations
// may repeat a value, so they are masked, too.
func masked(object *unstructured.Unstructured) *unstructured.Unstructured {
	if object.GroupVersionKind().GroupKind() != (schema.GroupKind{Kind: "Secret"}) {
		return object
	}
	object = object.DeepCopy()
	for _, path := range [][]string{{"data"}, {"metadata", "annotations"}} {
		values, ok, err := unstructured.NestedMap(object.Object, path...)
		if !ok || err != nil {
			continue
		}
		for key := range values {
			values[key] = mask
		}
		if err := unstructured.SetNestedMap(object.Object, values, path...); err != nil {
			unstructured.RemoveNestedField(object.Object, path...)
		}
	}
	return object
}

// Scopes tells which kinds are namespaced: those that the objects define, those
// that mapper knows where it is not nil, and Kubernetes' own.
func Scopes(objects []render.Object, mapper meta.RESTMapper) func(*render.Object) (namespaced, known bool) {
	defined := map[schema.GroupKind]bool{}
	for _, o := range objects {
		if o.ID.Group != "apiextensions.k8s.io" || o.ID.Kind != "CustomResourceDefinition" {
			continue
		}
		read := func(path ...string) string {
			s, _, err := unstructured.NestedString(o.Object, path...)
			if err != nil {
				return ""
			}
			return s
		}
		defined[schema.GroupKind{Group: read("spec", "group"), Kind: read("spec", "names", "kind")}] = read("spec", "scope") == "Namespaced"
	}
	return func(o *render.Object) (bool, bool) {
		if namespaced, ok := defined[o.ID.GroupKind()]; ok {
			return namespaced, true
		}
		if mapper != nil {
			if mapping, err := mapper.RESTMapping(o.ID.GroupKind(), o.GroupVersionKind().Version); err == nil {
				return mapping.Scope.Name() == meta.RESTScopeNameNamespace, true
			}
		}
		return openapi.IsNamespaceScoped(kyaml.TypeMeta{APIVersion: o.GetAPIVersion(), Kind: o.GetKind()})
	}
}
