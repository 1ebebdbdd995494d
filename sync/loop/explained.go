// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
)

// explained tells whether somebody is answerable for a difference that goes
// back: it was let stand until now, mainstay-off was in force, or a permit
// covers it whose end has come. All else was made while nobody judged, or past
// the API server.
func (g *guard) explained(record *ownership.Record, st *standing, fields []policy.Field) bool {
	g.mu.Lock()
	before, known := g.state[record.ID]
	excused := g.excused[record.ID]
	g.mu.Unlock()
	if excused || g.l.excepted(record.Sync.Key()) || known && before.stood && before.fields == hash(fields) {
		return true
	}
	paths := []string{""} // of a deletion
	if st.change.Operation != policy.Delete {
		paths = paths[:0]
		for _, f := range st.refused {
			paths = append(paths, f.Path.String())
		}
	}
	permits := g.l.Permits.All()
	return !slices.ContainsFunc(paths, func(path string) bool {
		return !slices.ContainsFunc(permits, func(p permit.Permit) bool { return p.ID == record.ID && p.Path == path })
	})
}

// excepted tells whether mainstay-off or a suspension of the GitSync was in force
// until a moment ago, as a new leader finds it.
func (l *Loop) excepted(key types.NamespacedName) bool {
	if _, _, until, ok := l.Off.Asked(); ok && !l.now().Before(until) {
		return true
	}
	return slices.ContainsFunc(l.Permits.All(), func(p permit.Permit) bool {
		return p.Rule == suspend.Rule && p.ID.Namespace == key.Namespace && p.ID.Name == key.Name
	})
}

// excuse notes that an object was looked at while mainstay-off was in force.
func (g *guard) excuse(id ownership.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.excused[id] = true
}
