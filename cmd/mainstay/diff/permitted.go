// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"slices"
	"time"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// permitted marks what differs and may, as the GitSync's status has it. A field
// that git now says something else about is not among them: that is judged when
// the commit comes.
func (c *cluster) permitted(gs *v1alpha1.GitSync, want declarations, base map[ownership.ID]*ownership.Entry, objects []Object) error {
	for _, d := range gs.Status.Drift.Objects {
		if d.State != v1alpha1.StatePermitted {
			continue
		}
		id := ownership.ID{Group: d.Group, Kind: d.Kind, Namespace: d.Namespace, Name: d.Name}
		at := slices.IndexFunc(objects, func(o Object) bool {
			return o.State == Differs && o.Group == d.Group && o.Kind == d.Kind && o.Namespace == d.Namespace && o.Name == d.Name
		})
		e := base[id]
		if at < 0 || e == nil || e.Applied == nil {
			continue
		}
		o := &objects[at]
		news, err := fields(id, e.Applied.Desired, want[id].desired, c.mask)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(o.Changes, func(change Change) bool {
			return !slices.Contains(d.Paths, change.Path) ||
				slices.ContainsFunc(news, func(n Change) bool { return n.Path == change.Path })
		}) {
			continue
		}
		o.State, o.Message = Permitted, "permitted by "+d.Rule
		if d.Until != nil {
			o.Message += " until " + d.Until.UTC().Format(time.RFC3339)
		}
	}
	return nil
}
