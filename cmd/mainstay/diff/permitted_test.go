// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
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
			if err := c.permitted(gs, declarations{id: {desired: []byte(tt.git)}}, base, objects); err != nil {
				t.Fatal(err)
			}
			if objects[0].State != tt.want {
				t.Errorf("it is %s, want %s", objects[0].State, tt.want)
			}
		})
	}
}
