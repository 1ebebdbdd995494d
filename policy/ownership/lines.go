// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// LineOf is the line in File that sets the field at path, or the nearest one
// above it that is known. It parses Desired: ask it only for people.
func (c *Content) LineOf(path fieldset.Path) int {
	line := c.Line
	if c.Lines == "" {
		return line
	}
	at, err := fastjson.ParseBytes(c.Desired)
	if err != nil {
		return line
	}
	var key strings.Builder
	for _, s := range path {
		next := fieldset.At(at, fieldset.Path{s})
		if next == nil {
			return line
		}
		step := EscapeStep(s.Field)
		if s.Keys != nil || s.Value != "" {
			for i, e := range at.GetArray() {
				if e == next {
					step = strconv.Itoa(i)
				}
			}
		}
		key.WriteString("/" + step)
		at = next
		if _, rest, ok := strings.Cut(c.Lines, "\n"+key.String()+"\t"); ok {
			number, _, _ := strings.Cut(rest, "\n")
			if n, err := strconv.Atoi(number); err == nil {
				line = n
			}
		}
	}
	return line
}

// EscapeStep writes a field as a step in Content.Lines.
func EscapeStep(field string) string {
	return strings.NewReplacer("\n", "~n", "\t", "~t").Replace(fieldset.EscapePointer(field))
}
