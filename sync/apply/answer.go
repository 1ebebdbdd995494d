// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// Answer is what the API server made of an apply.
type Answer struct {
	UID             types.UID
	ResourceVersion string
	// Fields is the FieldsV1 of our own entry: the declared fields.
	Fields []byte
	// Existed tells that the object was there before and that others wrote it.
	Existed bool

	object   *fastjson.Value
	mine     *fieldset.Set
	managers []fieldset.Manager
}

func newAnswer(raw []byte) (*Answer, error) {
	object, err := fastjson.ParseBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("parse the API server's answer: %w", err)
	}
	fields := fieldset.AppliedBy(object, v1alpha1.FieldManager)
	if fields == nil {
		return nil, errors.New("the API server's answer names no fields of ours")
	}
	managers, err := fieldset.Managers(object)
	if err != nil {
		return nil, err
	}
	mine, err := fieldset.SetOf(fields)
	if err != nil {
		return nil, err
	}
	return &Answer{
		UID:             types.UID(object.GetStringBytes("metadata", "uid")),
		ResourceVersion: string(object.GetStringBytes("metadata", "resourceVersion")),
		Fields:          fieldset.Canonical(nil, fields),
		Existed:         len(managers) > 1,
		object:          object, mine: mine, managers: managers,
	}, nil
}

// Object is the whole answer. It must not be changed.
func (a *Answer) Object() *fastjson.Value { return a.object }

// Baseline is the answer without bookkeeping and status. Values that only
// others own, and that the previous baseline does not have, are not part of
// it: a field that slipped in before this write must not become normal by it,
// and one that git declared before, by the field set declared, is no longer
// git's because somebody else set it, too. Without a previous baseline
// (adoption, a new object) everything is kept.
func (a *Answer) Baseline(previous, declared []byte) ([]byte, error) {
	// A copy, because the answer is read again.
	object, err := fastjson.ParseBytes(fieldset.Canonical(nil, a.object))
	if err != nil {
		return nil, fmt.Errorf("parse answer: %w", err)
	}
	if len(previous) > 0 {
		if err := a.withoutOthers(object, previous, declared); err != nil {
			return nil, err
		}
	}
	a.withoutMadeUp(object)
	strip(object)
	return fieldset.Canonical(nil, object), nil
}

// withoutMadeUp removes Mainstay's labels and annotations that git does not set:
// they were there before, and must not become git's by being taken over.
func (a *Answer) withoutMadeUp(object *fastjson.Value) {
	for _, key := range []string{"labels", "annotations"} {
		values := object.GetObject("metadata", key)
		if values == nil {
			continue
		}
		var others []string
		values.Visit(func(raw []byte, _ *fastjson.Value) {
			name := string(raw)
			path := fieldset.Path{{Field: "metadata"}, {Field: key}, {Field: name}}
			if strings.HasPrefix(name, v1alpha1.GroupVersion.Group+"/") && !a.mine.Touches(path) {
				others = append(others, name)
			}
		})
		for _, name := range others {
			values.Del(name)
		}
		if values.Len() == 0 {
			object.Get("metadata").Del(key)
		}
	}
}

func (a *Answer) withoutOthers(object *fastjson.Value, previous, declared []byte) error {
	before, err := fastjson.ParseBytes(previous)
	if err != nil {
		return fmt.Errorf("parse previous baseline: %w", err)
	}
	var others []*fieldset.Set
	for _, m := range a.managers {
		if m.Name != v1alpha1.FieldManager || m.Operation != "Apply" {
			others = append(others, m.Fields)
		}
	}
	if len(others) == 0 {
		return nil
	}
	theirs := fieldset.Union(others...)
	structure := fieldset.Union(a.mine, theirs)
	var arena fastjson.Arena
	differences := fieldset.Compare(before, a.object, structure, nil)
	for _, d := range slices.Backward(differences) {

		if a.mine.Touches(d.Path) || !theirs.Touches(d.Path) {
			continue
		}
		if err := fieldset.Put(&arena, object, d.Path, d.From); err != nil {
			return fmt.Errorf("baseline at %s: %w", d.Path, err)
		}
	}
	return a.withoutLeft(object, theirs, declared)
}

// withoutLeft removes what left git and stays because others set it as well.
func (a *Answer) withoutLeft(object *fastjson.Value, theirs *fieldset.Set, declared []byte) error {
	if len(declared) == 0 {
		return nil
	}
	before, err := fieldset.ParseSet(declared)
	if err != nil {
		return err
	}
	if a.mine.Covers(before) {
		return nil
	}
	var arena fastjson.Arena
	all := fieldset.Compare(arena.NewObject(), object, fieldset.Union(a.mine, theirs), nil)
	for _, d := range slices.Backward(all) {
		if a.mine.Touches(d.Path) || !before.Touches(d.Path) || !theirs.Touches(d.Path) {
			continue
		}
		if err := fieldset.Put(&arena, object, d.Path, nil); err != nil {
			return fmt.Errorf("baseline at %s: %w", d.Path, err)
		}
	}
	return nil
}

// strip removes what is never judged.
func strip(object *fastjson.Value) {
	object.Del("status")
	metadata := object.Get("metadata")
	if metadata == nil {
		return
	}
	for _, key := range []string{
		"managedFields", "resourceVersion", "generation", "uid", "selfLink",
		"creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
	} {
		metadata.Del(key)
	}
	if annotations := metadata.Get("annotations"); annotations != nil {
		annotations.Del("kubectl.kubernetes.io/last-applied-configuration")
		if annotations.GetObject() != nil && annotations.GetObject().Len() == 0 {
			metadata.Del("annotations")
		}
	}
}
