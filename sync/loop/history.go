// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// maxHistory is how many revisions the status remembers.
const maxHistory = 10

// appliedRevision is what the status has to say of an attempt that was brought
// in.
func appliedRevision(a *attempt) *v1alpha1.AppliedRevision {
	r := &v1alpha1.AppliedRevision{
		Revision: a.revision.Name, Author: short(a.revision.Author), Subject: short(a.revision.Subject),
		AppliedAt: metav1.Now().Rfc3339Copy(), Written: count(a.tally.written()), Pruned: count(a.tally.pruned),
	}
	if !a.revision.Time.IsZero() {
		at := metav1.NewTime(a.revision.Time.Truncate(time.Second))
		r.CommittedAt = &at
	}
	return r
}

// remembers puts the revision that was applied last at the head of the history.
// One that was only applied again stays where it is.
func (p *pass) remembers(s *v1alpha1.GitSyncStatus) {
	last := p.history
	if last == nil || len(s.History) > 0 && s.History[0].Revision == last.Revision {
		return
	}
	s.History = append([]v1alpha1.AppliedRevision{*last}, s.History[:min(len(s.History), maxHistory-1)]...)
}
