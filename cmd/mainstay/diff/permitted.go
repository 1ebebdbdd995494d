// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"fmt"
	"slices"
	"time"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// permitted marks what differs and may, as the GitSync's status has it. A field
// that git now says something else about is not among them: that is judged when
// the commit comes.
func (c *cluster) permitted(gs *v1alpha1.GitSync, want declarations, base map[ownership.ID]*ownership.Entry, r *Result) error {
	objects := r.Objects
	defer func() { r.Note = unlisted(gs, objects) }()
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
			if len(d.Paths) == listedPaths && len(o.Changes) > listedPaths {
				o.Message = fmt.Sprintf("%s permits %d of its fields, and more than %d are not told: perhaps all of them", d.Rule, listedPaths, listedPaths)
			}
			continue
		}
		o.State, o.Message = Permitted, "permitted by "+d.Rule
		if d.Until != nil {
			o.Message += " until " + d.Until.UTC().Format(time.RFC3339)
		}
	}
	return nil
}

// listedPaths is how many paths of an object the status lists.
const listedPaths = 5

// unlisted says how many differences may be permitted of which the status does
// not tell; empty where it tells of all.
func unlisted(gs *v1alpha1.GitSync, objects []Object) string {
	drift := gs.Status.Drift
	n := int(drift.Current) + int(drift.Permitted) - len(drift.Objects)
	if drift.Permitted == 0 || n <= 0 || !slices.ContainsFunc(objects, func(o Object) bool { return o.State == Differs }) {
		return ""
	}
	return fmt.Sprintf("… and %d more objects differ from what is applied that the GitSync's status does not list: what differs here may be permitted", n)
}
