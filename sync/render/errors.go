// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// maxErrors is how many places one error names.
const maxErrors = 20

// Error is what is wrong in one place.
type Error struct {
	File string
	// Line is 0 where the file as a whole is meant.
	Line    int
	Message string
}

// Error is file:line: message.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)
}

type problems struct {
	errs []*Error
}

func (p *problems) add(file string, line int, format string, args ...any) {
	p.errs = append(p.errs, &Error{File: file, Line: line, Message: fmt.Sprintf(format, args...)})
}

func (p *problems) join() error {
	slices.SortStableFunc(p.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Message, b.Message))
	})
	var errs []error
	for _, e := range p.errs[:min(len(p.errs), maxErrors)] {
		errs = append(errs, e)
	}
	if more := len(p.errs) - maxErrors; more > 0 {
		errs = append(errs, fmt.Errorf("… and %d more", more))
	}
	return errors.Join(errs...)
}
