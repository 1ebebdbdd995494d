// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package drift

import (
	"fmt"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// Between returns the fields of a live object that git does not say, each with
// the field manager that wrote it as a hint. Nothing is returned for a field
// that git does not set and that nobody claims to have set: the API server
// chose its value.
//
// The record must have been applied. An unreadable baseline, or field sets that
// are needed to compare a list, are an error, never an empty answer.
func Between(live *fastjson.Value, record *ownership.Record) ([]policy.Field, error) {
	baseline, err := Baseline(new(fastjson.Parser), record)
	if err != nil {
		return nil, err
	}
	return Compare(baseline, live, record)
}

// Baseline parses what the record's object is compared with. The value belongs
// to the parser, which can be used again when the comparison is no longer
// needed.
func Baseline(parser *fastjson.Parser, record *ownership.Record) (*fastjson.Value, error) {
	if record.Applied == nil {
		return nil, fmt.Errorf("%s was never applied", record.ID)
	}
	baseline, err := parser.ParseBytes(record.Applied.Baseline)
	if err != nil {
		return nil, fmt.Errorf("parse baseline of %s: %w", record.ID, err)
	}
	return baseline, nil
}

// Compare is Between with the record's Baseline. The fields' values belong to
// baseline and live.
func Compare(baseline, live *fastjson.Value, record *ownership.Record) ([]policy.Field, error) {
	var managers []fieldset.Manager
	var managersErr error
	read := false
	written := func() []fieldset.Manager {
		if !read {
			read = true
			managers, managersErr = fieldset.Managers(live)
		}
		return managers
	}
	differences := fieldset.Compare(baseline, live, record.AppliedSet, func() *fieldset.Set {
		var sets []*fieldset.Set
		for _, m := range written() {
			sets = append(sets, m.Fields)
		}
		return fieldset.Union(sets...)
	})
	attempted, err := attempt(record, differences)
	if err != nil {
		return nil, err
	}
	var kept []policy.Field
	for _, d := range differences {
		if policy.Gesture(record.ID, &d) {
			continue
		}
		if attempted != nil && fieldset.Equal(fieldset.At(attempted, d.Path), d.To) {
			continue // the commit that is being brought in says so
		}
		f := policy.Field{
			Path: d.Path, Op: d.Op, From: d.From, To: d.To, Git: d.From,
			Declared: policy.Declares(record, d.Path), Manager: writer(live, d.Path),
		}
		if f.Declared || f.Manager != "" {
			kept = append(kept, f)
		}
	}
	if managersErr != nil {
		return nil, fmt.Errorf("%s: %w", record.ID, managersErr)
	}
	return kept, nil
}

// attempt is the attempted baseline, where there is one and something differs.
func attempt(record *ownership.Record, differences []fieldset.Difference) (*fastjson.Value, error) {
	if len(differences) == 0 || record.Attempted == nil || len(record.Attempted.Baseline) == 0 {
		return nil, nil //nolint:nilnil // there is nothing to compare with
	}
	v, err := fastjson.ParseBytes(record.Attempted.Baseline)
	if err != nil {
		return nil, fmt.Errorf("parse attempted baseline of %s: %w", record.ID, err)
	}
	return v, nil
}

// writer names the manager, other than Mainstay, that owns the field at path.
func writer(live *fastjson.Value, path fieldset.Path) string {
	for _, m := range live.GetArray("metadata", "managedFields") {
		name := string(m.GetStringBytes("manager"))
		if name == v1alpha1.FieldManager && string(m.GetStringBytes("operation")) == "Apply" {
			continue
		}
		if fieldset.Touches(m.Get("fieldsV1"), path) {
			return name
		}
	}
	return ""
}

// Action is what is to be done about a drifted object.
type Action string

// The actions.
const (
	// LetStand: an exception or a permit covers the difference.
	LetStand Action = "LetStand"
	// Record: the mode does not enforce; the difference is only recorded.
	Record Action = "Record"
	// Revert: write what git says.
	Revert Action = "Revert"
	// Recreate: the object is missing and has to be created.
	Recreate Action = "Recreate"
)

// Plan says what to do about a change that was found and judged.
func Plan(change *policy.Change, decision policy.Decision) Action {
	switch {
	case decision.Verdict == policy.Permit:
		return LetStand // a policy or a permit covers it
	case change.Mode() != v1alpha1.ModeEnforce:
		return Record // Audit and Warn apply git, but undo nothing
	case change.Operation == policy.Delete:
		return Recreate // git declares it, and it is gone
	default:
		return Revert
	}
}
