// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package library

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// knows is metadata: whose writes a policy is made for. Each list that is given
// has to match.
type knows struct {
	// Accounts are service accounts, NAMESPACE:NAME; * is any text. Managers are
	// the field managers under which the same is found as drift.
	Accounts, Managers []string
	// Kinds as Kind or Kind.group; * is any text.
	Kinds []string
	// Paths of which one is changed.
	Paths []string
}

type known struct {
	knows
	paths []fieldset.Pattern
}

func (k knows) compile() (known, error) {
	out := known{knows: k}
	if len(k.Accounts) == 0 || len(k.Kinds) == 0 || len(k.Paths) == 0 {
		return out, fmt.Errorf("knows: accounts, kinds and paths are required")
	}
	for _, text := range k.Paths {
		p, err := fieldset.ParsePattern(text)
		if err != nil {
			return out, fmt.Errorf("knows: %w", err)
		}
		out.paths = append(out.paths, p)
	}
	return out, nil
}

// Write is a write that was refused, or found and not permitted.
type Write struct {
	// Account is the service account that sent it, NAMESPACE:NAME; empty where
	// it was none. Manager is the field manager of what was found, a hint.
	Account, Manager string
	// Group and Kind of the object.
	Group, Kind string
	// Paths that nothing permits.
	Paths []fieldset.Path
}

// Known names the policies that are made for a write like this, sorted. It says
// nothing about the values, which the policy judges once it is on.
func (l *Library) Known(w Write) []string {
	if w.Account == "" && w.Manager == "" {
		return nil
	}
	var names []string
	for _, p := range l.policies {
		if slices.ContainsFunc(p.known, func(k known) bool { return k.matches(w) }) {
			names = append(names, p.Name)
		}
	}
	return names
}

func (k known) matches(w Write) bool {
	if !some(k.Accounts, w.Account) && !some(k.Managers, w.Manager) {
		return false
	}
	if !some(k.Kinds, w.Kind) && !some(k.Kinds, w.Kind+"."+w.Group) {
		return false
	}
	for _, path := range w.Paths {
		if slices.ContainsFunc(k.paths, func(p fieldset.Pattern) bool { return p.Covers(path) }) {
			return true
		}
	}
	return false
}

// some tells whether a text matches one of the patterns; an empty one never
// does.
func some(patterns []string, text string) bool {
	return text != "" && slices.ContainsFunc(patterns, func(p string) bool { return match(p, text) })
}

// match matches a text with a pattern in which * is any text.
func match(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(rest, part)
		if at < 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
