// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi"

	"github.com/mainstay-gitops/mainstay/policy/pitfall"
)

// schemas asks the cluster which kinds there are; their fields are fetched when
// they are needed.
func (k *kube) schemas() (pitfall.Schemas, error) {
	config, _, err := k.config()
	if err != nil {
		return nil, err
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	_, lists, err := client.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("list the kinds of the cluster: %w", err)
	}
	paths, err := client.OpenAPIV3().Paths()
	if err != nil {
		return nil, fmt.Errorf("read the schemas of the cluster: %w", err)
	}
	out := &liveSchemas{paths: paths, kinds: map[schema.GroupKind][]string{}, documents: map[string]map[string]any{}}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue // a group that can't be named has no kind that a policy could name
		}
		for _, r := range list.APIResources {
			gk := schema.GroupKind{Group: gv.Group, Kind: r.Kind}
			if !strings.Contains(r.Name, "/") && !slices.Contains(out.kinds[gk], gv.Version) {
				out.kinds[gk] = append(out.kinds[gk], gv.Version)
			}
		}
	}
	return out, nil
}

// liveSchemas are those of a cluster's OpenAPI.
type liveSchemas struct {
	paths     map[string]openapi.GroupVersion
	kinds     map[schema.GroupKind][]string
	documents map[string]map[string]any
}

var _ pitfall.Schemas = (*liveSchemas)(nil)

func (l *liveSchemas) Kinds() []schema.GroupKind { return slices.Collect(maps.Keys(l.kinds)) }

func (l *liveSchemas) Of(group, kind string) []pitfall.Schema {
	var out []pitfall.Schema
	for gk, versions := range l.kinds {
		if gk.Kind != kind || group != "*" && gk.Group != group {
			continue
		}
		for _, version := range versions {
			path := "apis/" + gk.Group + "/" + version
			if gk.Group == "" {
				path = "api/" + version
			}
			if s := kindSchema(l.document(path), schema.GroupVersionKind{Group: gk.Group, Version: version, Kind: kind}); s != nil {
				out = append(out, s)
			}
		}
	}
	return out
}

// document is the OpenAPI document of one version of a group; nil where it can't
// be read: then its kinds have any field.
func (l *liveSchemas) document(path string) map[string]any {
	if known, ok := l.documents[path]; ok {
		return known
	}
	var parsed map[string]any
	if at, ok := l.paths[path]; ok {
		if raw, err := at.Schema("application/json"); err == nil && json.Unmarshal(raw, &parsed) != nil {
			parsed = nil
		}
	}
	l.documents[path] = parsed
	return parsed
}

// kindSchema finds a kind in an OpenAPI document.
func kindSchema(document map[string]any, gvk schema.GroupVersionKind) pitfall.Schema {
	components, _ := document["components"].(map[string]any)
	all, _ := components["schemas"].(map[string]any)
	for _, s := range all {
		one, _ := s.(map[string]any)
		kinds, _ := one["x-kubernetes-group-version-kind"].([]any)
		for _, k := range kinds {
			k, _ := k.(map[string]any)
			if k["group"] == gvk.Group && k["version"] == gvk.Version && k["kind"] == gvk.Kind {
				return openAPI{all, one}
			}
		}
	}
	return nil
}

// openAPI is one schema of a document.
type openAPI struct{ all, at map[string]any }

// resolved follows references.
func (o openAPI) resolved() map[string]any {
	at := o.at
	for range 10 {
		ref, _ := at["$ref"].(string)
		if list, ok := at["allOf"].([]any); ok && len(list) == 1 && ref == "" {
			only, _ := list[0].(map[string]any)
			ref, _ = only["$ref"].(string)
		}
		next, ok := o.all[strings.TrimPrefix(ref, "#/components/schemas/")].(map[string]any)
		if !ok {
			return at
		}
		at = next
	}
	return at
}

func (o openAPI) Open() bool {
	at := o.resolved()
	_, properties := at["properties"]
	_, additional := at["additionalProperties"]
	return at["x-kubernetes-preserve-unknown-fields"] == true || at["type"] == nil && !properties ||
		at["type"] == "object" && !properties && !additional
}

func (o openAPI) Field(name string) (pitfall.Schema, bool) {
	at := o.resolved()
	if properties, ok := at["properties"].(map[string]any); ok {
		if next, ok := properties[name].(map[string]any); ok {
			return openAPI{o.all, next}, true
		}
	}
	if next, ok := at["additionalProperties"].(map[string]any); ok {
		return openAPI{o.all, next}, true
	}
	return nil, false
}

func (o openAPI) Fields() []string {
	properties, _ := o.resolved()["properties"].(map[string]any)
	return slices.Sorted(maps.Keys(properties))
}

func (o openAPI) Element() (pitfall.Schema, string, bool) {
	at := o.resolved()
	items, ok := at["items"].(map[string]any)
	if !ok {
		return nil, "", false
	}
	// The key's names belong to the property, which the reference may hide.
	keys, _ := at["x-kubernetes-list-map-keys"].([]any)
	key := ""
	if len(keys) > 0 {
		key, _ = keys[0].(string)
	}
	return openAPI{o.all, items}, key, true
}
