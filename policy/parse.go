// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// ParseInput turns an input document into the change that it is about, as far
// as input tells: what git says of a field is not in it. The error names the
// member that is missing or wrong.
func ParseInput(input []byte) (*Change, error) {
	root, err := fastjson.ParseBytes(input)
	if err != nil {
		return nil, fmt.Errorf("parse input: %w", err)
	}
	if root.Type() != fastjson.TypeObject {
		return nil, errors.New("input is no object")
	}
	c := &Change{
		Origin: Origin(inputText(root, "origin")), Operation: Operation(inputText(root, "operation")),
		SubResource: inputText(root, "subResource"), DryRun: root.GetBool("dryRun"),
		Kind:     schema.GroupVersionKind{Group: inputText(root, "kind", "group"), Version: inputText(root, "kind", "version"), Kind: inputText(root, "kind", "kind")},
		Resource: schema.GroupVersionResource{Group: inputText(root, "resource", "group"), Version: inputText(root, "resource", "version"), Resource: inputText(root, "resource", "resource")},
		Object:   inputObject(root, "object"), OldObject: inputObject(root, "oldObject"), Options: inputObject(root, "options"),
		Pod: inputText(root, "pod", "name"), Record: parseRecord(root),
		NamespaceLabels: stringsAt(root, "namespaceObject", "labels"), NamespaceAnnotations: stringsAt(root, "namespaceObject", "annotations"),
	}
	switch {
	case c.Operation == "":
		return nil, errors.New("input.operation is missing")
	case c.Kind.Kind == "":
		return nil, errors.New("input.kind.kind is missing")
	case c.Record.Name == "":
		return nil, errors.New("input.name is missing")
	}
	if c.Origin == "" {
		c.Origin = OriginRequest
	}
	if c.Time, err = time.Parse(time.RFC3339, inputText(root, "time")); err != nil {
		return nil, fmt.Errorf("input.time: %w", err)
	}
	c.User = parseUser(root.Get("userInfo"))
	if c.Fields, err = parseChanges(root.Get("changes")); err != nil {
		return nil, err
	}
	return c, nil
}

func parseRecord(root *fastjson.Value) *ownership.Record {
	revision := ownership.Revision{Name: inputText(root, "source", "revision"), Author: inputText(root, "source", "author")}
	if t, err := time.Parse(time.RFC3339, inputText(root, "source", "committedAt")); err == nil {
		revision.Time = t
	}
	entry := &ownership.Entry{
		ID: ownership.ID{
			Group: inputText(root, "kind", "group"), Kind: inputText(root, "kind", "kind"),
			Namespace: inputText(root, "namespace"), Name: inputText(root, "name"),
		},
		Version: inputText(root, "kind", "version"), Resource: inputText(root, "resource", "resource"),
	}
	if root.Exists("source") {
		entry.Applied = &ownership.Content{Revision: revision, File: inputText(root, "source", "path"), Line: root.GetInt("source", "line")}
	}
	return &ownership.Record{Entry: entry, Sync: &ownership.Sync{
		Namespace: inputText(root, "sync", "namespace"), Name: inputText(root, "sync", "name"),
		Labels: stringsAt(root, "sync", "labels"), Mode: v1alpha1.Mode(inputText(root, "sync", "mode")),
		Undeclared: v1alpha1.Undeclared(inputText(root, "sync", "undeclared")), URL: inputText(root, "source", "repo"),
	}}
}

func parseUser(v *fastjson.Value) *User {
	if v == nil || v.Type() != fastjson.TypeObject {
		return nil
	}
	u := &User{Username: inputText(v, "username"), UID: inputText(v, "uid"), Groups: textsOf(v.GetArray("groups"))}
	if extra := v.GetObject("extra"); extra != nil {
		u.Extra = map[string][]string{}
		extra.Visit(func(key []byte, values *fastjson.Value) { u.Extra[string(key)] = textsOf(values.GetArray()) })
	}
	return u
}

func parseChanges(v *fastjson.Value) ([]Field, error) {
	list := v.GetArray()
	if v != nil && v.Type() != fastjson.TypeArray {
		return nil, errors.New("input.changes is no list")
	}
	fields := make([]Field, 0, len(list))
	for i, item := range list {
		path, err := fieldset.Parse(inputText(item, "path"))
		if err != nil {
			return nil, fmt.Errorf("input.changes[%d].path: %w", i, err)
		}
		fields = append(fields, Field{
			Path: path, Op: fieldset.Op(inputText(item, "op")), From: item.Get("from"), To: item.Get("to"),
			Declared: item.GetBool("declared"), Manager: inputText(item, "manager"),
		})
	}
	return fields, nil
}

func inputText(v *fastjson.Value, keys ...string) string { return string(v.GetStringBytes(keys...)) }

func inputObject(v *fastjson.Value, key string) *fastjson.Value {
	if m := v.Get(key); m != nil && m.Type() == fastjson.TypeObject {
		return m
	}
	return nil
}

func textsOf(values []*fastjson.Value) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		out = append(out, string(v.GetStringBytes()))
	}
	return out
}

func stringsAt(v *fastjson.Value, keys ...string) map[string]string {
	o := v.GetObject(keys...)
	if o == nil {
		return nil
	}
	out := make(map[string]string, o.Len())
	o.Visit(func(key []byte, value *fastjson.Value) { out[string(key)] = string(value.GetStringBytes()) })
	return out
}
