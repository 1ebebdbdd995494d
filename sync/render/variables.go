// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	reference    = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)(:=([^}]*))?\}`)
)

func checkVariables(variables map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if !variableName.MatchString(name) {
			return fmt.Errorf("spec.render.variables: %q is no name for a variable: use letters, digits and _, and no digit first", name)
		}
	}
	return nil
}

// substitute replaces the references in every string of the object but its
// apiVersion and kind, and in no key.
func (c *candidate) substitute(annotations map[string]string) bool {
	if c.variables == nil || annotations[v1alpha1.SubstituteAnnotation] == v1alpha1.SubstituteDisabled {
		return true
	}
	s := &substitution{c: c, ok: true}
	for _, key := range slices.Sorted(maps.Keys(c.value)) {
		if key != "apiVersion" && key != "kind" {
			c.value[key] = s.walk(c.value[key], []any{key})
		}
	}
	return s.ok
}

type substitution struct {
	c  *candidate
	ok bool
}

func (s *substitution) walk(value any, steps []any) any {
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			value[key] = s.walk(value[key], append(slices.Clip(steps), key))
		}
	case []any:
		for i := range value {
			value[i] = s.walk(value[i], append(slices.Clip(steps), i))
		}
	case string:
		if strings.Contains(value, "${") {
			return s.replace(value, steps)
		}
	}
	return value
}

// replace returns the string with its references replaced. What was one
// reference without quotes is read again, as it would have been had the value
// been written there; everything else stays a string.
func (s *substitution) replace(text string, steps []any) any {
	result, err := expand(text, s.c.variables)
	if err != nil {
		s.ok = false
		if s.c.isSecret() {
			// The text may be part of what is secret.
			err = errors.New("a ${ in this value refers to no variable of spec.render.variables: write $${ for ${ itself")
		}
		s.c.problem(steps, "%s", err)
		return text
	}
	if match := reference.FindString(text); match != text || steps[0] == "metadata" || !s.unquoted(steps) {
		return result
	}
	var value any
	if err := yaml.Unmarshal([]byte(result), &value); err != nil {
		return result
	}
	switch value := value.(type) {
	case bool:
		return value
	case float64:
		if whole := int64(value); float64(whole) == value && !strings.ContainsAny(result, ".eE") {
			return whole
		}
		return value
	}
	return result
}

// unquoted tells that the scalar at the path was written without quotes.
func (s *substitution) unquoted(steps []any) bool {
	node, _ := s.c.doc.find(slices.Concat(s.c.steps, steps)...)
	if node != nil && node.Kind == yamlv3.AliasNode {
		node = node.Alias
	}
	return node != nil && node.Kind == yamlv3.ScalarNode && node.Style == 0 && node.Tag == "!!str"
}

// expand replaces ${name} and ${name:=default}; $${ becomes ${. What is in
// braces and neither is an error: to pass over it would apply it as it is.
func expand(text string, variables map[string]string) (string, error) {
	var out strings.Builder
	for {
		at := strings.Index(text, "${")
		if at < 0 {
			out.WriteString(text)
			return out.String(), nil
		}
		if at > 0 && text[at-1] == '$' {
			out.WriteString(text[:at] + "{")
			text = text[at+2:]
			continue
		}
		out.WriteString(text[:at])
		text = text[at:]
		match := reference.FindStringSubmatch(text)
		if match == nil {
			shown, _, _ := strings.Cut(text, "\n")
			return "", fmt.Errorf("%.40q is neither ${name} nor ${name:=default}: write $${ for ${ itself, or annotate the object with %s: %s",
				shown, v1alpha1.SubstituteAnnotation, v1alpha1.SubstituteDisabled)
		}
		value, ok := variables[match[1]]
		if !ok {
			if match[2] == "" {
				return "", fmt.Errorf("variable %s is not defined: set it in spec.render.variables, write ${%s:=default}, or $${%s} for the text itself", match[1], match[1], match[1])
			}
			value = match[3]
		}
		out.WriteString(value)
		text = text[len(match[0]):]
	}
}
