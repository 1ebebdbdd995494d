// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// correct answers a mutating review: where a service account's update touches
// what git declares, git's values are put back and all else that it wrote goes
// through. It refuses nothing and permits nothing: the validating entries judge
// the result, and the request as it came where there is none.
func (h *Handler) correct(ctx context.Context, req *request) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			h.report(ctx, fmt.Errorf("correct %s of %s: panic: %v\n%s", req.operation, req.id, p, debug.Stack()))
			a = permitted()
		}
	}()
	record, ok := h.correctable(req)
	if !ok {
		return permitted()
	}
	change, differences, err := h.change(req, record)
	if err != nil || !touchesDeclared(change.Fields) {
		return permitted() // what can't be read is refused by who judges it
	}
	decision := h.decide(ctx, req, change, differences)
	if decision.Verdict != policy.Refuse || decision.Class != policy.RuleDefault || !onlyDeclared(decision.Uncovered) {
		return permitted()
	}
	corrected, err := putBack(req, record, decision.Uncovered, differences)
	if err != nil {
		h.report(ctx, fmt.Errorf("correct %s: %w", req.id, err))
		return permitted()
	}
	patch := fieldset.JSONPatch(req.object, corrected)
	if len(patch) == 0 || !h.stands(ctx, req, record, corrected) {
		return permitted()
	}
	decision.Verdict, decision.Reason = policy.Correct, "git says otherwise, and git's value was put back"
	decision.Elapsed = time.Since(req.started)
	h.options.Recorder.Record(change, decision)
	words := audit.Words{Change: change, Decision: decision, Mask: h.options.Mask}
	return answer{allowed: true, patch: patch, warnings: []string{words.Warning()}, decision: decision.ID}
}

// correctable finds the record of an object whose GitSync wants such a request
// corrected. A tenant's GitSync writes as an account of its own, and knows the
// newest content before this replica may.
func (h *Handler) correctable(req *request) (*ownership.Record, bool) {
	user := req.username()
	if req.operation != policy.Update || req.subResource != "" || req.deleting() ||
		!strings.HasPrefix(user, "system:serviceaccount:") || user == h.options.SyncAccount {
		return nil, false
	}
	record, ok := h.options.Index.Lookup(req.id)
	if !ok || record.Mode() != v1alpha1.ModeEnforce || record.Sync.Controllers != v1alpha1.ControllersCorrect ||
		user == record.Sync.ServiceAccount || req.kind.Version != record.Version {
		return nil, false
	}
	return record, true
}

func touchesDeclared(fields []policy.Field) bool {
	for _, f := range fields {
		if f.Declared {
			return true
		}
	}
	return false
}

// onlyDeclared tells that git's values can mend all of a refusal: where a field
// stays refused that git does not set, the whole request is.
func onlyDeclared(fields []policy.Field) bool {
	for _, f := range fields {
		if !f.Declared {
			return false
		}
	}
	return len(fields) > 0
}

// stands tells whether the corrected object would be permitted.
func (h *Handler) stands(ctx context.Context, req *request, record *ownership.Record, corrected *fastjson.Value) bool {
	mended := *req
	mended.object = corrected
	change, differences, err := h.change(&mended, record)
	if err != nil {
		return false
	}
	return h.decide(ctx, &mended, change, differences).Verdict == policy.Permit
}

// putBack returns a copy of the request's object with git's values in fields.
func putBack(req *request, record *ownership.Record, fields []policy.Field, differences []fieldset.Difference) (*fastjson.Value, error) {
	object, err := fastjson.ParseBytes(fieldset.Canonical(nil, req.object))
	if err != nil {
		return nil, fmt.Errorf("copy the object: %w", err)
	}
	var attempted *fastjson.Value
	if content := record.Attempted; content != nil && len(content.Baseline) > 0 {
		if attempted, err = fastjson.ParseBytes(content.Baseline); err != nil {
			return nil, fmt.Errorf("parse the attempted baseline: %w", err)
		}
	}
	orders := map[string][]string{}
	for _, d := range differences {
		if d.Order != nil {
			orders[d.Path.String()] = d.Order
		}
	}
	var arena fastjson.Arena
	for _, f := range fields {
		if keys := orders[f.Path.String()]; keys != nil {
			fieldset.Reorder(fieldset.At(object, f.Path), f.From, keys)
			continue
		}
		value := f.Git
		if attempted != nil && fieldset.Equal(fieldset.At(attempted, f.Path), f.From) {
			value = f.From // the next revision is there already
		}
		if err := fieldset.Put(&arena, object, f.Path, value); err != nil {
			return nil, fmt.Errorf("put %s back: %w", f.Path, err)
		}
		if value == nil {
			prune(&arena, object, req.oldObject, f.Path)
		}
	}
	// What is put back into a list stands last, and has to stand where it was.
	for _, d := range fieldset.Compare(req.oldObject, object, structure(record), func() *fieldset.Set {
		sets, err := writers(req.oldObject, req.object)
		if err != nil {
			return nil
		}
		return sets
	}) {
		if d.Order != nil && orders[d.Path.String()] == nil {
			fieldset.Reorder(fieldset.At(object, d.Path), d.From, d.Order)
		}
	}
	returnFields(&arena, object, req.oldObject, fields)
	return object, nil
}

// prune removes the lists and objects around a field that are empty without it
// and were not there before: they are as good as nothing, but not the same.
func prune(arena *fastjson.Arena, object, old *fastjson.Value, path fieldset.Path) {
	for around := path[:len(path)-1]; len(around) > 0; around = around[:len(around)-1] {
		v := fieldset.At(object, around)
		empty := v != nil && (v.Type() == fastjson.TypeArray && len(v.GetArray()) == 0 || v.Type() == fastjson.TypeObject && v.GetObject().Len() == 0)
		if !empty || fieldset.At(old, around) != nil || fieldset.Put(arena, object, around, nil) != nil {
			return
		}
	}
}

// returnFields gives Mainstay its fields in managedFields back: the API server
// has noted already that the writer took them, and would not notice that
// nothing came of it.
func returnFields(arena *fastjson.Arena, object, old *fastjson.Value, fields []policy.Field) {
	mine, were := fieldset.AppliedBy(object, v1alpha1.FieldManager), fieldset.AppliedBy(old, v1alpha1.FieldManager)
	entries := object.Get("metadata", "managedFields")
	for _, f := range fields {
		if mine != nil && were != nil {
			fieldset.Own(arena, mine, were, f.Path)
		}
		for _, e := range entries.GetArray() {
			theirs := e.Get("fieldsV1")
			if theirs == nil || theirs == mine || !fieldset.Touches(theirs, f.Path) {
				continue
			}
			if before := sameEntry(old, e); before == nil || !fieldset.Touches(before, f.Path) {
				fieldset.Disown(theirs, f.Path)
			}
		}
	}
	kept := arena.NewArray()
	for i, e := range entries.GetArray() {
		if theirs := e.Get("fieldsV1"); theirs == nil || theirs.GetObject().Len() > 0 {
			kept.SetArrayItem(len(kept.GetArray()), entries.GetArray()[i])
		}
	}
	if len(kept.GetArray()) < len(entries.GetArray()) {
		object.Get("metadata").Set("managedFields", kept)
	}
}

// sameEntry finds the fields of the manager of an entry in another object's
// managedFields; nil where it has none.
func sameEntry(object, entry *fastjson.Value) *fastjson.Value {
	for _, e := range object.GetArray("metadata", "managedFields") {
		same := true
		for _, key := range []string{"manager", "operation", "apiVersion", "subresource"} {
			same = same && string(e.GetStringBytes(key)) == string(entry.GetStringBytes(key))
		}
		if same {
			return e.Get("fieldsV1")
		}
	}
	return nil
}
