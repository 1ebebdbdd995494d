// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

const (
	manifest = `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}, "spec": {
		"replicas": 2, "containers": [{"name": "web", "image": "nginx:1.27", "cpu": "1000m"}]}}`
	// stored is what the API server made of it.
	stored = `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop", "labels": {"mainstay.dev/sync": "shop.x"}}, "spec": {
		"replicas": 2, "paused": false, "containers": [{"name": "web", "image": "nginx:1.27", "cpu": "1", "pull": "Always"}]}}`
	mine = `{"manager": "mainstay", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {
		"f:metadata": {"f:labels": {"f:mainstay.dev/sync": {}}},
		"f:spec": {"f:replicas": {}, "f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}, "f:cpu": {}}}}}}`
	edit = `{"manager": "kubectl-edit", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {
		"f:metadata": {"f:annotations": {"f:note": {}}}, "f:spec": {"f:replicas": {}, "f:paused": {}}}}`
)

// replaced is a text with some replacements, old and new in turn.
func replaced(t *testing.T, text string, replacements ...string) string {
	t.Helper()
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(text, replacements[i]) {
			t.Fatalf("there is no %s", replacements[i])
		}
		text = strings.Replace(text, replacements[i], replacements[i+1], 1)
	}
	return text
}

func liveObject(t *testing.T, replacements ...string) *fastjson.Value {
	t.Helper()
	v := fastjson.MustParse(replaced(t, stored, replacements...))
	v.Get("metadata").Set("managedFields", fastjson.MustParse("["+mine+","+edit+"]"))
	return v
}

func lines(changes []Change) []string {
	var out []string
	for _, c := range changes {
		line := fmt.Sprintf("%s %s → %s", c.Path, shown(c.From), shown(c.To))
		if c.Manager != "" {
			line += " by " + c.Manager
		}
		out = append(out, line)
	}
	return out
}

func TestToGit(t *testing.T) {
	web := ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	base := &ownership.Content{Desired: []byte(manifest), Baseline: []byte(stored)}
	for name, tt := range map[string]struct {
		git  []string
		live []string
		want []string
	}{
		"nothing": {},
		"somebody has changed what git says": {
			live: []string{`"replicas": 2`, `"replicas": 5`},
			want: []string{"spec.replicas 5 → 2 by kubectl-edit"},
		},
		"what git does not say is nobody's business": {
			live: []string{`"paused": false`, `"paused": true`, `"name": "web", "namespace"`, `"annotations": {"note": "x"}, "name": "web", "namespace"`},
		},
		"the working copy says something new": {
			git:  []string{`nginx:1.27`, `nginx:1.28`},
			want: []string{"spec.containers[name=web].image nginx:1.27 → nginx:1.28"},
		},
		"and adds a field": {
			git:  []string{`"replicas": 2`, `"replicas": 2, "paused": true`},
			want: []string{"spec.paused false → true by kubectl-edit"},
		},
		"and takes one away": {
			git:  []string{`"replicas": 2, `, ``},
			want: []string{"spec.replicas 2 → (nothing) by kubectl-edit"},
		},
		"and adds an element": {
			git:  []string{`[{"name"`, `[{"name": "log", "image": "log:1"}, {"name"`},
			want: []string{`spec.containers[name=log] (nothing) → {"image":"log:1","name":"log"}`},
		},
	} {
		for known, content := range map[string]*ownership.Content{" (with the inventory)": base, " (without)": nil} {
			t.Run(name+known, func(t *testing.T) {
				got, err := toGit(web, []byte(replaced(t, manifest, tt.git...)), liveObject(t, tt.live...), content, newMask())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, lines(got)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestNoValueOfASecretIsShown(t *testing.T) {
	id := ownership.ID{Kind: "Secret", Namespace: "shop", Name: "mail"}
	m := newMask()
	for name, tt := range map[string]struct{ from, to string }{
		"a value":                  {`{"data": {"password": "aHVudGVyMg=="}}`, `{"data": {"password": "aHVudGVyMw=="}}`},
		"all of them":              {`{"kind": "Secret"}`, `{"data": {"password": "aHVudGVyMw=="}}`},
		"what the server folds":    {`{"stringData": {"password": "hunter2"}}`, `{"stringData": {"password": "hunter3"}}`},
		"an annotation":            {`{"metadata": {"annotations": {"last": "hunter2"}}}`, `{"metadata": {"annotations": {"last": "hunter3"}}}`},
		"metadata that come whole": {`{}`, `{"metadata": {"annotations": {"last": "hunter3"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			changes, err := fields(id, []byte(tt.from), []byte(tt.to), m)
			if err != nil || len(changes) != 1 {
				t.Fatalf("%v, %v", changes, err)
			}
			for _, side := range []string{string(changes[0].From), string(changes[0].To)} {
				if strings.Contains(side, "hunter") || strings.Contains(side, "aHVud") {
					t.Errorf("shown: %s", side)
				}
			}
			if string(changes[0].From) == string(changes[0].To) {
				t.Error("that it changes is hidden as well")
			}
		})
	}
	other := ownership.ID{Group: "external.example", Kind: "Secret", Name: "x"}
	if changes, err := fields(other, []byte(`{"data": 1}`), []byte(`{"data": 2}`), m); err != nil || string(changes[0].To) != "2" {
		t.Errorf("%s, %v: another group's kind has no secrets", changes, err)
	}
}
