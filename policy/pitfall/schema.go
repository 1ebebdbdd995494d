// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package pitfall

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/agnivade/levenshtein"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// Schemas know the fields of kinds.
type Schemas interface {
	// Of returns the schemas of a kind, one for each group and version that has
	// it. The group may be "*" for any; the core group is empty.
	Of(group, kind string) []Schema
	// Kinds are all that are known.
	Kinds() []schema.GroupKind
}

// Schema is the type of a value. What is not known about it is anything: Open.
type Schema interface {
	// Open tells that the value may have any form.
	Open() bool
	// Field of an object; false where it has none of that name.
	Field(name string) (Schema, bool)
	// Fields are the names of all of them.
	Fields() []string
	// Element of a list, and the merge key that tells its elements apart, where
	// one is known; false where the value is no list.
	Element() (element Schema, key string, ok bool)
}

// both asks one after the other; the second may be nil.
type both struct{ first, second Schemas }

func (b both) Of(group, kind string) []Schema {
	if found := b.first.Of(group, kind); len(found) > 0 || b.second == nil {
		return found
	}
	return b.second.Of(group, kind)
}

func (b both) Kinds() []schema.GroupKind {
	if b.second == nil {
		return b.first.Kinds()
	}
	return append(slices.Clone(b.first.Kinds()), b.second.Kinds()...)
}

// typed knows the kinds of Kubernetes itself by their Go types.
type typed map[schema.GroupKind][]reflect.Type

var builtinSchemas = sync.OnceValue(func() Schemas {
	types := typed{}
	for gvk, t := range scheme.Scheme.AllKnownTypes() {
		if gvk.Version == "__internal" || strings.HasSuffix(gvk.Kind, "List") || strings.HasSuffix(gvk.Kind, "Options") || gvk.Kind == "WatchEvent" {
			continue
		}
		types[gvk.GroupKind()] = append(types[gvk.GroupKind()], t)
	}
	return types
})

func (t typed) Of(group, kind string) []Schema {
	var out []Schema
	for gk, types := range t {
		if gk.Kind == kind && (group == "*" || gk.Group == group) {
			for _, one := range types {
				out = append(out, goType{one, ""})
			}
		}
	}
	return out
}

func (t typed) Kinds() []schema.GroupKind {
	var out []schema.GroupKind
	for gk := range t {
		out = append(out, gk)
	}
	return out
}

// goType is a Go type of the API; key is the merge key of a list.
type goType struct {
	reflect.Type
	key string
}

// plain takes pointers off.
func (t goType) plain() reflect.Type {
	p := t.Type
	for p.Kind() == reflect.Pointer {
		p = p.Elem()
	}
	return p
}

func (t goType) Open() bool {
	p := t.plain()
	switch p.Kind() {
	case reflect.Interface:
		return true
	case reflect.Struct:
		return p.Name() == "RawExtension" || p.Name() == "JSON"
	default:
		return false
	}
}

// scalar tells whether a struct is written as a text or a number.
func scalar(p reflect.Type) bool {
	switch p.Name() {
	case "Time", "MicroTime", "Duration", "Quantity", "IntOrString":
		return true
	}
	return false
}

func (t goType) Field(name string) (Schema, bool) {
	p := t.plain()
	switch p.Kind() {
	case reflect.Map:
		return goType{p.Elem(), ""}, true
	case reflect.Struct:
		if scalar(p) {
			return nil, false
		}
		for f := range fields(p) {
			if jsonName(f) == name {
				return goType{f.Type, f.Tag.Get("patchMergeKey")}, true
			}
		}
	default:
	}
	return nil, false
}

func (t goType) Fields() []string {
	var out []string
	if p := t.plain(); p.Kind() == reflect.Struct && !scalar(p) {
		for f := range fields(p) {
			out = append(out, jsonName(f))
		}
	}
	return out
}

func (t goType) Element() (Schema, string, bool) {
	p := t.plain()
	if p.Kind() != reflect.Slice || p.Elem().Kind() == reflect.Uint8 {
		return nil, "", false
	}
	return goType{p.Elem(), ""}, t.key, true
}

// fields of a struct, those of inlined structs among them.
func fields(p reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for _, f := range reflect.VisibleFields(p) {
			if f.IsExported() && jsonName(f) != "" && !yield(f) {
				return
			}
		}
	}
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" {
		return ""
	}
	return name
}

// nearest of the known words, where one is near enough to be meant.
func nearest(word string, known []string) string {
	best, distance := "", 1+min(2, len(word)/3)
	for _, k := range known {
		if strings.EqualFold(word, k) {
			return k
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// Builtin are the schemas of Kubernetes' own kinds.
func Builtin() Schemas { return builtinSchemas() }
