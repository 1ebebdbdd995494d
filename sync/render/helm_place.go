// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// aligned says which line of a template a line of its text comes from, as well
// as one can tell: templates do not keep it.
type aligned struct {
	lines []int
}

// maxAlign bounds the lines of a template times those of its text.
const maxAlign = 4_000_000

// align finds for each line of the text the line of the template that begins as
// it does, in the order of both, so that as much text as possible is covered.
// What a loop or an include adds is given to the line before.
func align(source, text string) *aligned {
	from, to := prefixes(source), strings.Split(text, "\n")
	a := &aligned{lines: make([]int, len(to))}
	if len(from)*len(to) > maxAlign {
		return a
	}
	for i := range to {
		to[i] = strings.TrimSpace(to[i])
	}
	// best[i][j] is what can be covered from line i of the template and j of the
	// text on.
	best := make([][]int32, len(from)+1)
	for i := range best {
		best[i] = make([]int32, len(to)+1)
	}
	for i, f := range slices.Backward(from) {
		for j := len(to) - 1; j >= 0; j-- {
			best[i][j] = max(best[i+1][j], best[i][j+1])
			if n := f.covers(to[j]); n > 0 {
				best[i][j] = max(best[i][j], best[i+1][j+1]+int32(n))
			}
		}
	}
	for i, j := 0, 0; i < len(from) && j < len(to); {
		n := int32(from[i].covers(to[j]))
		switch {
		case n > 0 && best[i][j] == best[i+1][j+1]+n:
			a.lines[j] = i + 1
			i, j = i+1, j+1
		case best[i][j] == best[i+1][j]:
			i++
		default:
			j++
		}
	}
	a.fill(from, to)
	return a
}

// fill gives the lines that have none that of the nearest line above which may
// have made it, as in a loop, or that of the line before.
func (a *aligned) fill(from []prefix, to []string) {
	last := 0
	for j := range a.lines {
		if a.lines[j] == 0 && to[j] != "" && last > 0 {
			a.lines[j] = last
			for i := last - 1; i >= max(0, last-50); i-- {
				if from[i].covers(to[j]) > 2 {
					a.lines[j] = i + 1
					break
				}
			}
			continue
		}
		if a.lines[j] > 0 {
			last = a.lines[j]
		}
	}
}

// prefix is what a line of a template says before its first action.
type prefix struct {
	text  string
	whole bool
}

// covers is how much of a line the prefix stands for.
func (p prefix) covers(line string) int {
	if p.text == "" || p.whole && p.text != line || !strings.HasPrefix(line, p.text) {
		return 0
	}
	return len(p.text)
}

func prefixes(source string) []prefix {
	var all []prefix
	for line := range strings.SplitSeq(source, "\n") {
		before, _, action := strings.Cut(line, "{{")
		all = append(all, prefix{strings.TrimSpace(before), !action})
	}
	return all
}

// line of the template for a line of the text.
func (a *aligned) line(n int) int {
	for n = min(n, len(a.lines)); n > 0; n-- {
		if line := a.lines[n-1]; line > 0 {
			return line
		}
	}
	return 1
}

// place implements maker.
func (a *aligned) place(d *document, _ []any, line int) (string, int) {
	return d.file, a.line(line)
}

// sum implements maker.
func (a *aligned) sum() uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, a.lines)
	return h.Sum64()
}

var templateAt = regexp.MustCompile(`([^\s()"']+/[^\s()"':]+):(\d+)(:\d+)?`)

var placeAgain = regexp.MustCompile(`^(parse error at \([^)]*\): |execution error at \([^)]*\): |template: \S+ )`)

// failed says in which template, and where, a pass failed.
func (h *release) failed(pass int, err error) error {
	if h.tree.ctx.Err() != nil {
		return err
	}
	message := oneLine(err)
	file, line, name := h.root, 0, ""
	for _, match := range templateAt.FindAllStringSubmatch(message, -1) {
		if known := h.files[match[1]]; known != "" {
			file, name = known, match[1]
			line, _ = strconv.Atoi(match[2])
			break
		}
	}
	// Helm's own words say the place a second time.
	message = placeAgain.ReplaceAllString(message, "")
	for name, known := range h.files {
		message = strings.ReplaceAll(message, name, known)
	}
	if pass > 0 {
		message = "does not render to the same each time and in each cluster" + cmp.Or(h.suspects(name), ": "+message)
	}
	h.problems.add(file, line, "%s", message)
	return nil
}

// differ finds the templates that two passes do not give the same of.
func (h *release) differ(first, second map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(first)) {
		if first[name] == second[name] {
			continue
		}
		a, b := strings.Split(first[name], "\n"), strings.Split(second[name], "\n")
		at := 0
		for at < min(len(a), len(b))-1 && a[at] == b[at] {
			at++
		}
		line := align(h.sources[name], first[name]).line(at + 1)
		h.problems.add(cmp.Or(h.files[name], name), line,
			"does not render to the same each time and in each cluster%s: give the value in spec.render.helm, or take it from a Secret that is made elsewhere", h.suspects(name))
	}
}

// suspects names the calls that may be why: in the template itself, else in
// those that others include.
func (h *release) suspects(name string) string {
	found := h.calls(name)
	for _, other := range slices.Sorted(maps.Keys(h.sources)) {
		if len(found) > 0 {
			break
		}
		if strings.HasSuffix(other, ".tpl") {
			found = h.calls(other)
		}
	}
	if len(found) == 0 {
		return ""
	}
	return " (" + strings.Join(found[:min(len(found), 3)], ", ") + ")"
}

var chanceCall = regexp.MustCompile(`\b(` + strings.Join(chanceNames, "|") + `)\b`)

// calls of functions whose answers are different each time, in one template.
func (h *release) calls(name string) []string {
	var found []string
	number := 0
	for line := range strings.Lines(h.sources[name]) {
		number++
		if !strings.Contains(line, "{{") && !strings.Contains(line, "}}") {
			continue
		}
		if call := chanceCall.FindString(line); call != "" {
			found = append(found, fmt.Sprintf("%s, %s:%d", call, h.files[name], number))
		}
	}
	return found
}
