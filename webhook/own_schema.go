// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// pruning guards what held objects say against a schema that no longer has it:
// the API server would drop it from what it stores and serves.
func (h *Handler) pruning(req *request) finding {
	f := h.find(func(r *ownership.Record) bool { return loses(req.oldObject, req.object, r) != nil })
	if f.record == nil {
		return finding{}
	}
	path := loses(req.oldObject, req.object, f.record)
	return finding{
		reason: f.words("lose what git says") + ": " + path.String() + ", which the new schema does not have",
		next:   "remove it from git first, or keep it in the schema of " + f.record.Version,
		record: f.record,
	}
}

// gitSays tells whether git declares the object of an update, and the update
// leaves it as git says.
func (h *Handler) gitSays(ctx context.Context, req *request) bool {
	record, ok := h.options.Index.Lookup(req.id)
	if !ok {
		return false
	}
	if h.writes(req, record.Sync) {
		return h.awaitContent(ctx, req)
	}
	change, _, err := h.change(req, record)
	return err == nil && len(change.Fields) == 0
}

// converting warns of another conversion between the versions of a kind with
// held instances: what becomes of them is up to it.
func (h *Handler) converting(req *request) finding {
	if sameConversion(req.oldObject.Get("spec", "conversion"), req.object.Get("spec", "conversion")) {
		return finding{}
	}
	f := h.find(func(r *ownership.Record) bool { return defines(req.oldObject, r.GroupKind()) })
	if f.record == nil {
		return finding{}
	}
	return finding{
		warning: f.words("be converted in another way") + ": what that makes of them is reverted to what git says, as far as it can be",
		record:  f.record,
	}
}

// sameConversion tells whether versions are converted as before. Whose
// certificates count for that is no other way.
func sameConversion(a, b *fastjson.Value) bool {
	for _, path := range [][]string{{"strategy"}, {"webhook", "clientConfig", "url"}, {"webhook", "clientConfig", "service"}} {
		if !fieldset.Equal(a.Get(path...), b.Get(path...)) {
			return false
		}
	}
	return true
}

// loses returns the path of something that git says of an instance and that the
// API server keeps by the old definition and drops by the new one; nil where
// there is none.
func loses(before, after *fastjson.Value, r *ownership.Record) fieldset.Path {
	if !defines(before, r.GroupKind()) || after.GetBool("spec", "preserveUnknownFields") {
		return nil
	}
	type pair struct{ before, after *fastjson.Value }
	pairs := []pair{{schemaOf(before, r.Version), schemaOf(after, r.Version)}}
	// What is stored has the version of storage. What that looks like, a
	// conversion webhook alone knows.
	if string(after.GetStringBytes("spec", "conversion", "strategy")) != "Webhook" {
		pairs = append(pairs, pair{schemaOf(before, stored(before)), schemaOf(after, stored(after))})
	}
	for _, content := range []*ownership.Content{r.Applied, r.Attempted} {
		if content == nil || len(content.Desired) == 0 {
			continue
		}
		object, err := fastjson.ParseBytes(content.Desired)
		if err != nil {
			continue // it was written by Mainstay
		}
		for _, p := range pairs {
			if path := dropped(object, p.before, p.after, nil, true); path != nil {
				return path
			}
		}
	}
	return nil
}

// dropped walks a value beside two structural schemas, of which an unknown one
// is nil. Whole tells that apiVersion, kind and metadata belong to every value
// there.
func dropped(v, before, after *fastjson.Value, path fieldset.Path, whole bool) fieldset.Path {
	if before == nil || after == nil {
		return nil
	}
	// The element's place says little: the path goes on from the list.
	for _, item := range v.GetArray() {
		if lost := dropped(item, before.Get("items"), after.Get("items"), path, false); lost != nil {
			return lost
		}
	}
	var lost fieldset.Path
	if members := v.GetObject(); members != nil {
		members.Visit(func(key []byte, member *fastjson.Value) {
			name := string(key)
			if lost != nil || whole && (name == "apiVersion" || name == "kind" || name == "metadata") {
				return
			}
			old, had := property(before, name)
			next, has := property(after, name)
			switch at := path.With(fieldset.Segment{Field: name}); {
			case had && !has:
				lost = at
			case had && has:
				lost = dropped(member, old, next, at, next.GetBool("x-kubernetes-embedded-resource"))
			}
		})
	}
	return lost
}

// property is the schema of a member, and whether the member is kept; the
// schema is nil where all of it is, or where that can't be told.
func property(s *fastjson.Value, name string) (*fastjson.Value, bool) {
	if p := s.Get("properties", name); p != nil {
		return p, true
	}
	if more := s.Get("additionalProperties"); more != nil && more.Type() != fastjson.TypeFalse {
		if more.Type() == fastjson.TypeObject {
			return more, true
		}
		return nil, true
	}
	if s.GetBool("x-kubernetes-preserve-unknown-fields") {
		return nil, true
	}
	// A schema that says something in a way which is not looked at here.
	for _, unusual := range []string{"allOf", "anyOf", "oneOf", "not", "$ref"} {
		if s.Get("properties") == nil && s.Get(unusual) != nil {
			return nil, true
		}
	}
	return nil, false
}

// schemaOf a version that is served or stored; nil where there is none.
func schemaOf(crd *fastjson.Value, version string) *fastjson.Value {
	for _, v := range crd.GetArray("spec", "versions") {
		if string(v.GetStringBytes("name")) == version {
			return v.Get("schema", "openAPIV3Schema")
		}
	}
	return nil
}

// stored is the name of the version that is stored.
func stored(crd *fastjson.Value) string {
	for _, v := range crd.GetArray("spec", "versions") {
		if v.GetBool("storage") {
			return string(v.GetStringBytes("name"))
		}
	}
	return ""
}

// warn has a request judged like that of every object, and says and records
// what is to be known where it passes.
func (h *Handler) warn(ctx context.Context, req *request, f finding) answer {
	a := h.judge(ctx, req)
	if !a.allowed {
		return a
	}
	change := h.ownChange(req)
	change.Record.Sync = f.record.Sync
	decision := policy.Decision{
		ID: newID(), Verdict: policy.Permit, Class: policy.RuleBuiltin, Rule: ownRule, Reason: f.warning,
	}
	h.options.Recorder.Record(change, decision)
	a.warnings = append(a.warnings, warnings([]string{f.warning})...)
	return a
}
