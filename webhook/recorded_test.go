// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/rego"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/mainstay-gitops/mainstay/policy"
)

// seeing writes down what policies see of each change that is recorded.
type seeing struct {
	t      *testing.T
	engine *policy.Engine
	inputs []json.RawMessage
}

func (s *seeing) Record(c *policy.Change, _ policy.Decision) {
	seen, err := s.engine.See(s.engine.Sight(), c)
	if err != nil {
		s.t.Errorf("see the change: %v", err)
		return
	}
	s.inputs = append(s.inputs, seen.Input)
}

// What a real API server sends becomes an input that the schema describes in
// full: it lets no member pass that it does not know.
func TestRecordedReviewsFitTheSchemaOfInput(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(policy.InputSchema, &schema); err != nil {
		t.Fatal(err)
	}
	query, err := rego.New(rego.Query("json.match_schema(input.document, input.schema)")).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fits := func(document any) (bool, any) {
		results, err := query.Eval(t.Context(), rego.EvalInput(map[string]any{"document": document, "schema": schema}))
		if err != nil || len(results) != 1 {
			t.Fatalf("match: %v, %v", results, err)
		}
		pair := results[0].Expressions[0].Value.([]any)
		return pair[0] == true, pair[1]
	}
	x, judged := recordedIndex(t), 0
	for name, body := range recordings(t) {
		t.Run(name, func(t *testing.T) {
			e := engine(t, policy.Options{ClusterName: "prod", ClusterLabels: map[string]string{"env": "prod"}})
			s := &seeing{t: t, engine: e}
			newFixture(t, x, func(o *Options) { o.Judge, o.Recorder = e, s }).serve(entryOf(name), "?timeout=3s", strings.NewReader(string(body)))
			for _, input := range s.inputs {
				judged++
				var document map[string]any
				if err := json.Unmarshal(input, &document); err != nil {
					t.Fatal(err)
				}
				if ok, why := fits(document); !ok {
					t.Errorf("%v\n%s", why, input)
				}
				document["unheard"] = "of"
				if ok, _ := fits(document); ok {
					t.Error("the schema lets anything pass")
				}
			}
		})
	}
	if judged < 10 {
		t.Errorf("only %d of the reviews were judged", judged)
	}
}

// either judges where the request waits for it, or on a goroutine of its own.
type either struct {
	*policy.Engine
	prompt bool
}

func (e either) Prompt(*policy.Change) bool { return e.prompt }

// Which of the two it is may not be seen from outside.
func TestJudgingInPlaceOrAsideIsTheSame(t *testing.T) {
	e := engine(t, policy.Options{}, `package p

import data.mainstay.lib

exception contains {"reason": "scaled by people", "paths": ["spec.replicas"], "warn": "until tonight", "ttl": "1h"} if {
	input.dryRun
	lib.is_person
}

deny contains {"reason": "no sidecars", "next": "ask #platform"} if {
	some change in input.changes
	contains(change.path, "sidecar")
}

deny contains {"reason": "this fails"} if {
	input.subResource == "status"
	1 / count([x | some x in []]) > 0
}
`)
	decision := regexp.MustCompile(`(request|decision:) +[a-z0-9]{7}`)
	x, verdicts := recordedIndex(t), map[bool]int{}
	for name, body := range recordings(t) {
		var got [2]*admissionv1.AdmissionResponse
		for i, prompt := range []bool{true, false} {
			w := newFixture(t, x, func(o *Options) { o.Judge = either{e, prompt} }).serve(entryOf(name), "?timeout=3s", strings.NewReader(string(body)))
			var review admissionv1.AdmissionReview
			if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || review.Response == nil {
				t.Fatalf("%s: status %d: %s", name, w.Code, w.Body)
			}
			got[i] = review.Response
			got[i].AuditAnnotations = nil
			if got[i].Result != nil {
				got[i].Result.Message = decision.ReplaceAllString(got[i].Result.Message, "ID")
				got[i].Result.Details = nil
			}
		}
		verdicts[got[0].Allowed]++
		if diff := cmp.Diff(got[0], got[1]); diff != "" {
			t.Errorf("%s: in place and aside differ (-in place +aside):\n%s", name, diff)
		}
	}
	if verdicts[true] < 5 || verdicts[false] < 5 {
		t.Errorf("the recorded reviews have nearly one verdict only: %v", verdicts)
	}
}
