// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"errors"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

var errWiped = errors.New("managedFields may not be wiped: they tell who wrote what")

// wiped returns errWiped where a request takes fields from Mainstay's entry in
// managedFields without changing them. An entry that loses a field because
// someone else set it is judged by that field; one that still has all that git
// declares has lost nothing.
func wiped(req *request, change *policy.Change, differences []fieldset.Difference) error {
	if req.operation != policy.Update || req.entry == EntryScale || change.Use() {
		return nil
	}
	before := fieldset.AppliedBy(req.oldObject, v1alpha1.FieldManager)
	if before == nil {
		return nil
	}
	after := fieldset.AppliedBy(req.object, v1alpha1.FieldManager)
	if fieldset.Equal(before, after) {
		return nil
	}
	if after != nil {
		set, err := fieldset.SetOf(after)
		if err != nil {
			return errWiped
		}
		for _, declared := range []*fieldset.Set{change.Record.AppliedSet, change.Record.AttemptedSet} {
			if declared != nil && set.Covers(declared) {
				return nil
			}
		}
	}
	return lost(before, after, nil, differences)
}

// lost walks two FieldsV1 and returns errWiped for the first member that only
// before has and that no difference explains.
func lost(before, after *fastjson.Value, path fieldset.Path, differences []fieldset.Difference) error {
	o, err := before.Object()
	if err != nil {
		return errWiped
	}
	if o.Len() == 0 {
		if after == nil && !explained(path, differences) {
			return errWiped
		}
		return nil
	}
	o.Visit(func(raw []byte, child *fastjson.Value) {
		if err != nil {
			return
		}
		key := string(raw)
		var next *fastjson.Value
		if after != nil {
			next = after.Get(key)
		}
		if key == "." {
			if next == nil && !explained(path, differences) {
				err = errWiped
			}
			return
		}
		segment, ok := segmentOf(key)
		if !ok {
			return
		}
		err = lost(child, next, path.With(segment), differences)
	})
	return err
}

// explained tells whether a path was changed, or something above or below it.
func explained(path fieldset.Path, differences []fieldset.Difference) bool {
	for _, d := range differences {
		if d.Path.HasPrefix(path) || path.HasPrefix(d.Path) {
			return true
		}
	}
	return false
}

// segmentOf reads one key of FieldsV1 by way of the one notation.
func segmentOf(key string) (fieldset.Segment, bool) {
	kind, rest, _ := strings.Cut(key, ":")
	switch kind {
	case "f":
		return fieldset.Segment{Field: rest}, true
	case "v":
		return fieldset.Segment{Value: rest}, true
	case "k":
		keys, err := fastjson.Parse(rest)
		if err != nil {
			return fieldset.Segment{}, false
		}
		o, err := keys.Object()
		if err != nil {
			return fieldset.Segment{}, false
		}
		var pairs []string
		o.Visit(func(name []byte, v *fastjson.Value) {
			pairs = append(pairs, string(name)+"="+string(v.MarshalTo(nil)))
		})
		path, err := fieldset.Parse("[" + strings.Join(pairs, ",") + "]")
		if err != nil || len(path) != 1 {
			return fieldset.Segment{}, false
		}
		return path[0], true
	}
	return fieldset.Segment{}, false
}
