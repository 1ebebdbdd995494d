// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/valyala/fastjson"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/pitfall"
)

const (
	assumedGit      = "the old object is what git says of it"
	assumedDeclared = "git sets every field of the old object: it has no entry of Mainstay's in managedFields"
	assumedSync     = "the GitSync is mainstay-system/%s in mode Enforce with undeclared: RejectPeople"
)

// attempt is a change as its documents tell it.
type attempt struct {
	operation   policy.Operation
	subResource string
	dryRun      bool
	user        *policy.User
	kind        schema.GroupVersionKind
	resource    schema.GroupVersionResource
	namespace   string
	name        string
	old, new    []byte
	// parent is the object itself where old and new are its Scale.
	parent  []byte
	options []byte
	// namespaceLabels are those of the object's namespace, where they are known.
	namespaceLabels, namespaceAnnotations map[string]string
}

// input makes the input document of an attempt, as the webhook would, and says
// what had to be assumed.
func (a *attempt) input(e *eval, engine *policy.Engine) ([]byte, []string, error) {
	var assumed []string
	old, err := parsed(a.old)
	if err != nil {
		return nil, nil, fmt.Errorf("read the old object: %w", err)
	}
	to, err := parsed(a.new)
	if err != nil {
		return nil, nil, fmt.Errorf("read the new object: %w", err)
	}
	about := old
	if a.parent != nil {
		if about, err = parsed(a.parent); err != nil {
			return nil, nil, fmt.Errorf("read the object: %w", err)
		}
	}
	structure, err := structureOf(a.kind, old, to)
	if err != nil {
		return nil, nil, err
	}
	declared := structure
	if own := fieldset.AppliedBy(about, v1alpha1.FieldManager); own != nil {
		if declared, err = fieldset.SetOf(own); err != nil {
			return nil, nil, fmt.Errorf("read managedFields: %w", err)
		}
		structure = fieldset.Union(structure, declared)
	} else if old != nil {
		assumed = append(assumed, assumedDeclared)
	}
	sync, _, _ := strings.Cut(string(about.GetStringBytes("metadata", "labels", v1alpha1.SyncLabel)), ".")
	if sync == "" {
		sync = "sandbox"
	}
	assumed = append([]string{assumedGit, fmt.Sprintf(assumedSync, sync)}, assumed...)
	record := &ownership.Record{
		Entry: &ownership.Entry{
			ID:      ownership.ID{Group: a.kind.Group, Kind: a.kind.Kind, Namespace: a.namespace, Name: a.name},
			Version: a.kind.Version, Resource: a.resource.Resource,
			Applied: &ownership.Content{Baseline: a.old},
		},
		Sync: &ownership.Sync{
			Namespace: "mainstay-system", Name: sync, Mode: v1alpha1.ModeEnforce, Undeclared: v1alpha1.UndeclaredRejectPeople,
		},
		AppliedSet: declared,
	}
	c := &policy.Change{
		Origin: policy.OriginRequest, Operation: a.operation, SubResource: a.subResource, DryRun: a.dryRun, User: a.user,
		Kind: a.kind, Resource: a.resource, Object: to, OldObject: old, Record: record, Time: e.now,
		NamespaceLabels: a.namespaceLabels, NamespaceAnnotations: a.namespaceAnnotations,
	}
	if c.Options, err = parsed(a.options); err != nil {
		return nil, nil, fmt.Errorf("read options: %w", err)
	}
	if a.operation != policy.Delete && old != nil && to != nil {
		c.Fields = policy.Fields(fieldset.Compare(old, to, structure, nil), record)
	}
	if e.origin == string(policy.OriginDrift) {
		c.Origin, c.User, c.Options = policy.OriginDrift, nil, nil
	}
	seen, err := engine.See(engine.Sight(), c)
	return seen.Input, assumed, err
}

func parsed(text []byte) (*fastjson.Value, error) {
	if len(text) == 0 {
		return nil, nil //nolint:nilnil // there is no document
	}
	return fastjson.ParseBytes(text)
}

// structureOf makes the field set of objects by what is known of their kind: so
// lists have their merge keys where no managedFields tell.
func structureOf(kind schema.GroupVersionKind, objects ...*fastjson.Value) (*fieldset.Set, error) {
	var sets []*fieldset.Set
	known := pitfall.Builtin().Of(kind.Group, kind.Kind)
	for _, o := range objects {
		if o == nil {
			continue
		}
		var s pitfall.Schema
		if len(known) > 0 {
			s = known[0]
		}
		set, err := fieldset.ParseSet(fieldsOf(o, s))
		if err != nil {
			return nil, fmt.Errorf("read the fields: %w", err)
		}
		sets = append(sets, set)
		if managers, err := fieldset.Managers(o); err == nil {
			for _, m := range managers {
				sets = append(sets, m.Fields)
			}
		}
	}
	return fieldset.Union(sets...), nil
}

// fieldsOf writes the FieldsV1 of all that a value holds.
func fieldsOf(v *fastjson.Value, s pitfall.Schema) []byte {
	members := []string{}
	add := func(key string, value []byte) {
		name, _ := json.Marshal(key) // a string always encodes
		members = append(members, string(name)+":"+string(value))
	}
	switch {
	case v.Type() == fastjson.TypeObject:
		v.GetObject().Visit(func(key []byte, child *fastjson.Value) {
			var next pitfall.Schema
			if s != nil {
				next, _ = s.Field(string(key))
			}
			add("f:"+string(key), fieldsOf(child, next))
		})
	case v.Type() == fastjson.TypeArray && s != nil:
		element, key, ok := s.Element()
		if !ok || key == "" {
			break
		}
		for _, item := range v.GetArray() {
			if value := item.Get(key); value != nil {
				name, _ := json.Marshal(key)
				add("k:{"+string(name)+":"+value.String()+"}", fieldsOf(item, element))
			}
		}
	}
	return []byte("{" + strings.Join(members, ",") + "}")
}

// user is who asks, by the flags.
func (e *eval) user() *policy.User {
	name := e.as
	if name == "" {
		name = "alice"
	}
	u := &policy.User{Username: name, Groups: append(slices.Clone(e.groups), "system:authenticated")}
	if namespace, _, ok := u.ServiceAccount(); ok {
		u.Groups = append(u.Groups, "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	}
	return u
}

// manifests makes an input of --old and --new.
func (e *eval) manifests(engine *policy.Engine) ([]byte, []string, error) {
	from, err := manifest(e.old)
	if err != nil {
		return nil, nil, err
	}
	to, err := manifest(e.new)
	if err != nil {
		return nil, nil, err
	}
	if from.GroupVersionKind() != to.GroupVersionKind() || from.GetName() != to.GetName() || from.GetNamespace() != to.GetNamespace() {
		return nil, nil, fmt.Errorf("%s and %s are two objects: %s %s/%s and %s %s/%s", e.old, e.new,
			from.GetKind(), from.GetNamespace(), from.GetName(), to.GetKind(), to.GetNamespace(), to.GetName())
	}
	a := &attempt{operation: policy.Update, user: e.user(), kind: from.GroupVersionKind(), namespace: from.GetNamespace(), name: from.GetName()}
	a.resource, _ = meta.UnsafeGuessKindToResource(a.kind)
	if a.old, err = from.MarshalJSON(); err != nil {
		return nil, nil, err
	}
	if a.new, err = to.MarshalJSON(); err != nil {
		return nil, nil, err
	}
	input, assumed, err := a.input(e, engine)
	if e.as == "" && e.origin != string(policy.OriginDrift) {
		assumed = append(assumed, "alice asks, a person: --as says otherwise")
	}
	return input, assumed, err
}

func manifest(name string) (*unstructured.Unstructured, error) {
	content, err := readFile(name)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	o := new(unstructured.Unstructured)
	if err := yaml.Unmarshal(content, &o.Object); err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", name, err)
	}
	if o.GetKind() == "" || o.GetName() == "" {
		return nil, fmt.Errorf("read manifest %s: it has no kind or no name", name)
	}
	return o, nil
}

// fixture reads an input document or an AdmissionReview.
func (e *eval) fixture(engine *policy.Engine) ([]byte, []string, error) {
	content, err := readFile(e.input)
	if err != nil {
		return nil, nil, fmt.Errorf("read input: %w", err)
	}
	var review admissionv1.AdmissionReview
	if json.Unmarshal(content, &review) != nil || review.Kind != "AdmissionReview" {
		input, err := e.document(content)
		return input, nil, err
	}
	r := review.Request
	if r == nil {
		return nil, nil, errors.New("read input: the AdmissionReview has no request")
	}
	a := &attempt{
		operation: policy.Operation(r.Operation), subResource: r.SubResource, dryRun: r.DryRun != nil && *r.DryRun,
		kind: schema.GroupVersionKind(r.Kind), resource: schema.GroupVersionResource(r.Resource),
		namespace: r.Namespace, name: r.Name, old: r.OldObject.Raw, new: r.Object.Raw, options: r.Options.Raw,
		user: &policy.User{Username: r.UserInfo.Username, UID: r.UserInfo.UID, Groups: r.UserInfo.Groups},
	}
	if e.as != "" {
		a.user = e.user()
	}
	return a.input(e, engine)
}

// document puts what the flags say into an input document.
func (e *eval) document(content []byte) ([]byte, error) {
	var input map[string]any
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&input); err != nil {
		return nil, fmt.Errorf("read input %s: %w", e.input, err)
	}
	if e.at != "" {
		input["time"] = e.at
	}
	if e.as != "" {
		u := e.user()
		actor := map[string]any{"person": u.Person(), "confidence": "request"}
		if namespace, name, ok := u.ServiceAccount(); ok {
			actor["serviceAccount"] = map[string]any{"namespace": namespace, "name": name}
		}
		input["userInfo"] = map[string]any{"username": u.Username, "uid": "", "groups": u.Groups, "extra": map[string]any{}}
		input["actor"] = actor
	}
	if e.origin == string(policy.OriginDrift) {
		delete(input, "userInfo")
		input["origin"], input["actor"] = e.origin, map[string]any{"person": false, "confidence": "none"}
	}
	return json.Marshal(input)
}

// loadData puts the objects of --data where policies read them.
func (e *eval) loadData(engine *policy.Engine) error {
	for _, name := range e.data {
		err := filepath.WalkDir(name, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)) {
				return err
			}
			content, err := readFile(file)
			if err != nil {
				return err
			}
			decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
			for {
				var o unstructured.Unstructured
				if err := decoder.Decode(&o.Object); err != nil {
					if err.Error() == "EOF" {
						return nil
					}
					return fmt.Errorf("%s: %w", file, err)
				}
				if o.GetKind() != "" {
					gvk := o.GroupVersionKind()
					engine.SetObject(gvk.Group, gvk.Kind, o.GetNamespace(), o.GetName(), o.Object)
				}
			}
		})
		if err != nil {
			return fmt.Errorf("read data: %w", err)
		}
	}
	return nil
}
