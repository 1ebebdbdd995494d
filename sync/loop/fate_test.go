// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"testing"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func TestAGitSyncDoesNotDeleteItself(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	gs := s.look()
	id := ownership.ID{Group: v1alpha1.GroupVersion.Group, Kind: "GitSync", Namespace: gs.Namespace, Name: gs.Name}
	for name, tt := range map[string]struct {
		id   ownership.ID
		ends bool
		want fateKind
	}{
		"when a commit drops it":                    {id, false, released},
		"nor waits for itself when it is deleted":   {id, true, released},
		"but another GitSync that was dropped goes": {ownership.ID{Group: id.Group, Kind: id.Kind, Namespace: id.Namespace, Name: "other"}, false, pruned},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.loop.begin(gs, ownership.Revision{})
			a.ends, a.leaving = tt.ends, []ownership.ID{tt.id}
			a.entries[tt.id] = &ownership.Entry{ID: tt.id, Version: "v1alpha1", Resource: "gitsyncs", Pruning: true, Applied: &ownership.Content{}}
			must(t, s.loop.decideFates(t.Context(), a))
			if got := a.fates[tt.id].what; got != tt.want {
				t.Errorf("fate %d, want %d", got, tt.want)
			}
		})
	}
}
