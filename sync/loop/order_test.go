// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func TestDependenciesBetweenObjects(t *testing.T) {
	configMap := func(name string) ownership.ID {
		return ownership.ID{Kind: "ConfigMap", Namespace: "shop", Name: name}
	}
	shop := ownership.ID{Kind: "Namespace", Name: "shop"}
	entry := func(id ownership.ID, annotation, on string) *ownership.Entry {
		desired, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{annotation: on}}})
		must(t, err)
		return &ownership.Entry{ID: id, Attempted: &ownership.Content{File: id.Name + ".yaml", Line: 3, Desired: desired}}
	}
	const ours, theirs = "mainstay.dev/depends-on", "config.kubernetes.io/depends-on"
	for name, tt := range map[string]struct {
		entries []*ownership.Entry
		leaving []ownership.ID
		want    dependencies
		wrong   string
	}{
		"nothing depends on anything": {
			entries: []*ownership.Entry{entry(configMap("a"), "note", "x")}, want: dependencies{},
		},
		"one on two, of which one has no namespace": {
			entries: []*ownership.Entry{
				entry(configMap("a"), ours, "/namespaces/shop/ConfigMap/b, /Namespace/shop"), entry(configMap("b"), "", ""), entry(shop, "", ""),
			},
			want: dependencies{configMap("a"): {configMap("b"), shop}},
		},
		"the annotation that others read": {
			entries: []*ownership.Entry{entry(configMap("a"), theirs, "/namespaces/shop/ConfigMap/b"), entry(configMap("b"), "", "")},
			want:    dependencies{configMap("a"): {configMap("b")}},
		},
		"what names no object": {
			entries: []*ownership.Entry{entry(configMap("a"), ours, "ConfigMap/b")},
			wrong:   `a.yaml:3: ConfigMap shop/a: annotation mainstay.dev/depends-on: "ConfigMap/b" names no object: write group/namespaces/namespace/kind/name`,
		},
		"an object that is not declared": {
			entries: []*ownership.Entry{entry(configMap("a"), ours, "apps/namespaces/shop/Deployment/web")},
			wrong:   `a.yaml:3: ConfigMap shop/a: depends on Deployment.apps shop/web, which is not declared here`,
		},
		"an object that leaves with this commit": {
			entries: []*ownership.Entry{entry(configMap("a"), ours, "/namespaces/shop/ConfigMap/b"), entry(configMap("b"), "", "")},
			leaving: []ownership.ID{configMap("b")},
			wrong:   `a.yaml:3: ConfigMap shop/a: depends on ConfigMap shop/b, which is not declared here`,
		},
		"itself": {
			entries: []*ownership.Entry{entry(configMap("a"), ours, "/namespaces/shop/ConfigMap/a")},
			wrong:   `a.yaml:3: ConfigMap shop/a: depends on itself`,
		},
		"a namespace on what can only come after it": {
			entries: []*ownership.Entry{entry(shop, ours, "/namespaces/shop/ConfigMap/a"), entry(configMap("a"), "", "")},
			wrong:   `shop.yaml:3: Namespace shop: depends on ConfigMap shop/a, but namespaces and CustomResourceDefinitions are written first`,
		},
		"a circle": {
			entries: []*ownership.Entry{
				entry(configMap("a"), ours, "/namespaces/shop/ConfigMap/b"), entry(configMap("b"), ours, "/namespaces/shop/ConfigMap/c"),
				entry(configMap("c"), ours, "/namespaces/shop/ConfigMap/b"),
			},
			wrong: `b.yaml:3: objects depend on each other: ConfigMap shop/b (b.yaml:3) → ConfigMap shop/c (c.yaml:3) → ConfigMap shop/b (b.yaml:3)`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			entries := map[ownership.ID]*ownership.Entry{}
			for _, e := range tt.entries {
				entries[e.ID] = e
			}
			got, problems := dependenciesOf(entries, tt.leaving)
			if err := errors.Join(problems...); tt.wrong != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.wrong) {
					t.Errorf("got %v\nwant %s", err, tt.wrong)
				}
				return
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
