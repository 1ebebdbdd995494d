// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func TestMainstaysFinalizerOnAGitSync(t *testing.T) {
	const without, others = `{"metadata":{"name":"x"}}`, `{"metadata":{"name":"x","finalizers":["example.org/x"]}}`
	const with, both = `{"metadata":{"name":"x","finalizers":["mainstay.dev/gitsync"]}}`, `{"metadata":{"name":"x","finalizers":["example.org/x","mainstay.dev/gitsync"]}}`
	set, err := fieldset.ParseSet([]byte(`{"f:metadata":{"f:finalizers":{".":{},"v:\"example.org/x\"":{},"v:\"mainstay.dev/gitsync\"":{}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	gs := ownership.ID{Group: "mainstay.dev", Kind: "GitSync", Namespace: "a", Name: "x"}
	for name, tt := range map[string]struct {
		id       ownership.ID
		from, to string
		want     []string
	}{
		"comes":                         {gs, without, with, nil},
		"comes beside another":          {gs, others, both, []string{"list"}},
		"goes":                          {gs, with, without, []string{"set", "list"}},
		"goes from beside another":      {gs, both, others, []string{"set", "list"}},
		"goes for another":              {gs, with, others, []string{"set", "list"}},
		"on another kind is a stranger": {ownership.ID{Kind: "ConfigMap", Namespace: "a", Name: "x"}, without, with, []string{"set", "list"}},
	} {
		t.Run(name, func(t *testing.T) {
			content := &ownership.Content{Baseline: json.RawMessage(without), Fields: json.RawMessage(`{"f:spec":{}}`)}
			index := ownership.NewIndex()
			if err := index.Replace(&ownership.Sync{Namespace: "m", Name: "s"}, []*ownership.Entry{{ID: tt.id, Version: "v1", Resource: "x", Applied: content}}); err != nil {
				t.Fatal(err)
			}
			record, ok := index.Lookup(tt.id)
			if !ok {
				t.Fatal("no record")
			}
			var got []string
			for structure, known := range map[string]*fieldset.Set{"set": set, "list": nil} {
				if len(Fields(fieldset.Compare(fastjson.MustParse(tt.from), fastjson.MustParse(tt.to), known, nil), record)) > 0 {
					got = append(got, structure)
				}
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("changes, seen as (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGesturesOnAGitSyncAreNoChange(t *testing.T) {
	const baseline = `{"metadata":{"name":"x"},"spec":{"a":1}}`
	const gestures = `{"metadata":{"name":"x","annotations":{"mainstay.dev/suspend":"1h why","mainstay.dev/requested-at":"now","mainstay.dev/confirm":"x"}},"spec":{"a":1}}`
	all := []string{"metadata.annotations[\"mainstay.dev/confirm\"]", "metadata.annotations[\"mainstay.dev/requested-at\"]", "metadata.annotations[\"mainstay.dev/suspend\"]"}
	for name, tt := range map[string]struct {
		id   ownership.ID
		want []string
	}{
		"of a GitSync":               {ownership.ID{Group: "mainstay.dev", Kind: "GitSync", Namespace: "a", Name: "x"}, nil},
		"of another kind":            {ownership.ID{Group: "mainstay.dev", Kind: "ChangePolicy", Namespace: "a", Name: "x"}, all},
		"of another group's GitSync": {ownership.ID{Group: "example.org", Kind: "GitSync", Namespace: "a", Name: "x"}, all},
	} {
		t.Run(name, func(t *testing.T) {
			content := &ownership.Content{Baseline: json.RawMessage(baseline), Fields: json.RawMessage(`{"f:spec":{"f:a":{}}}`)}
			index := ownership.NewIndex()
			if err := index.Replace(&ownership.Sync{Namespace: "m", Name: "s"}, []*ownership.Entry{{ID: tt.id, Version: "v1", Resource: "gitsyncs", Applied: content}}); err != nil {
				t.Fatal(err)
			}
			record, ok := index.Lookup(tt.id)
			if !ok {
				t.Fatal("no record")
			}
			var got []string
			for _, f := range Fields(fieldset.Compare(fastjson.MustParse(baseline), fastjson.MustParse(gestures), record.AppliedSet, nil), record) {
				got = append(got, f.Path.String())
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}
