// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// maxShown bounds a value in what Mutated says.
const maxShown = 80

// Mutated says in which fields the answer is not what desired, the manifest
// that was sent, says, for example
//
//	spec.replicas git: 2, stored: 3
//
// in document order: somebody's mutating webhook or policy changed them, or the
// kind no longer has them. What the API server itself makes of a value (another
// form of the same quantity, an empty field dropped, a default beside it) is
// left out, and so are the values of Secrets.
func (a *Answer) Mutated(desired []byte) ([]string, error) {
	sent, err := fastjson.ParseBytes(desired)
	if err != nil {
		return nil, fmt.Errorf("parse desired object: %w", err)
	}
	secret := string(sent.GetStringBytes("apiVersion")) == "v1" && string(sent.GetStringBytes("kind")) == "Secret"
	var out []string
	say := func(path fieldset.Path, git, stored *fastjson.Value) {
		if secret {
			out = append(out, path.String()+" is changed")
			return
		}
		out = append(out, fmt.Sprintf("%s git: %s, stored: %s", path, shown(git), shown(stored)))
	}
	for _, d := range fieldset.Compare(sent, a.object, a.mine, nil) {
		switch {
		case d.From == nil, d.Order != nil, kept(d.Path, d.From, d.To):
		case secret && d.Path[0].Field == "stringData":
			if path, stored, same := a.written(d); !same {
				say(path, d.From, stored)
			}
		case secret && d.Path[0].Field == "data" && sent.Exists("stringData", d.Path[len(d.Path)-1].Field):
			// stringData has the last word.
		default:
			say(d.Path, d.From, d.To)
		}
	}
	return out, nil
}

// written finds where the value of a Secret's stringData is kept.
func (a *Answer) written(d fieldset.Difference) (path fieldset.Path, stored *fastjson.Value, same bool) {
	if len(d.Path) != 2 {
		return d.Path, nil, false
	}
	path = fieldset.Path{{Field: "data"}, d.Path[1]}
	stored = a.object.Get("data", d.Path[1].Field)
	value, err := base64.StdEncoding.DecodeString(string(stored.GetStringBytes()))
	return path, stored, err == nil && stored != nil && bytes.Equal(value, d.From.GetStringBytes())
}

// kept tells whether the API server keeps what git says in a form of its own.
func kept(path fieldset.Path, git, stored *fastjson.Value) bool {
	switch {
	case git == nil || unset(git, stored, path):
		return true
	case stored == nil:
		return false
	case git.Type() == fastjson.TypeObject:
		return stored.Type() == fastjson.TypeObject && keptObject(path, git, stored)
	case git.Type() == fastjson.TypeArray:
		return stored.Type() == fastjson.TypeArray && keptList(path, git.GetArray(), stored.GetArray())
	}
	return fieldset.Equal(git, stored) || !exact(path) && alike(scalar(git), scalar(stored))
}

// unset tells whether git's value is the same as none: the API server drops it,
// or puts a default there.
func unset(git, stored *fastjson.Value, path fieldset.Path) bool {
	switch git.Type() {
	case fastjson.TypeNull:
		return true
	case fastjson.TypeObject:
		empty := true
		git.GetObject().Visit(func(_ []byte, v *fastjson.Value) {
			empty = empty && stored == nil && unset(v, nil, path)
		})
		return empty
	case fastjson.TypeArray:
		return len(git.GetArray()) == 0
	case fastjson.TypeString:
		return len(git.GetStringBytes()) == 0 && !exact(path)
	case fastjson.TypeNumber:
		return git.GetFloat64() == 0 && (stored == nil || slices.Contains(defaulted, path[len(path)-1].Field))
	case fastjson.TypeFalse:
		return stored == nil
	case fastjson.TypeTrue:
	}
	return false
}

// defaulted are the fields of probes of which the API server takes 0 for unset.
var defaulted = []string{"timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"}

func keptObject(path fieldset.Path, git, stored *fastjson.Value) bool {
	same := true
	git.GetObject().Visit(func(key []byte, v *fastjson.Value) {
		name := string(key)
		same = same && kept(path.With(fieldset.Segment{Field: name}), v, stored.Get(name))
	})
	return same
}

// keptList compares lists whose elements have no names: element by element, and
// where others added some, each of git's with any that is left.
func keptList(path fieldset.Path, git, stored []*fastjson.Value) bool {
	if len(git) == len(stored) {
		for i := range git {
			if !kept(path, git[i], stored[i]) {
				return false
			}
		}
		return true
	}
	if len(git) > len(stored) || git[0].Type() != fastjson.TypeObject {
		return false
	}
	next := 0
	for _, v := range git {
		at := slices.IndexFunc(stored[next:], func(s *fastjson.Value) bool { return kept(path, v, s) })
		if at < 0 {
			return false
		}
		next += at + 1
	}
	return true
}

// exact tells that the API server keeps the texts of a field as they are.
func exact(path fieldset.Path) bool {
	return len(path) >= 2 && path[0].Field == "metadata" && (path[1].Field == "labels" || path[1].Field == "annotations")
}

// scalar is the text of a string, a number or a boolean.
func scalar(v *fastjson.Value) string {
	if v.Type() == fastjson.TypeString {
		return string(v.GetStringBytes())
	}
	return string(fieldset.Canonical(nil, v))
}

// alike tells whether two texts are forms of one value.
func alike(git, stored string) bool {
	if git == stored {
		return true
	}
	return same(git, stored, resource.ParseQuantity, func(x, y resource.Quantity) bool { return x.Cmp(y) == 0 }) ||
		same(git, stored, time.ParseDuration, func(x, y time.Duration) bool { return x == y }) ||
		same(git, stored, instant, time.Time.Equal) ||
		same(git, stored, netip.ParseAddr, func(x, y netip.Addr) bool { return x.Unmap() == y.Unmap() }) ||
		same(git, stored, netip.ParsePrefix, func(x, y netip.Prefix) bool { return x.Masked() == y.Masked() }) ||
		same(git, stored, wrapped, bytes.Equal)
}

func same[T any](a, b string, parse func(string) (T, error), equal func(x, y T) bool) bool {
	x, err := parse(a)
	if err != nil {
		return false
	}
	y, err := parse(b)
	return err == nil && equal(x, y)
}

func instant(text string) (time.Time, error) { return time.Parse(time.RFC3339Nano, text) }

// wrapped decodes base64 that may be broken into lines.
func wrapped(text string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
}

func shown(v *fastjson.Value) string {
	if v == nil {
		return "nothing"
	}
	text := string(fieldset.Canonical(nil, v))
	if v.Type() == fastjson.TypeString && !strings.ContainsFunc(scalar(v), func(r rune) bool { return r <= ' ' || r == '"' }) && len(text) > 2 {
		text = scalar(v)
	}
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}
