// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"fmt"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// toGit returns what has to change of a live object for it to be what git says.
// Fields that neither git nor Mainstay sets are nobody's business here.
//
// base is what is applied now, where the viewer may read it: with it, values
// that the API server stores in another form are no difference.
func toGit(id ownership.ID, desired []byte, live *fastjson.Value, base *ownership.Content, m *mask) ([]Change, error) {
	git, err := fastjson.ParseBytes(desired)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", id, err)
	}
	structure, mine, err := fieldsOf(live)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	want, err := expected(git, base, structure)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	label(want, live)
	var changes []Change
	for _, d := range fieldset.Compare(want, live, structure, nil) {
		// Compare goes from git to what is live; the change goes back.
		if d.From == nil && !mine.Touches(d.Path) {
			continue // somebody else's
		}
		if base != nil && !mine.Touches(d.Path) && fieldset.At(git, d.Path) == nil {
			continue // a default of the baseline that somebody has changed
		}
		if base == nil && sameQuantity(d.From, d.To) {
			continue
		}
		changes = append(changes, Change{
			Path: d.Path.String(), From: m.value(id, d.Path, d.To), To: m.value(id, d.Path, d.From), Manager: writer(live, d.Path),
		})
	}
	return changes, nil
}

// expected is git's object as the API server would store it: what changes
// between the applied manifest and this one, put into the applied baseline.
func expected(git *fastjson.Value, base *ownership.Content, structure *fieldset.Set) (*fastjson.Value, error) {
	if base == nil || len(base.Baseline) == 0 {
		return git, nil
	}
	applied, err := fastjson.ParseBytes(base.Desired)
	if err != nil {
		return nil, fmt.Errorf("parse what is applied: %w", err)
	}
	want, err := fastjson.ParseBytes(base.Baseline)
	if err != nil {
		return nil, fmt.Errorf("parse the baseline: %w", err)
	}
	label(git, applied)
	var arena fastjson.Arena
	for _, d := range fieldset.Compare(applied, git, structure, nil) {
		if err := fieldset.Put(&arena, want, d.Path, d.To); err != nil {
			return git, nil //nolint:nilerr // its lists are others by now: git's own text tells it as well
		}
	}
	return want, nil
}

// label gives an object the ownership label that another one has: it comes with
// the first apply and says nothing about git.
func label(object, like *fastjson.Value) {
	value := like.Get("metadata", "labels", v1alpha1.SyncLabel)
	metadata := object.Get("metadata")
	if value == nil || metadata == nil {
		return
	}
	var arena fastjson.Arena
	if metadata.Get("labels") == nil {
		metadata.Set("labels", arena.NewObject())
	}
	metadata.Get("labels").Set(v1alpha1.SyncLabel, value)
}

// fieldsOf returns the fields that anybody, and that Mainstay has set.
func fieldsOf(live *fastjson.Value) (all, mine *fieldset.Set, err error) {
	managers, err := fieldset.Managers(live)
	if err != nil {
		return nil, nil, err
	}
	sets := make([]*fieldset.Set, 0, len(managers))
	for _, m := range managers {
		sets = append(sets, m.Fields)
	}
	if own := fieldset.AppliedBy(live, v1alpha1.FieldManager); own != nil {
		if mine, err = fieldset.SetOf(own); err != nil {
			return nil, nil, err
		}
	}
	return fieldset.Union(sets...), mine, nil
}

// sameQuantity tells whether two texts or numbers are the same amount, such as
// 1000m and 1: without a baseline nothing else tells that.
func sameQuantity(a, b *fastjson.Value) bool {
	x, okX := quantity(a)
	y, okY := quantity(b)
	return okX && okY && x.Cmp(y) == 0
}

func quantity(v *fastjson.Value) (resource.Quantity, bool) {
	text := ""
	switch {
	case v == nil:
		return resource.Quantity{}, false
	case v.Type() == fastjson.TypeString:
		text = string(v.GetStringBytes())
	case v.Type() == fastjson.TypeNumber:
		text = v.String()
	}
	q, err := resource.ParseQuantity(text)
	return q, err == nil
}

// writer names the field manager, other than Mainstay, that has the field.
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

// managers of a live object, each once.
func managers(live *fastjson.Value) []string {
	var names []string
	seen := map[string]bool{}
	for _, m := range live.GetArray("metadata", "managedFields") {
		if name := string(m.GetStringBytes("manager")); !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}
