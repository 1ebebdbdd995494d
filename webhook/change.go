// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"slices"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// change turns a request into a Change: the fields that it sets to something
// that git does not say. The differences are all that it changes.
func (h *Handler) change(req *request, record *ownership.Record) (*policy.Change, []fieldset.Difference, error) {
	change := &policy.Change{
		Origin: policy.OriginRequest, Operation: req.operation, SubResource: req.subResource, DryRun: req.dryRun,
		Kind: record.GVK(), Resource: record.GVR(), Object: req.object, OldObject: req.oldObject,
		Record: record, Time: h.options.Clock(), Review: req.body,
	}
	if req.entry == EntryConnect {
		change.Pod = req.id.Name
	}
	var differences []fieldset.Difference
	var err error
	switch {
	case req.entry == EntryScale:
		differences = scaled(req)
	case req.operation == policy.Update:
		var failed error
		differences = fieldset.Compare(req.oldObject, req.object, structure(record), func() *fieldset.Set {
			var sets *fieldset.Set
			sets, failed = writers(req.oldObject, req.object)
			return sets
		})
		err = failed
	case req.operation == policy.Create:
		differences, err = created(req, record)
	}
	if err != nil {
		return nil, nil, err
	}
	if req.entry == EntryStatus {
		differences = slices.DeleteFunc(differences, func(d fieldset.Difference) bool { return !throughStatus(d.Path) && !req.unfinalized(d.Path) })
	}
	change.Fields = policy.Fields(differences, record)
	for i := range change.Fields {
		// They decide about its content's life, as a finalizer does.
		change.Fields[i].Declared = change.Fields[i].Declared || req.unfinalized(change.Fields[i].Path)
	}
	hint(change, req.object)
	return change, differences, nil
}

// throughStatus tells whether a write of the status changes the field as well:
// what else of an object such a write carries, the API server drops.
func throughStatus(path fieldset.Path) bool {
	if len(path) < 2 || path[0].Field != "metadata" {
		return false
	}
	switch path[1].Field {
	case "labels", "annotations", "finalizers", "ownerReferences":
		return true
	}
	return false
}

// unfinalized tells whether a field is what keeps a Namespace until its content
// is gone, in a request to its finalize that may only come once it is being
// deleted.
func (req *request) unfinalized(path fieldset.Path) bool {
	return req.entry == EntryStatus && req.subResource == "finalize" && !req.deleting() &&
		len(path) >= 2 && path[0].Field == "spec" && path[1].Field == "finalizers"
}

// structure tells the types of the lists that git declares.
func structure(record *ownership.Record) *fieldset.Set {
	switch {
	case record.AttemptedSet == nil:
		return record.AppliedSet
	case record.AppliedSet == nil:
		return record.AttemptedSet
	}
	return fieldset.Union(record.AppliedSet, record.AttemptedSet)
}

// writers are the field sets of everyone who wrote one of the objects.
func writers(objects ...*fastjson.Value) (*fieldset.Set, error) {
	var sets []*fieldset.Set
	for _, object := range objects {
		managers, err := fieldset.Managers(object)
		if err != nil {
			return nil, err
		}
		for _, m := range managers {
			sets = append(sets, m.Fields)
		}
	}
	return fieldset.Union(sets...), nil
}

// created compares a new object with what git declares. What git does not set
// may be missing: the API server's defaults come with every write, and what
// another webhook added once need not come again. So may the ownership label,
// which is Mainstay's own business: the loop puts it on.
func created(req *request, record *ownership.Record) ([]fieldset.Difference, error) {
	var baseline *fastjson.Value
	if content := record.Current(); content != nil && len(content.Baseline) > 0 {
		var err error
		if baseline, err = fastjson.ParseBytes(content.Baseline); err != nil {
			return nil, fmt.Errorf("parse baseline: %w", err)
		}
	}
	if labels := baseline.GetObject("metadata", "labels"); labels != nil && !req.object.Exists("metadata", "labels", v1alpha1.SyncLabel) {
		labels.Del(v1alpha1.SyncLabel)
		if labels.Len() == 0 {
			baseline.Get("metadata").Del("labels")
		}
	}
	all := fieldset.Compare(baseline, req.object, structure(record), func() *fieldset.Set {
		sets, err := writers(req.object)
		if err != nil {
			return nil // lists are atomic then, which permits nothing more
		}
		return sets
	})
	differences := all[:0]
	for _, d := range all {
		if d.To == nil && !policy.Declares(record, d.Path) {
			continue
		}
		differences = append(differences, d)
	}
	return differences, nil
}

// scaled reads a Scale as a change of the parent's spec.replicas.
func scaled(req *request) []fieldset.Difference {
	from, to := replicas(req.oldObject), replicas(req.object)
	if fieldset.Equal(from, to) {
		return nil
	}
	path := fieldset.Path{{Field: "spec"}, {Field: "replicas"}}
	return []fieldset.Difference{{Path: path, Op: fieldset.OpReplace, From: from, To: to}}
}

// replicas of a Scale, in which none are left out.
func replicas(scale *fastjson.Value) *fastjson.Value {
	if v := scale.Get("spec", "replicas"); v != nil {
		return v
	}
	return fastjson.MustParse("0")
}

// hint names the field manager of each changed field, as far as managedFields
// tell.
func hint(change *policy.Change, object *fastjson.Value) {
	if len(change.Fields) == 0 || object == nil {
		return
	}
	for _, e := range object.GetArray("metadata", "managedFields") {
		name, fields := e.GetStringBytes("manager"), e.Get("fieldsV1")
		if len(name) == 0 || fields == nil {
			continue
		}
		for i := range change.Fields {
			if fieldset.Touches(fields, change.Fields[i].Path) {
				change.Fields[i].Manager = string(name)
			}
		}
	}
}
