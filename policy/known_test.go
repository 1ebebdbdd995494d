// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestObjectsThatWereNotListedAreNotAbsent(t *testing.T) {
	configMap := schema.GroupKind{Kind: "ConfigMap"}
	load := func(t *testing.T, module string) *Engine {
		t.Helper()
		e, err := New(t.Context(), Options{AwaitObjects: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Load(t.Context(), Source{Key: "changepolicy/a/b", Modules: map[string]string{"p.rego": module}}); err != nil {
			t.Fatal(err)
		}
		return e
	}
	const (
		freeze = `package p

exception contains {"reason": "always", "paths": ["**"]}

deny contains {"reason": "frozen"} if data.cluster.core.ConfigMap[input.namespace].freeze
`
		unlessFrozen = `package p

exception contains {"reason": "not frozen", "paths": ["**"]} if not data.cluster.core.ConfigMap[input.namespace].freeze
`
	)
	t.Run("a denial that reads them refuses until they are listed", func(t *testing.T) {
		e := load(t, freeze)
		d := e.Decide(t.Context(), imageChange())
		if d.Verdict != Refuse || d.Class != RuleError || !strings.Contains(d.Reason, "ConfigMap") {
			t.Errorf("before: %+v, want a refusal that names the kind", d)
		}
		changed := e.Changed()
		e.SetKnown(configMap, true)
		select {
		case <-changed:
		default:
			t.Error("nothing says that changes have to be judged again")
		}
		if d := e.Decide(t.Context(), imageChange()); d.Verdict != Permit {
			t.Errorf("after: %+v, want the exception's permit", d)
		}
		e.SetKnown(configMap, false)
		if d := e.Decide(t.Context(), imageChange()); d.Verdict != Refuse {
			t.Errorf("when they are listed anew: %+v, want a refusal", d)
		}
	})
	t.Run("an exception that reads them permits nothing until they are listed", func(t *testing.T) {
		e := load(t, unlessFrozen)
		if d := e.Decide(t.Context(), imageChange()); d.Verdict != Refuse || len(d.Errors) == 0 {
			t.Errorf("before: %+v, want a refusal that tells of it", d)
		}
		e.SetKnown(configMap, true)
		if d := e.Decide(t.Context(), imageChange()); d.Verdict != Permit {
			t.Errorf("after: %+v, want a permit", d)
		}
	})
}
