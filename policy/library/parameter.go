// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package library

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// Parameter is one value that a policy takes, as a member of the object that
// spec.policies.parameters has under the policy's name.
type Parameter struct {
	Name string `json:"name"`
	// About is what it is for, in one sentence.
	About string `json:"about"`
	// Default is what counts where it is not given; nil where the policy does
	// nothing without it.
	Default any `json:"default,omitempty"`
	// Shape is the form of its value: the name of a kind of scalar, a list with
	// one shape, or an object of shapes in which a key with a ? may be missing.
	Shape any `json:"shape"`
}

// scalars are the kinds of scalars in a shape: what they are, and whether a
// value is one.
var scalars = map[string]struct {
	is    string
	valid func(v any) bool
}{
	"text":     {"a text", text(func(s string) bool { return s != "" })},
	"flag":     {"true or false", func(v any) bool { _, ok := v.(bool); return ok }},
	"count":    {"a whole number from 0", func(v any) bool { f, ok := v.(float64); return ok && f >= 0 && f == float64(int64(f)) }},
	"account":  {"a service account as NAMESPACE:NAME, with * for any text", text(regexp.MustCompile(`^[-a-z0-9*.]+:[-a-z0-9*.]+$`).MatchString)},
	"duration": {"a duration such as 2h30m", text(func(s string) bool { d, err := time.ParseDuration(s); return err == nil && d > 0 })},
	"time":     {"a time such as 2026-12-31T18:00:00Z", text(func(s string) bool { _, err := time.Parse(time.RFC3339, s); return err == nil })},
	"zone":     {"a time zone such as Europe/Berlin", text(func(s string) bool { _, err := time.LoadLocation(s); return err == nil && s != "" && s != "Local" })},
	"window":   {"a time of day such as 22:00-06:00", text(regexp.MustCompile(`^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$`).MatchString)},
	"day":      {"a day such as Monday", text(func(s string) bool { return slices.Contains(days, s) })},
	"path":     {"a path such as spec.replicas", text(func(s string) bool { _, err := fieldset.ParsePattern(s); return err == nil })},
}

var days = []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}

func text(valid func(string) bool) func(any) bool {
	return func(v any) bool {
		s, ok := v.(string)
		return ok && valid(s)
	}
}

// check tells what is wrong with a parameter's own definition.
func (p *Parameter) check() error {
	if p.Name == "" || p.About == "" || p.Shape == nil {
		return fmt.Errorf("name, about and shape are required")
	}
	if p.Default == nil {
		return nil
	}
	return fits(p.Name, p.Default, p.Shape)
}

// Check tells what is wrong with the parameters that are given to a policy,
// nothing for the absent.
func (p *Policy) Check(given json.RawMessage) error {
	if len(given) == 0 {
		return nil
	}
	var values map[string]any
	if err := json.Unmarshal(given, &values); err != nil || values == nil {
		return fmt.Errorf("parameters.%s is an object", p.Name)
	}
	names := make([]string, 0, len(p.Parameters))
	for _, parameter := range p.Parameters {
		names = append(names, parameter.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		at := slices.Index(names, name)
		if at < 0 {
			return fmt.Errorf("the library's %s has no parameter %q (%s)", p.Name, name, nearest(name, names))
		}
		if err := fits("parameters."+p.Name+"."+name, values[name], p.Parameters[at].Shape); err != nil {
			return err
		}
	}
	return nil
}

// fits tells where a value does not have a shape.
func fits(at string, v, shape any) error {
	switch shape := shape.(type) {
	case string:
		scalar, ok := scalars[shape]
		if !ok {
			return fmt.Errorf("%s: there is no shape %q", at, shape)
		}
		if !scalar.valid(v) {
			return fmt.Errorf("%s is %s, not %s", at, scalar.is, written(v))
		}
		return nil
	case []any:
		list, ok := v.([]any)
		if !ok || len(shape) != 1 {
			return fmt.Errorf("%s is a list, not %s", at, written(v))
		}
		for i, item := range list {
			if err := fits(fmt.Sprintf("%s[%d]", at, i), item, shape[0]); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		return fitsObject(at, v, shape)
	}
	return fmt.Errorf("%s: a shape is a text, a list or an object", at)
}

func fitsObject(at string, v any, shape map[string]any) error {
	object, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is an object, not %s", at, written(v))
	}
	known := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(shape)) {
		name, optional := strings.CutSuffix(key, "?")
		known[name] = shape[key]
		if _, given := object[name]; !given && !optional {
			return fmt.Errorf("%s.%s is missing", at, name)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		below, ok := known[key]
		if !ok {
			return fmt.Errorf("%s has no %q (%s)", at, key, nearest(key, slices.Sorted(maps.Keys(known))))
		}
		if err := fits(at+"."+key, object[key], below); err != nil {
			return err
		}
	}
	return nil
}

func written(v any) string {
	text, err := json.Marshal(v)
	if err != nil || len(text) > 60 {
		return "what is given"
	}
	return string(text)
}
