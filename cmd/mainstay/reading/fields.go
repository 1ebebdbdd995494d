// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/drift"
)

// Owner says by whom a field has its value.
type Owner string

// The owners.
const (
	OwnerGit    Owner = "git"    // git says so
	OwnerPermit Owner = "permit" // a sealed permit lets the value stand
	OwnerPolicy Owner = "policy" // a policy lets the value stand
	OwnerNobody Owner = "drift"  // nothing does: it goes back, or is recorded
)

// Field is one field of an object.
type Field struct {
	Path  string `json:"path"`
	Owner Owner  `json:"owner"`
	// Value that is live, and Git what git says where that is another.
	Value json.RawMessage `json:"value,omitempty"`
	Git   json.RawMessage `json:"git,omitempty"`
	// Declared tells that git sets the field, in which File and Line.
	Declared bool   `json:"declared"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	// Manager is the field manager that wrote the value, a name that anyone can
	// choose.
	Manager string `json:"manager,omitempty"`
	// Rule that lets the value stand, who asked, by which decision, until when.
	Rule     string     `json:"rule,omitempty"`
	Account  string     `json:"account,omitempty"`
	Decision string     `json:"decision,omitempty"`
	Until    *time.Time `json:"until,omitempty"`
}

// maxShown bounds the text of one value.
const maxShown = 256

// fields tells of each field that git sets, and of each that is otherwise, who
// owns it.
func (h *handler) fields(ctx context.Context, out *Object, r *ownership.Record, live *fastjson.Value) error {
	if r.Applied == nil || len(r.Applied.Baseline) == 0 {
		return nil
	}
	baseline, err := drift.Baseline(new(fastjson.Parser), r)
	if err != nil {
		return err //nolint:wrapcheck // it names the object
	}
	var differing []policy.Field
	if live != nil {
		if differing, err = drift.Compare(baseline, live, r); err != nil {
			return fmt.Errorf("compare: %w", err)
		}
	}
	show := h.shower(r)
	told := map[string]bool{}
	for _, f := range h.differing(ctx, r, baseline, live, differing, show) {
		told[f.Path] = true
		out.Fields = append(out.Fields, f)
	}
	for _, path := range r.AppliedSet.Paths() {
		text := path.String()
		value := fieldset.At(baseline, path)
		if told[text] || value == nil {
			continue
		}
		file, line := r.Applied.Place(path)
		out.Fields = append(out.Fields, Field{Path: text, Owner: OwnerGit, Value: show(path, value), Declared: true, File: file, Line: line})
	}
	out.Defaulted = defaulted(baseline, nil, r.AppliedSet)
	return nil
}

// differing are the fields that are otherwise than git says.
func (h *handler) differing(ctx context.Context, r *ownership.Record, baseline, live *fastjson.Value, fields []policy.Field,
	show func(fieldset.Path, *fastjson.Value) json.RawMessage,
) []Field {
	uid := types.UID(live.GetStringBytes("metadata", "uid"))
	out := make([]Field, 0, len(fields))
	var rest []policy.Field
	for _, f := range fields {
		one := Field{
			Path: f.Path.String(), Owner: OwnerNobody, Value: show(f.Path, f.To), Git: show(f.Path, f.Git), Declared: f.Declared, Manager: f.Manager,
		}
		if f.Declared {
			one.File, one.Line = r.Applied.Place(f.Path)
		}
		if p, ok := h.Permitted(uid, one.Path, f.To); ok {
			one.Owner, one.Rule, one.Account, one.Decision, one.Until = OwnerPermit, p.Rule, p.Account, p.Decision, p.Until
		} else {
			rest = append(rest, f)
		}
		out = append(out, one)
	}
	if len(rest) == 0 {
		return out
	}
	d := h.Judge.Decide(ctx, &policy.Change{
		Origin: policy.OriginDrift, Operation: policy.Update, Kind: r.GVK(), Resource: r.GVR(),
		Object: live, OldObject: baseline, Fields: rest, Record: r, Time: h.Clock(),
	})
	uncovered := map[string]bool{}
	for _, f := range d.Uncovered {
		uncovered[f.Path.String()] = true
	}
	for i := range out {
		if out[i].Owner == OwnerNobody && (d.Verdict == policy.Permit || len(d.Uncovered) > 0 && !uncovered[out[i].Path]) {
			out[i].Owner, out[i].Rule, out[i].Until = OwnerPolicy, d.Rule, d.Until
		}
	}
	return out
}

// shower shows values, those of a Secret as keyed hashes.
func (h *handler) shower(r *ownership.Record) func(fieldset.Path, *fastjson.Value) json.RawMessage {
	secret := r.Group == "" && r.Kind == "Secret"
	return func(path fieldset.Path, v *fastjson.Value) json.RawMessage {
		switch {
		case v == nil:
			return nil
		case secret && policy.Hidden(path):
			return quoted("(hash " + h.Mask(fieldset.Canonical(nil, v)) + ")")
		}
		raw := v.MarshalTo(nil)
		if len(raw) > maxShown {
			return quoted(string([]rune(string(raw[:maxShown]))) + "…")
		}
		return raw
	}
}

func quoted(text string) json.RawMessage {
	raw, err := json.Marshal(text)
	if err != nil {
		return nil // a string always encodes
	}
	return raw
}

// defaulted counts the fields of a baseline that git does not set.
func defaulted(v *fastjson.Value, at fieldset.Path, set *fieldset.Set) int {
	if v == nil {
		return 0
	}
	if o := v.GetObject(); o != nil && (len(at) == 0 || set.Touches(at)) {
		n := 0
		o.Visit(func(key []byte, child *fastjson.Value) {
			name := string(key)
			if len(at) == 0 && (name == "apiVersion" || name == "kind") || len(at) == 1 && at[0].Field == "metadata" && (name == "name" || name == "namespace") {
				return
			}
			n += defaulted(child, at.With(fieldset.Segment{Field: name}), set)
		})
		return n
	}
	if set.Touches(at) {
		return 0
	}
	return 1
}
