// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// answer is one value that an exception or deny yielded.
type answer struct {
	name    string // for example hpa.exception
	key     string // of the source
	builtin bool
	shipped bool // of the library
	// file and row are where the rule is.
	file string
	row  int

	reason, severity, next, warn string
	until                        *time.Time
	// held is until when what is permitted stands after its end, of a grant that
	// holds.
	held       *time.Time
	ttl        bool // until was counted from now
	final      bool
	unrecorded bool
	hasPaths   bool
	patterns   []fieldset.Pattern
	// exact are the patterns as they were written: a rule that lists the very
	// paths of a change needs no matching.
	exact []string
	// grant is set where no policy but a BreakGlass gave the answer.
	grant *Grant
}

// keysOf are the keys that the value of a rule may have.
func keysOf(kind string, ours bool) []string {
	switch {
	case kind == kindDeny:
		return []string{"reason", "severity", "final", "until", "next"}
	case ours:
		return []string{"reason", "paths", "until", "ttl", "warn", "severity", "record"}
	default:
		return []string{"reason", "paths", "until", "ttl", "warn", "severity"}
	}
}

// answers reads all answers of a deny query; one that breaks the contract is an
// error for all.
func (s *source) answers(terms []*ast.Term, kind string, now time.Time) ([]*answer, error) {
	out := make([]*answer, 0, len(terms))
	for _, t := range terms {
		a, err := s.answer(t, kind, now)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// answer reads [name, file, row, value].
func (s *source) answer(t *ast.Term, kind string, now time.Time) (*answer, error) {
	tuple, ok := t.Value.(*ast.Array)
	if !ok || tuple.Len() != 4 {
		return nil, fmt.Errorf("%s: the answer has an unknown form", s.Key)
	}
	name, _ := tuple.Elem(0).Value.(ast.String)
	file, _ := tuple.Elem(1).Value.(ast.String)
	a := &answer{name: string(name), key: s.Key, builtin: s.builtin(), shipped: shippedRule(string(name)), file: string(file)}
	if row, ok := tuple.Elem(2).Value.(ast.Number); ok {
		a.row, _ = row.Int()
	}
	if err := a.read(s, kind, tuple.Elem(3).Value, now); err != nil {
		where := ""
		if file != "" {
			where = fmt.Sprintf(" (%s:%s)", string(file), tuple.Elem(2))
		}
		return nil, fmt.Errorf("%s%s: %w", a.name, where, err)
	}
	return a, nil
}

func (a *answer) read(s *source, kind string, value ast.Value, now time.Time) error {
	object, ok := value.(ast.Object)
	if !ok {
		return fmt.Errorf("the value must be an object, not %s", ast.ValueName(value))
	}
	known := keysOf(kind, a.builtin || a.shipped)
	err := object.Iter(func(k, v *ast.Term) error {
		text, ok := k.Value.(ast.String)
		key := string(text)
		if !ok || !slices.Contains(known, key) {
			return fmt.Errorf("unknown key %s (%s)", k, nearest(key, known))
		}
		member, err := readMember(key, v.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		switch key {
		case "reason":
			a.reason = member.text
		case "severity":
			a.severity = member.text
		case "next":
			a.next = member.text
		case "warn":
			a.warn = member.text
		case "final":
			a.final = member.flag
		case "record":
			a.unrecorded = !member.flag
		case "until":
			a.end(member.time)
		case "ttl":
			a.ttl = true
			a.end(now.Add(member.duration))
		case "paths":
			a.hasPaths, a.exact = true, member.list
		}
		return nil
	})
	if err != nil {
		return err
	}
	if a.reason == "" {
		return fmt.Errorf(`"reason" is missing`)
	}
	for _, text := range a.exact {
		p, err := s.pattern(text)
		if err != nil {
			return fmt.Errorf("paths: %w", err)
		}
		a.patterns = append(a.patterns, p)
	}
	return nil
}

// end keeps the earlier of two ends.
func (a *answer) end(t time.Time) {
	if a.until == nil || t.Before(*a.until) {
		a.until = &t
	}
}

func (a *answer) expired(now time.Time) bool {
	return a.until != nil && !now.Before(*a.until)
}

func (a *answer) covers(path fieldset.Path, text string) bool {
	return slices.Contains(a.exact, text) ||
		slices.ContainsFunc(a.patterns, func(p fieldset.Pattern) bool { return p.Covers(path) })
}

// compare puts the better exception first: the one without an end, or with the
// later one; then the one that needs no record; then by name.
func (a *answer) compare(b *answer) int {
	switch {
	case a.until == nil && b.until != nil:
		return -1
	case a.until != nil && b.until == nil:
		return 1
	case a.until != nil && !a.until.Equal(*b.until):
		return b.until.Compare(*a.until)
	case a.unrecorded != b.unrecorded:
		if a.unrecorded {
			return -1
		}
		return 1
	}
	return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.key, b.key), strings.Compare(a.reason, b.reason))
}

// member is the value of one key, by its type.
type member struct {
	text     string
	flag     bool
	time     time.Time
	duration time.Duration
	list     []string
}

// readMember checks the type of one key's value.
func readMember(key string, v ast.Value) (member, error) {
	text, isText := v.(ast.String)
	switch key {
	case "final", "record":
		flag, ok := v.(ast.Boolean)
		if !ok {
			return member{}, fmt.Errorf("must be true or false, not %s", ast.ValueName(v))
		}
		return member{flag: bool(flag)}, nil
	case "until":
		if !isText {
			return member{}, fmt.Errorf("must be a time such as 2026-12-31T18:00:00Z, not %s", ast.ValueName(v))
		}
		t, err := time.Parse(time.RFC3339, string(text))
		if err != nil {
			return member{}, fmt.Errorf("%s is no time such as 2026-12-31T18:00:00Z", text)
		}
		return member{time: t}, nil
	case "ttl":
		if !isText {
			return member{}, fmt.Errorf("must be a duration such as 2h30m, not %s", ast.ValueName(v))
		}
		d, err := time.ParseDuration(string(text))
		if err != nil || d <= 0 {
			return member{}, fmt.Errorf("%s is no duration such as 2h30m", text)
		}
		return member{duration: d}, nil
	case "paths":
		list, err := readPaths(v)
		return member{list: list}, err
	default:
		if !isText || text == "" {
			return member{}, fmt.Errorf("must be a text, not %s", ast.ValueName(v))
		}
		return member{text: string(text)}, nil
	}
}

func readPaths(v ast.Value) ([]string, error) {
	list := []string{}
	read := func(t *ast.Term) error {
		text, ok := t.Value.(ast.String)
		if !ok {
			return fmt.Errorf("must be texts, not %s", ast.ValueName(t.Value))
		}
		list = append(list, string(text))
		return nil
	}
	switch v := v.(type) {
	case *ast.Array:
		return list, v.Iter(read)
	case ast.Set:
		return list, v.Iter(read)
	}
	return nil, fmt.Errorf("must be an array or a set, not %s", ast.ValueName(v))
}

// patternCacheSize bounds what is remembered of a source's patterns, since a
// rule may make them up from its input.
const patternCacheSize = 1024

// pattern parses a path pattern, once for each text.
func (s *source) pattern(text string) (fieldset.Pattern, error) {
	s.mu.Lock()
	p, ok := s.patterns[text]
	s.mu.Unlock()
	if ok {
		return p, nil
	}
	p, err := fieldset.ParsePattern(text)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if len(s.patterns) >= patternCacheSize {
		clear(s.patterns)
	}
	s.patterns[text] = p
	s.mu.Unlock()
	return p, nil
}
