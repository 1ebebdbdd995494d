// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// entry is a decision as it was handed over: without anything that its request
// uses again, and with the text that all of it can be had from once more.
type entry struct {
	change   policy.Change
	decision policy.Decision
	sight    policy.Sight
	// review is the AdmissionReview, or what drift has of one; nil where it is
	// too large.
	review   []byte
	tooLarge bool
}

// newEntry copies no more than it has to: three allocations.
func newEntry(c *policy.Change, d policy.Decision, sight policy.Sight) *entry {
	e := &entry{change: *c, decision: d, sight: sight}
	// Values belong to the request's parsers.
	fields := make([]policy.Field, 0, len(c.Fields)+len(d.Uncovered))
	for _, list := range [...][]policy.Field{c.Fields, d.Uncovered} {
		for _, f := range list {
			f.From, f.To, f.Git = nil, nil, nil
			fields = append(fields, f)
		}
	}
	e.change.Fields, e.decision.Uncovered = fields[:len(c.Fields):len(c.Fields)], fields[len(c.Fields):]
	e.decision.Permits = nil
	e.change.Object, e.change.OldObject, e.change.Options, e.change.Review = nil, nil, nil, nil
	switch {
	case len(c.Review) > maxReview:
		e.tooLarge = true
	case c.Review != nil:
		e.review = append(make([]byte, 0, len(c.Review)), c.Review...)
	default:
		e.review = written(c)
	}
	return e
}

// written puts the documents of a change that had no review into the form of
// one. Drift has none.
func written(c *policy.Change) []byte {
	out := []byte(`{"request":{`)
	separator := ""
	for _, member := range []struct {
		key   string
		value *fastjson.Value
	}{{"object", c.Object}, {"oldObject", c.OldObject}, {"options", c.Options}} {
		if member.value == nil {
			continue
		}
		out = append(append(append(append(out, separator...), '"'), member.key...), `":`...)
		out = member.value.MarshalTo(out)
		separator = ","
	}
	return append(out, "}}"...)
}

// restore fills in the values of a change from its review.
func (e *entry) restore() error {
	if e.review == nil {
		return nil
	}
	root, err := fastjson.ParseBytes(e.review)
	if err != nil {
		return fmt.Errorf("parse review: %w", err)
	}
	c := &e.change
	request := root.Get("request")
	for key, at := range map[string]**fastjson.Value{"object": &c.Object, "oldObject": &c.OldObject, "options": &c.Options} {
		if v := request.Get(key); v != nil && v.Type() == fastjson.TypeObject {
			*at = v
		}
	}
	baseline := baselineOf(c)
	for i := range c.Fields {
		f := &c.Fields[i]
		f.Git = fieldset.At(baseline, f.Path)
		f.From, f.To = fieldset.At(c.OldObject, f.Path), fieldset.At(c.Object, f.Path)
		switch {
		case c.Operation == policy.Create:
			f.From = f.Git
		case c.SubResource == "scale" && c.Pod == "":
			// A Scale leaves out a replicas of none.
			f.From, f.To = orZero(f.From), orZero(f.To)
		}
	}
	return nil
}

func orZero(v *fastjson.Value) *fastjson.Value {
	if v == nil {
		return fastjson.MustParse("0")
	}
	return v
}

// baselineOf is what git says of the object.
func baselineOf(c *policy.Change) *fastjson.Value {
	if c.Record == nil || c.Record.Entry == nil {
		return nil
	}
	content := c.Record.Current()
	if content == nil || len(content.Baseline) == 0 {
		return nil
	}
	v, err := fastjson.ParseBytes(content.Baseline)
	if err != nil {
		return nil
	}
	return v
}

// first is the first of decisions that repeat.
type first struct {
	id   string
	unix int64
}

// key is a hash of what makes two decisions the same but for their time.
func (e *entry) key() [sha256.Size]byte {
	var b bytes.Buffer
	c, d := &e.change, &e.decision
	if c.User != nil {
		b.WriteString(c.User.Username)
	}
	for _, text := range []string{
		string(c.Origin), string(c.Operation), c.SubResource, c.Pod, c.ID().String(), string(c.Mode()),
		string(d.Verdict), d.Class, d.Rule, d.Reason, d.Policies,
	} {
		b.WriteByte(0)
		b.WriteString(text)
	}
	if c.DryRun {
		b.WriteString("\x00dry run")
	}
	for _, f := range c.Fields {
		b.WriteByte(0)
		b.WriteString(f.Path.String())
		if f.To != nil {
			b.Write(fieldset.Canonical(nil, f.To))
		}
	}
	return sha256.Sum256(b.Bytes())
}

// record writes an entry down.
func (r *Ring) record(e *entry) (Record, *Basis) {
	basis := &Basis{Grant: e.decision.Grant}
	if err := e.restore(); err != nil {
		basis.LeftOut = err.Error()
	}
	out := Record{Line: audit.NewLine(&e.change, e.decision, r.o.ClusterName, r.o.Mask), Replica: r.o.Replica}
	key, now := e.key(), e.change.Time.Unix()
	if known, ok := r.same[key]; ok && now-known.unix < int64(sameWithin.Seconds()) && now >= known.unix {
		out.SameAs = known.id
		return out, nil
	}
	if len(r.same) >= maxSame {
		clear(r.same)
	}
	r.same[key] = first{e.decision.ID, now}
	switch {
	case e.tooLarge:
		basis.LeftOut = fmt.Sprintf("the review is larger than %d bytes", maxReview)
	case basis.LeftOut == "":
		seen, err := r.o.Policies.See(e.sight, &e.change)
		if err != nil {
			basis.LeftOut = err.Error()
			break
		}
		basis.Input, basis.Sources = seen.Input, seen.Sources
		basis.Data, basis.DataDigest, basis.DataLeftOut = seen.Data, seen.DataDigest, seen.DataLeftOut
	}
	return out, basis
}
