// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

// Object is what Mainstay knows of one live object.
type Object struct {
	Object audit.LineObject `json:"object"`
	// Live tells whether the object is there.
	Live bool `json:"live"`
	// Declared is nil where git does not declare the object.
	Declared *Declared `json:"declared,omitempty"`
	// Fields that git sets, or that are otherwise than git says; Defaulted is how
	// many more the API server and others chose in git's own write.
	Fields    []Field `json:"fields,omitempty"`
	Defaulted int     `json:"defaulted"`
	// Exceptions that apply now.
	Exceptions []Exception `json:"exceptions,omitempty"`
	// Decisions are the last about the object, the newest first; DecisionsHidden
	// says why there are none for who asks.
	Decisions       []record.Record `json:"decisions,omitempty"`
	DecisionsHidden string          `json:"decisionsHidden,omitempty"`
}

// Declared is where git declares an object, and how it is held.
type Declared struct {
	Sync      string     `json:"sync"`
	Mode      string     `json:"mode"`
	Suspended *Suspended `json:"suspended,omitempty"`
	Repo      string     `json:"repo"`
	File      string     `json:"file"`
	Line      int        `json:"line"`
	Link      string     `json:"link"`
	// Revision that changed the object last, and Applied the one that is enforced.
	Revision string    `json:"revision,omitempty"`
	Author   string    `json:"author,omitempty"`
	Time     time.Time `json:"time,omitzero"`
	Subject  string    `json:"subject,omitempty"`
	Applied  string    `json:"applied,omitempty"`
	Contact  string    `json:"contact,omitempty"`
	// Pending tells that a revision is being applied that says something else.
	Pending bool `json:"pending,omitempty"`
	// Pruning tells that git no longer declares it, and that it is being deleted.
	Pruning bool `json:"pruning,omitempty"`
}

// Suspended says who suspended the GitSync, and until when.
type Suspended struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
}

// Exception is what permits something that git does not say.
type Exception struct {
	// Kind is permit, grant or policy.
	Kind string `json:"kind"`
	// Name of the rule or the BreakGlass, and the Source of a policy's rule.
	Name   string `json:"name"`
	Source string `json:"source,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Account that a permit was given to, by which Decision.
	Account  string     `json:"account,omitempty"`
	Decision string     `json:"decision,omitempty"`
	Paths    []string   `json:"paths,omitempty"`
	Until    *time.Time `json:"until,omitempty"`
}

// maxDecisions of an object are shown.
const maxDecisions = 10

func (h *handler) object(w http.ResponseWriter, r *http.Request, v *viewer) error {
	ctx, q := r.Context(), r.URL.Query()
	id := ownership.ID{Group: q.Get("group"), Kind: q.Get("kind"), Namespace: q.Get("namespace"), Name: q.Get("name")}
	resource := (&ownership.Entry{ID: id, Version: q.Get("version"), Resource: q.Get("resource")}).GVR()
	if id.Kind == "" || id.Name == "" || resource.Version == "" || resource.Resource == "" {
		return refuse(http.StatusBadRequest, "kind, version, resource and name are needed")
	}
	found, declared := h.Index.Lookup(id)
	if declared {
		// What may be read is asked for as what it is, whatever the query calls it.
		resource = found.GVR()
	} else if known, ok := h.Index.LookupResource(resource.GroupResource(), id.Namespace, id.Name); ok && known.ID != id {
		return refuse(http.StatusBadRequest, "%s are no objects of kind %s", resource.GroupResource(), id.Kind)
	}
	if ok, err := v.gets(ctx, resource, id.Namespace, id.Name); err != nil {
		return err
	} else if !ok {
		return refuse(http.StatusForbidden, "%s may not get %s %q in namespace %q", v.user.Username, resource.GroupResource(), id.Name, id.Namespace)
	}
	out := Object{Object: audit.LineObject{
		Group: id.Group, Version: resource.Version, Kind: id.Kind, Resource: resource.Resource, Namespace: id.Namespace, Name: id.Name,
	}}
	raw, err := h.Live(ctx, resource, id.Namespace, id.Name)
	if err != nil {
		return refuse(http.StatusBadGateway, "read the live object: %v", err)
	}
	var live *fastjson.Value
	if raw != nil {
		if live, err = fastjson.ParseBytes(raw); err != nil {
			return fmt.Errorf("parse the live object: %w", err)
		}
		out.Live, out.Object.UID = true, string(live.GetStringBytes("metadata", "uid"))
	}
	if declared {
		out.Declared = h.declared(found)
		if err := h.fields(ctx, &out, found, live); err != nil {
			return err
		}
	}
	h.exceptions(&out, id, found)
	if err := h.last(ctx, &out, v); err != nil {
		return err
	}
	return answer(w, out)
}

func (h *handler) declared(r *ownership.Record) *Declared {
	out := &Declared{
		Sync: r.Sync.Key().String(), Mode: string(r.Mode()), Contact: r.Sync.Contact, Applied: r.Sync.Applied.Name,
		Pruning: r.Pruning, Pending: r.Attempted != nil && (r.Applied == nil || r.Attempted.Digest != r.Applied.Digest),
	}
	if content := r.Current(); content != nil {
		out.File, out.Line, out.Link = content.File, content.Line, audit.Link(r.Sync, content, content.Line)
		out.Revision, out.Author = content.Revision.Name, content.Revision.Author
		out.Time, out.Subject = content.Revision.Time, content.Revision.Subject
	}
	out.Repo = audit.Repository(r.Sync)
	if s, ok := h.Suspended(r.Sync.Key(), h.Clock()); ok {
		out.Suspended = &Suspended{By: s.By, Reason: s.Reason, Until: s.Until}
	}
	return out
}

// exceptions are those that are about the object now.
func (h *handler) exceptions(out *Object, id ownership.ID, r *ownership.Record) {
	if out.Object.UID != "" {
		for _, p := range h.Permits(types.UID(out.Object.UID)) {
			out.Exceptions = append(out.Exceptions, Exception{
				Kind: "permit", Name: p.Rule, Account: p.Account, Decision: p.Decision, Paths: []string{p.Path}, Until: p.Until,
			})
		}
	}
	for _, g := range h.Grants(h.Clock()) {
		if g.Speaks(id) {
			out.Exceptions = append(out.Exceptions, Exception{
				Kind: "grant", Name: g.Key(), Reason: g.Words(), Paths: g.Scope.Paths, Until: &g.ExpiresAt,
			})
		}
	}
	if r == nil {
		return
	}
	for _, rule := range h.Judge.RulesFor(r) {
		if rule.Kind == "exception" {
			out.Exceptions = append(out.Exceptions, Exception{Kind: "policy", Name: rule.Name, Source: rule.Source, Reason: rule.Title})
		}
	}
}

// last are the last decisions about the object.
func (h *handler) last(ctx context.Context, out *Object, v *viewer) error {
	if ok, err := v.decisions(ctx, out.Object.Namespace); err != nil {
		return err
	} else if !ok {
		out.DecisionsHidden = forbidden(v.user.Username, out.Object.Namespace).Error()
		return nil
	}
	var all []record.Record
	for one, err := range h.Ring.Read(record.Select{}) {
		if err != nil {
			return err
		}
		o := one.Object
		if o.Group == out.Object.Group && o.Kind == out.Object.Kind && o.Namespace == out.Object.Namespace && o.Name == out.Object.Name {
			all = append(all, one.Record)
		}
	}
	for i := len(all) - 1; i >= 0 && len(out.Decisions) < maxDecisions; i-- {
		out.Decisions = append(out.Decisions, all[i])
	}
	return nil
}

var _ Judge = (*policy.Engine)(nil)
