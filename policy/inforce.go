// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// InForce tells whether the rule of a policy, as Permitted.Rule names it, is still
// loaded for an object: what it once permitted does not outlive it. Grants are
// none of its: what becomes of what they permitted, the records of grants say.
func (e *Engine) InForce(record *ownership.Record, rule string) bool {
	sources, _, _ := e.sources.Load().inScope(&Change{Record: record})
	return slices.ContainsFunc(sources, func(s asked) bool {
		return slices.ContainsFunc(s.loaded.Rules, func(r RuleInfo) bool { return r.Name == rule })
	})
}

// Denies tells whether any deny rule may speak of an object: where none does,
// nobody has to be asked about a commit.
func (e *Engine) Denies(record *ownership.Record) bool {
	sources, _, _ := e.sources.Load().inScope(&Change{Record: record})
	return slices.ContainsFunc(sources, func(s asked) bool { return s.source.denials != nil })
}

// Changed is closed when other policies come into force, or an object that they
// read is gone: what stood by the old ones has to be judged again.
func (e *Engine) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}
