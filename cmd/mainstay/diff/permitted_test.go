// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func TestWhatIsPermittedDoesNotDiffer(t *testing.T) {
	id := ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	const two, four = `{"metadata": {"name": "web"}, "spec": {"replicas": 2}}`, `{"metadata": {"name": "web"}, "spec": {"replicas": 4}}`
	for name, tt := range map[string]struct {
		state   string
		paths   []string
		changes []Change
		git     string
		want    State
	}{
		"all of it is permitted":          {v1alpha1.StatePermitted, []string{"spec.replicas"}, []Change{{Path: "spec.replicas"}}, two, Permitted},
		"nothing is":                      {v1alpha1.StateDiffers, []string{"spec.replicas"}, []Change{{Path: "spec.replicas"}}, two, Differs},
		"a part of it is":                 {v1alpha1.StatePermitted, []string{"spec.replicas"}, []Change{{Path: "spec.replicas"}, {Path: "spec.paused"}}, two, Differs},
		"git now says otherwise about it": {v1alpha1.StatePermitted, []string{"spec.replicas"}, []Change{{Path: "spec.replicas"}}, four, Differs},
		"no path of it is named":          {v1alpha1.StatePermitted, nil, []Change{{Path: "spec.replicas"}}, two, Differs},
	} {
		t.Run(name, func(t *testing.T) {
			o := object(id, Differs)
			o.Changes = tt.changes
			gs := new(v1alpha1.GitSync)
			gs.Status.Drift.Objects = []v1alpha1.DriftedObject{{
				Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web", State: tt.state, Paths: tt.paths, Rule: "builtin.hpa",
			}}
			objects := []Object{o}
			base := map[ownership.ID]*ownership.Entry{id: {ID: id, Applied: &ownership.Content{Desired: []byte(two)}}}
			c := &cluster{mask: newMask()}
			if err := c.permitted(gs, declarations{id: {desired: []byte(tt.git)}}, base, &Result{Objects: objects}); err != nil {
				t.Fatal(err)
			}
			if objects[0].State != tt.want {
				t.Errorf("it is %s, want %s", objects[0].State, tt.want)
			}
		})
	}
}

func TestWhatTheStatusDoesNotListIsSaid(t *testing.T) {
	id := ownership.ID{Kind: "ConfigMap", Namespace: "shop", Name: "many"}
	gs := new(v1alpha1.GitSync)
	paths := []string{"data.a", "data.b", "data.c", "data.d", "data.e"}
	gs.Status.Drift = v1alpha1.DriftCounts{Current: 1, Permitted: 27, Objects: []v1alpha1.DriftedObject{
		{Kind: "ConfigMap", Namespace: "shop", Name: "many", State: v1alpha1.StatePermitted, Rule: "policies.many", Paths: paths},
	}}
	o := object(id, Differs)
	for _, path := range append(paths, "data.f") {
		o.Changes = append(o.Changes, Change{Path: path})
	}
	const text = `{"metadata": {"name": "many"}}`
	base := map[ownership.ID]*ownership.Entry{id: {ID: id, Applied: &ownership.Content{Desired: []byte(text)}}}
	r := &Result{Objects: []Object{o}}
	if err := (&cluster{mask: newMask()}).permitted(gs, declarations{id: {desired: []byte(text)}}, base, r); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	r.write(&out)
	for _, want := range []string{"~ ConfigMap shop/many  policies.many permits 5 of its fields", "… and 27 more objects differ"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %q in\n%s", want, &out)
		}
	}
	if r.Objects[0].State != Differs {
		t.Errorf("it is %s, and not all of it is known to be permitted", r.Objects[0].State)
	}
}
