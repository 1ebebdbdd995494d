// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// detail is what the status says of an object that differs from git.
func detail(record *ownership.Record, st *standing) v1alpha1.DriftedObject {
	d := v1alpha1.DriftedObject{
		Group: record.Group, Kind: record.Kind, Namespace: record.Namespace, Name: record.Name,
		State: v1alpha1.StatePermitted, Rule: st.decision.Rule,
	}
	var fields []policy.Field
	if st.current() > 0 {
		d.State, d.Rule, fields = v1alpha1.StateDiffers, "", st.refused
	} else {
		for _, p := range st.permitted {
			if p.field.Path != nil && (p.recorded || p.field.Declared) { // being gone has none
				fields = append(fields, p.field)
			}
		}
	}
	for _, f := range fields[:min(len(fields), maxPaths)] {
		d.Paths = append(d.Paths, short(f.Path.String()))
		d.Manager = cmp.Or(d.Manager, f.Manager)
	}
	if len(st.held) > 0 && st.current() == 0 {
		d.Rule = st.held[0].permit.Rule
	}
	if st.until != nil {
		until := metav1.NewTime(*st.until).Rfc3339Copy()
		d.Until = &until
	}
	return d
}

// drifted are the objects of a GitSync that differ from git, for its status:
// those that may not first.
func (g *guard) drifted(key types.NamespacedName) []v1alpha1.DriftedObject {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []v1alpha1.DriftedObject
	for id, d := range g.details {
		if g.state[id].sync == key {
			if _, fights := g.fights.Of(id); fights && d.State == v1alpha1.StateDiffers {
				d.State = v1alpha1.StateFight
			}
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b v1alpha1.DriftedObject) int {
		return cmp.Or(rank(a)-rank(b), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return all[:min(len(all), maxDrifted)]
}

func rank(d v1alpha1.DriftedObject) int {
	return slices.Index([]string{v1alpha1.StateFight, v1alpha1.StateDiffers, v1alpha1.StatePermitted}, d.State)
}
