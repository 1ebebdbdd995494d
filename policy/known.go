// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// SetKnown says whether all objects of a kind have been handed to SetObject; a
// kind that is not installed is known to have none. The group is empty for the
// core group. It counts where Options.AwaitObjects is set.
func (e *Engine) SetKnown(kind schema.GroupKind, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := map[schema.GroupKind]bool{}
	if now := e.known.Load(); now != nil {
		if (*now)[kind] == known {
			return
		}
		maps.Copy(next, *now)
	}
	next[kind] = known
	e.known.Store(&next)
	close(e.changed)
	e.changed = make(chan struct{})
}

// notListed is a kind of data.cluster whose objects are not known yet.
type notListed struct{ kind schema.GroupKind }

func (e *notListed) Error() string {
	return fmt.Sprintf("it reads objects of kind %s, which Mainstay has not listed yet: "+
		"try again in a moment; if this stays, its account may not list them", e.kind)
}

// unlisted is an error where a source reads objects that have not been listed:
// what is missing then must not count as absent.
func (e *Engine) unlisted(s *source) error {
	if !e.options.AwaitObjects || len(s.needs) == 0 {
		return nil
	}
	known := e.known.Load()
	for _, kind := range s.needs {
		if known == nil || !(*known)[kind] {
			return &notListed{kind}
		}
	}
	return nil
}
