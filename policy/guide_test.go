// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGuide loads the first example of the page, tries it with what the page
// says becomes of it, and compares the input that the page shows.
func TestGuide(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)`(policies/sale/[^`]+)`:\n```rego\n(.*?)```").FindAllSubmatch(page, -1) {
		modules[string(m[1])] = string(m[2])
	}
	e := newEngine(t, Source{Key: "k", Modules: modules})
	for value, want := range map[string]Verdict{"4": Permit, "60": Refuse} {
		c := imageChange()
		c.Fields = []Field{field("spec.replicas", "2", value)}
		if d := e.Decide(t.Context(), c); d.Verdict != want {
			t.Errorf("scaled to %s: %s, want %s: %s", value, d.Verdict, want, d.Reason)
		}
	}
	p, err := e.Compile(t.Context(), Source{Key: "k", Modules: modules})
	if err != nil {
		t.Fatal(err)
	}
	trials, lines, err := p.Test(t.Context(), TrialOptions{Coverage: true})
	if err != nil || len(trials) != 3 || len(lines) != 1 || lines[0].Missed > 0 {
		t.Errorf("tests %v, coverage %v, %v", trials, lines, err)
	}
	shown := regexp.MustCompile("(?s)alice changes an image.\n```json\n(.*?)```").FindSubmatch(page)
	if shown == nil {
		t.Fatal("the page shows no input")
	}
	samples, err := p.Samples(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(shown[1], &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(samples[0], &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the input that the page shows (-is +shown):\n%s", diff)
	}
}
