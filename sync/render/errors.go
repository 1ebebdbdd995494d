// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// conceal takes what was decrypted out of the messages, where a library or a
// template has put it in.
func (p *problems) conceal(secrets []string) {
	for _, e := range p.errs {
		for _, secret := range secrets {
			for _, part := range append(strings.Fields(secret), secret) {
				if len(part) >= minSecret {
					e.Message = strings.ReplaceAll(e.Message, part, "•••")
				}
			}
		}
	}
}

// minSecret is how long something decrypted has to be to be told from a word of
// the message.
const minSecret = 4

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
