// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package breakglass

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/breakglass/edit"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

func TestAPatchOfAKustomizationNamesElements(t *testing.T) {
	patch := map[string]any{"kind": "Deployment"}
	for _, change := range []struct{ path, value string }{
		{"spec.replicas", "5"},
		{"spec.template.spec.containers[name=web].image", `"nginx:1.28"`},
		{"spec.template.spec.containers[name=web].args", "null"},
		{"spec.template.spec.containers[name=log]", "null"},
		{`metadata.annotations["a/b"]`, `"yes"`},
	} {
		path, err := fieldset.Parse(change.path)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal([]byte(change.value), &value); err != nil {
			t.Fatal(err)
		}
		merge(patch, path, value)
	}
	got, err := edit.YAML(patch)
	if err != nil {
		t.Fatal(err)
	}
	want := `kind: Deployment
metadata:
  annotations:
    a/b: "yes"
spec:
  replicas: 5
  template:
    spec:
      containers:
      - args: null
        image: nginx:1.28
        name: web
      - $patch: delete
        name: log
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("the patch (-want +got):\n%s", diff)
	}
}

func TestACommandIsPrintedAsAShellTakesIt(t *testing.T) {
	got := quoted([]string{"kubectl", "patch", "deployment", "web", "-p", `{"spec":{"replicas":5}}`, "it's"})
	if want := `kubectl patch deployment web -p '{"spec":{"replicas":5}}' 'it'\''s'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
