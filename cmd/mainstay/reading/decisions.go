// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

// heartbeat is how often a reader that follows hears that the connection is
// alive: by an empty line.
const heartbeat = 15 * time.Second

// decisions answers with JSON lines, the oldest first.
func (h *handler) decisions(w http.ResponseWriter, r *http.Request, v *viewer) error {
	query, err := ParseQuery(r.URL.Query())
	if err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	ctx := r.Context()
	if ok, err := v.decisions(ctx, query.Namespace); err != nil {
		return err
	} else if !ok {
		return forbidden(v.user.Username, query.Namespace)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	flush := http.NewResponseController(w)
	selected := record.Select{Since: query.Since, Whole: query.Basis}
	alive := time.NewTicker(heartbeat)
	defer alive.Stop()
	for {
		changed := h.Ring.Changed()
		for one, err := range h.Ring.Read(selected) {
			if err != nil {
				return nil // the answer has begun, and ends early
			}
			selected.After = one.Number
			if !query.Matches(&one.Line) {
				continue
			}
			shown, err := v.show(ctx, one.Record)
			if err != nil || out.Encode(shown) != nil {
				return nil // as above
			}
		}
		if !query.Follow {
			return nil
		}
		_ = flush.Flush()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-alive.C:
			if _, err := w.Write([]byte("\n")); err != nil {
				return nil // nobody reads any more
			}
		}
	}
}

// show is a record as the viewer may see it.
func (v *viewer) show(ctx context.Context, r record.Record) (record.Record, error) {
	resource := schema.GroupVersionResource{Group: r.Object.Group, Version: r.Object.Version, Resource: r.Object.Resource}
	ok, err := v.gets(ctx, resource, r.Object.Namespace, r.Object.Name)
	if err != nil || ok {
		return r, err
	}
	for i := range r.Changes {
		r.Changes[i].From, r.Changes[i].To, r.Changes[i].Git = nil, nil, nil
	}
	r.Basis = nil
	r.Withheld = v.user.Username + " may not get " + resource.GroupResource().String() + " " + r.Object.Name
	return r, nil
}

// Explained is a decision, and what comes of judging it again.
type Explained struct {
	record.Record
	// Again is missing where there is no input to judge.
	Again *Again `json:"again,omitempty"`
}

// Again is what the policies of now say of a recorded change.
type Again struct {
	Verdict   policy.Verdict `json:"verdict"`
	Class     string         `json:"class"`
	Rule      string         `json:"rule,omitempty"`
	Reason    string         `json:"reason,omitempty"`
	Uncovered []string       `json:"uncovered,omitempty"`
	Errors    []string       `json:"errors,omitempty"`
	// Differs tells that the verdict or the rules are others than then.
	Differs bool `json:"differs"`
	// PoliciesChanged tells that the policies are.
	PoliciesChanged bool `json:"policiesChanged"`
	// Rules are all that said something.
	Rules []Said `json:"rules,omitempty"`
}

// Said is what one rule says of a change.
type Said struct {
	Rule   string     `json:"rule"`
	Kind   string     `json:"kind"`
	Source string     `json:"source"`
	File   string     `json:"file,omitempty"`
	Line   int        `json:"line,omitempty"`
	Reason string     `json:"reason"`
	Until  *time.Time `json:"until,omitempty"`
	Covers []string   `json:"covers,omitempty"`
}

// decision answers about one.
func (h *handler) decision(w http.ResponseWriter, r *http.Request, v *viewer) error {
	ctx := r.Context()
	id := r.PathValue("id")
	found, ok, err := h.Ring.Find(id)
	if err != nil {
		return err
	}
	namespace := found.Object.Namespace
	if !ok {
		// Whether there is one, everybody may know who may see some.
		return refuse(http.StatusNotFound, "this replica knows no decision %s (any more)", id)
	}
	if ok, err := v.decisions(ctx, namespace); err != nil {
		return err
	} else if !ok {
		return forbidden(v.user.Username, namespace)
	}
	out := Explained{Record: found}
	if out.Record, err = v.show(ctx, found); err != nil {
		return err
	}
	if out.Basis != nil && len(out.Basis.Input) > 0 {
		if out.Again, err = h.again(ctx, &out.Record); err != nil {
			return err
		}
	}
	return answer(w, out)
}

func (h *handler) again(ctx context.Context, r *record.Record) (*Again, error) {
	d, answers, err := h.Judge.Again(ctx, r.Basis.Input)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what is wrong with the input
	}
	out := &Again{
		Verdict: d.Verdict, Class: d.Class, Rule: d.Rule, Reason: d.Reason, Errors: d.Errors,
		Differs:         string(d.Verdict) != r.Verdict || d.Rule != r.Rule,
		PoliciesChanged: d.Policies != "" && r.Policies != "" && d.Policies != r.Policies,
	}
	if r.Class == policy.RuleOff || r.Class == policy.RuleSuspended {
		// Not the policies decided then.
		out.Differs = false
	}
	for _, f := range d.Uncovered {
		out.Uncovered = append(out.Uncovered, f.Path.String())
	}
	for _, a := range answers {
		out.Rules = append(out.Rules, Said{
			Rule: a.Rule, Kind: a.Kind, Source: a.Source, File: a.File, Line: a.Line, Reason: a.Reason, Until: a.Until, Covers: a.Covers,
		})
	}
	return out, nil
}

func answer(w http.ResponseWriter, what any) error {
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	_ = out.Encode(what) // who has gone needs no answer
	return nil
}
