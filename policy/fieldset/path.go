// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/valyala/fastjson"
)

// Segment is one step of a path: a field, or what selects a list's element.
// Exactly one of its members is set.
type Segment struct {
	// Field of an object.
	Field string
	// Keys select the element of a list by merge key, sorted by name.
	Keys []Key
	// Value selects the element of a set: raw JSON.
	Value string
}

// Key is one name and value of a merge key.
type Key struct {
	Name string
	// Value as it is written in a path: bare where that is unambiguous,
	// otherwise a JSON string.
	Value string
}

// Path leads from an object's root to a field or element.
type Path []Segment

// String writes the path in the one notation that refusals, policies and logs
// use:
//
//	spec.template.spec.containers[name=web].image
//	spec.ports[containerPort=80,protocol=TCP]
//	metadata.annotations["cert-manager.io/inject-ca-from"]
//	metadata.finalizers[="example.com/x"]
func (p Path) String() string {
	var b strings.Builder
	for i, s := range p {
		s.write(&b, i == 0)
	}
	return b.String()
}

func (s Segment) write(b *strings.Builder, first bool) {
	switch {
	case s.Keys != nil:
		b.WriteByte('[')
		for i, k := range s.Keys {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(k.Name)
			b.WriteByte('=')
			b.WriteString(k.Value)
		}
		b.WriteByte(']')
	case s.Value != "":
		b.WriteString("[=")
		b.WriteString(s.Value)
		b.WriteByte(']')
	case identifier(s.Field):
		if !first {
			b.WriteByte('.')
		}
		b.WriteString(s.Field)
	default:
		b.WriteByte('[')
		b.WriteString(quote(s.Field))
		b.WriteByte(']')
	}
}

// String writes a single segment as it stands in a path.
func (s Segment) String() string {
	var b strings.Builder
	s.write(&b, true)
	return b.String()
}

func (s Segment) equal(o Segment) bool {
	if s.Field != o.Field || s.Value != o.Value || len(s.Keys) != len(o.Keys) {
		return false
	}
	for i := range s.Keys {
		if s.Keys[i] != o.Keys[i] {
			return false
		}
	}
	return true
}

// Equal tells whether two paths are the same.
func (p Path) Equal(o Path) bool {
	return len(p) == len(o) && p.HasPrefix(o)
}

// HasPrefix tells whether p is prefix or lies below it.
func (p Path) HasPrefix(prefix Path) bool {
	if len(p) < len(prefix) {
		return false
	}
	for i := range prefix {
		if !p[i].equal(prefix[i]) {
			return false
		}
	}
	return true
}

// With returns a new path with one more segment.
func (p Path) With(s Segment) Path {
	return append(slices.Clip(p), s)
}

// Parse reads a path in the notation of Path.String. Its errors say at which
// character.
func Parse(text string) (Path, error) {
	pattern, err := parse(text, false)
	if err != nil {
		return nil, err
	}
	path := make(Path, len(pattern))
	for i := range pattern {
		path[i] = pattern[i].segment
	}
	return path, nil
}

// Pattern is a path in which * stands for one key or element and ** for any
// depth. It covers what it matches and everything below.
type Pattern []patternSegment

type patternSegment struct {
	segment  Segment
	one, any bool
}

// Step is one step of a pattern: a segment, or one or any number of them.
type Step struct {
	Segment
	One, Any bool
}

// Steps are the pattern piece by piece.
func (p Pattern) Steps() []Step {
	out := make([]Step, len(p))
	for i, s := range p {
		out[i] = Step{Segment: s.segment, One: s.one, Any: s.any}
	}
	return out
}

// ParsePattern reads a pattern. Its errors say at which character.
func ParsePattern(text string) (Pattern, error) {
	return parse(text, true)
}

// Covers tells whether the pattern matches path or one of its parents.
//
// Between two ** the leftmost match is the best one, since it leaves the most
// for what follows: so the time is at most the product of the two lengths.
func (p Pattern) Covers(path Path) bool {
	for anchored := true; ; anchored = false {
		end := 0
		for end < len(p) && !p[end].any {
			end++
		}
		at := p[:end].find(path, anchored)
		if at < 0 {
			return false
		}
		if end == len(p) {
			return true
		}
		path, p = path[at+end:], p[end+1:]
	}
}

// find returns where in path the segments of p, which has no **, match first:
// only at its start if anchored. It is -1 where they don't.
func (p Pattern) find(path Path, anchored bool) int {
	for at := 0; at+len(p) <= len(path); at++ {
		match := true
		for i, s := range p {
			if !s.one && !s.segment.equal(path[at+i]) {
				match = false
				break
			}
		}
		if match {
			return at
		}
		if anchored {
			break
		}
	}
	return -1
}

func parse(text string, wild bool) (Pattern, error) {
	if text == "" {
		return nil, fmt.Errorf("path is empty")
	}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("path %q is not UTF-8", text)
	}
	var out Pattern
	fail := func(at int, what string) (Pattern, error) {
		return nil, fmt.Errorf("path %q, character %d: %s", text, at+1, what)
	}
	for i := 0; i < len(text); {
		switch text[i] {
		case '[':
			s, next, err := parseBracket(text, i, wild)
			if err != nil {
				return nil, err
			}
			out, i = append(out, s), next
		default:
			if text[i] == '.' {
				if i == 0 {
					return fail(i, "a path does not start with a dot")
				}
				i++
			} else if i > 0 {
				return fail(i, "expected . or [")
			}
			end := i
			for end < len(text) && text[end] != '.' && text[end] != '[' {
				end++
			}
			field := text[i:end]
			switch {
			case wild && field == "*":
				out = append(out, patternSegment{one: true})
			case wild && field == "**":
				out = append(out, patternSegment{any: true})
			case !identifier(field):
				return fail(i, `a key that is no identifier is written ["like.this"]`)
			default:
				out = append(out, patternSegment{segment: Segment{Field: field}})
			}
			i = end
		}
	}
	return out, nil
}

// parseBracket reads the [..] at text[at:] and returns where it ends.
func parseBracket(text string, at int, wild bool) (patternSegment, int, error) {
	fail := func(at int, what string) (patternSegment, int, error) {
		return patternSegment{}, 0, fmt.Errorf("path %q, character %d: %s", text, at+1, what)
	}
	i := at + 1
	if i >= len(text) {
		return fail(i, "unclosed [")
	}
	closing := func(i int) bool { return i < len(text) && text[i] == ']' }
	switch {
	case wild && text[i] == '*' && closing(i+1):
		return patternSegment{one: true}, i + 2, nil
	case text[i] == '"':
		raw, end, ok := scanString(text, i)
		var field string
		if !ok || json.Unmarshal([]byte(raw), &field) != nil {
			return fail(i, "unclosed string")
		}
		if !closing(end) {
			return fail(end, "expected ]")
		}
		return patternSegment{segment: Segment{Field: field}}, end + 1, nil
	case text[i] == '=':
		end := i + 1
		if end < len(text) && text[end] == '"' {
			var ok bool
			if _, end, ok = scanString(text, end); !ok {
				return fail(i, "unclosed string")
			}
		} else {
			for end < len(text) && text[end] != ']' {
				end++
			}
		}
		if !closing(end) {
			return fail(end, "expected ]")
		}
		value := text[i+1 : end]
		if value, ok := canonicalText(value); ok {
			return patternSegment{segment: Segment{Value: value}}, end + 1, nil
		}
		return fail(i+1, `an element of a set is written [="value"] or [=5]`)
	}
	return parseKeySelector(text, i)
}

// parseKeySelector reads key=value,key=value] at text[i:].
func parseKeySelector(text string, i int) (patternSegment, int, error) {
	fail := func(at int, what string) (patternSegment, int, error) {
		return patternSegment{}, 0, fmt.Errorf("path %q, character %d: %s", text, at+1, what)
	}
	closing := func(i int) bool { return i < len(text) && text[i] == ']' }
	keys := []Key{}
	for {
		end := i
		for end < len(text) && text[end] != '=' && text[end] != ']' {
			end++
		}
		if end == i || end >= len(text) || text[end] != '=' {
			return fail(i, "expected key=value")
		}
		name := text[i:end]
		if strings.ContainsAny(name, "\"[,*") || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' }) {
			return fail(i, "expected the name of a merge key")
		}
		if slices.ContainsFunc(keys, func(k Key) bool { return k.Name == name }) {
			return fail(i, "this key is given twice")
		}
		i = end + 1
		if i < len(text) && text[i] == '"' {
			raw, stop, ok := scanString(text, i)
			var value string
			if !ok || json.Unmarshal([]byte(raw), &value) != nil {
				return fail(i, "unclosed string")
			}
			keys = append(keys, Key{Name: name, Value: bare(value)})
			i = stop
		} else {
			stop := i
			for stop < len(text) && text[stop] != ',' && text[stop] != ']' {
				stop++
			}
			if stop == i {
				return fail(i, "expected a value")
			}
			value := text[i:stop]
			if !scalar(value) {
				value = bare(value)
			}
			keys = append(keys, Key{Name: name, Value: value})
			i = stop
		}
		if closing(i) {
			sortKeys(keys)
			return patternSegment{segment: Segment{Keys: keys}}, i + 1, nil
		}
		if i >= len(text) || text[i] != ',' {
			return fail(i, "expected , or ]")
		}
		i++
	}
}

// scalar tells whether a text is a JSON number, true, false or null, as a
// merge key's value is written without quotes.
func scalar(s string) bool {
	return json.Valid([]byte(s)) && !strings.ContainsAny(s, "\"[{ \t\r\n")
}

// canonicalText is a JSON text in its one form.
func canonicalText(s string) (string, bool) {
	if !json.Valid([]byte(s)) {
		return "", false
	}
	v, err := fastjson.Parse(s)
	if err != nil {
		return "", false
	}
	return raw(v), true
}

// scanString returns the JSON string that starts at text[at].
func scanString(text string, at int) (raw string, end int, ok bool) {
	for i := at + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return text[at : i+1], i + 1, true
		}
	}
	return "", len(text), false
}

func sortKeys(keys []Key) {
	for i := 1; i < len(keys); i++ {
		for j := i; j > 0 && keys[j].Name < keys[j-1].Name; j-- {
			keys[j], keys[j-1] = keys[j-1], keys[j]
		}
	}
}

// identifier tells whether a field can be written without quotes.
func identifier(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && (c == '-' || '0' <= c && c <= '9'):
		case i == 0 && c == '$':
		default:
			return false
		}
	}
	return true
}

// bare writes a merge key's string value: as it is where nothing in it could
// be read as part of the notation.
func bare(s string) string {
	if s == "" || mayBeJSON(s) && json.Valid([]byte(s)) {
		return quote(s) // a number in a string stays a string
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c == ',' || c == ']' || c == '[' || c == '"' || c == '=' || c == '\\' || c >= 0x7f {
			return quote(s)
		}
	}
	return s
}

// mayBeJSON tells by the first byte; most names are no JSON.
func mayBeJSON(s string) bool {
	switch c := s[0]; {
	case c >= 'a' && c <= 'z':
		return s == "true" || s == "false" || s == "null"
	default:
		return c < 'A' || c > 'Z'
	}
}

func quote(s string) string {
	if plain(s) {
		return `"` + s + `"`
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// A string always encodes; Encode ends it with a newline.
	if err := enc.Encode(s); err != nil {
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// plain tells whether a string needs nothing but quotes to be JSON.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}
