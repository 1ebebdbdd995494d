// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package breakglass

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheIDOfADecisionIsTakenAsItIsPasted(t *testing.T) {
	for pasted, want := range map[string]string{
		"7f3k2": "7f3k2", `"7f3k2"`: "7f3k2", "'7f3k2'.": "7f3k2", " 7F3K2,\n": "7f3k2", "(7f3k2)": "7f3k2", "“7f3k2”": "7f3k2",
		"": "", ".": "", "7f": "", "7f3k2 --for": "", "deploy/web": "", "bg-7f3k2-x4w9t": "", "12345678901234567": "",
	} {
		got, err := decisionID(pasted)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v, want %q", pasted, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "for example 7f3k2") {
			t.Errorf("%q: %v, want an example", pasted, err)
		}
	}
}

func TestANameThatIsNotThereSuggestsThoseThatAre(t *testing.T) {
	names := []string{"bg-7f3k2-x4w9t", "bg-aaaaa-11111", "bg-aaaaa-22222", "bg-aaaaa-33333", "bg-aaaaa-44444"}
	for typed, want := range map[string]string{
		"7f3k2":           "; did you mean bg-7f3k2-x4w9t?",
		"bg-7f3k2-x4w9t.": "; did you mean bg-7f3k2-x4w9t?",
		"22222":           "; did you mean bg-aaaaa-22222?",
		"aaaaa":           "", // which of the four?
		"nothing":         "",
		"":                "",
	} {
		if got := meant(names, typed); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

func TestAPatchLeavesTheNamespaceToAKustomizationThatSetsIt(t *testing.T) {
	for content, want := range map[string]bool{
		"namespace: shop\nresources: [web.yaml]\n": true,
		"resources: [web.yaml]\n":                  false,
		"namespace: [":                             false,
	} {
		p := &patcher{tree: fstest.MapFS{"prod/kustomization.yaml": &fstest.MapFile{Data: []byte(content)}}}
		if got := p.namespaced("prod"); got != want {
			t.Errorf("%q sets the namespace: %t, want %t", content, got, want)
		}
	}
}
