// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestATenantsPoliciesSeeTheirNamespaceOnly(t *testing.T) {
	sync := imageChange().Record.Sync.Key()
	const own = "mainstay-system"
	rego := func(condition string) map[string]string {
		return map[string]string{"p.rego": "package p\n\nexception contains {\"reason\": \"r\", \"paths\": [\"**\"]} if {\n" + condition + "\n}\n"}
	}
	for name, tt := range map[string]struct {
		condition     string
		tenant, owner Verdict
	}{
		"an object of its namespace":             {`data.cluster.core.ConfigMap.shop.mine.data.k == "v"`, Permit, Permit},
		"by the namespace of the change":         {`data.cluster.core.ConfigMap[input.namespace].mine`, Permit, Permit},
		"an object of another namespace":         {`data.cluster.core.ConfigMap.other.theirs`, Refuse, Permit},
		"another namespace, by a variable":       {`some ns; data.cluster.core.ConfigMap[ns].theirs`, Refuse, Permit},
		"whatever namespaces there are":          {`count(data.cluster.core.ConfigMap) == 2`, Refuse, Permit},
		"its own namespace alone":                {`{ns | some ns, _ in data.cluster.core.ConfigMap} == {"shop"}`, Permit, Refuse},
		"an object without a namespace":          {`data.cluster.core.Namespace[""].other`, Refuse, Permit},
		"the absence of what it may not see":     {`not data.cluster.core.ConfigMap.other.absent`, Permit, Permit},
		"a kind of which its namespace has none": {`count(object.get(data.cluster.core.Secret, "shop", {})) == 0`, Permit, Permit},
	} {
		t.Run(name, func(t *testing.T) {
			for who, want := range map[string]Verdict{"tenant": tt.tenant, "owner": tt.owner} {
				home := own // the GitSync is somebody's outside Mainstay's namespace
				if who == "owner" {
					home = sync.Namespace
				}
				source := RepositorySource(sync, home, rego(tt.condition))
				if who == "tenant" {
					source.Namespace = "shop"
				}
				e := newEngine(t, source)
				value := map[string]any{"data": map[string]any{"k": "v"}}
				e.SetObject("", "ConfigMap", "shop", "mine", value)
				e.SetObject("", "ConfigMap", "other", "theirs", value)
				e.SetObject("", "Namespace", "", "other", map[string]any{})
				e.SetObject("", "Secret", "other", "theirs", value)
				if d := e.Decide(t.Context(), imageChange()); d.Verdict != want {
					t.Errorf("%s: %+v, want %s", who, d, want)
				}
			}
		})
	}
}

func TestTheSourceOfARepository(t *testing.T) {
	shop := types.NamespacedName{Namespace: "team-a", Name: "shop"}
	if s := RepositorySource(shop, "mainstay-system", nil); s.Namespace != "team-a" || *s.Sync != shop {
		t.Errorf("a tenant's: %+v, want it to be held to its namespace", s)
	}
	if s := RepositorySource(shop, "team-a", nil); s.Namespace != "" || *s.Sync != shop {
		t.Errorf("one of Mainstay's own namespace: %+v", s)
	}
}
