// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"strconv"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// Place is the file and line that set the field at path, or the nearest one
// above it that is known. It parses Desired: ask it only for people.
func (c *Content) Place(path fieldset.Path) (file string, line int) {
	file, line = c.File, c.Line
	if c.Lines == "" {
		return file, line
	}
	at, err := fastjson.ParseBytes(c.Desired)
	if err != nil {
		return file, line
	}
	var key strings.Builder
	for _, s := range path {
		next := fieldset.At(at, fieldset.Path{s})
		if next == nil {
			return file, line
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
			entry, _, _ := strings.Cut(rest, "\n")
			colon := strings.LastIndexByte(entry, ':')
			n, err := strconv.Atoi(entry[colon+1:])
			if err != nil {
				continue
			}
			file, line = c.File, n
			if colon > 0 {
				file = entry[:colon]
			}
		}
	}
	return file, line
}

// EscapeStep writes a field as a step in Content.Lines.
func EscapeStep(field string) string {
	return strings.NewReplacer("\n", "~n", "\t", "~t").Replace(fieldset.EscapePointer(field))
}
