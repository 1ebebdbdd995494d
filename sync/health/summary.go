// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// Object is the health of one object by name.
type Object struct {
	ID ownership.ID
	Result
}

// String names the object and says what it lacks.
func (o Object) String() string {
	name := o.ID.Kind + " " + o.ID.Name
	if o.ID.Namespace != "" {
		name = o.ID.Kind + " " + o.ID.Namespace + "/" + o.ID.Name
	}
	if o.Message == "" {
		return name + ": " + string(o.State)
	}
	return name + ": " + o.Message
}

// Kind counts the objects of a kind.
type Kind struct {
	schema.GroupKind
	Total, Ready int
}

// Summary of many objects.
type Summary struct {
	Total, Ready int
	// Kinds by name.
	Kinds []Kind
	// NotReady are the others, failed ones first, then by name.
	NotReady []Object
	// Failed of them, and Unseen: no watch has shown those yet, as it is for a
	// moment after a start.
	Failed, Unseen int
}

// Summarize counts objects.
func Summarize(objects []Object) Summary {
	var s Summary
	kinds := map[schema.GroupKind]*Kind{}
	for _, o := range objects {
		k := kinds[o.ID.GroupKind()]
		if k == nil {
			k = &Kind{GroupKind: o.ID.GroupKind()}
			kinds[o.ID.GroupKind()] = k
		}
		s.Total++
		k.Total++
		if o.Ready() {
			s.Ready++
			k.Ready++
			continue
		}
		s.NotReady = append(s.NotReady, o)
		switch {
		case o.State == Failed:
			s.Failed++
		case o.Result == unseen:
			s.Unseen++
		}
	}
	for _, k := range kinds {
		s.Kinds = append(s.Kinds, *k)
	}
	slices.SortFunc(s.Kinds, func(a, b Kind) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Group, b.Group))
	})
	slices.SortFunc(s.NotReady, func(a, b Object) int {
		return cmp.Or(order(a)-order(b), strings.Compare(a.ID.String(), b.ID.String()))
	})
	return s
}

func order(o Object) int {
	if o.State == Failed {
		return 0
	}
	return 1
}

// String says how many are ready and what is waited for.
func (s Summary) String() string {
	words := fmt.Sprintf("%d of %d ready", s.Ready, s.Total)
	if len(s.NotReady) == 0 {
		return words
	}
	shown := s.NotReady[:min(len(s.NotReady), 3)]
	parts := make([]string, 0, len(shown)+1)
	for _, o := range shown {
		parts = append(parts, o.String())
	}
	if n := len(s.NotReady) - len(shown); n > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", n))
	}
	return words + "; waiting for " + strings.Join(parts, "; ")
}
