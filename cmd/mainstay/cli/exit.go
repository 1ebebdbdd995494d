// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// status is an error with the exit status that tells of it.
type status struct {
	error
	code int
}

// ExitCode is what the process ends with.
func (s status) ExitCode() int { return s.code }

// Unwrap is the error itself.
func (s status) Unwrap() error { return s.error }

// Answer is an error that answers what was asked: the status is 1.
func Answer(format string, args ...any) error { return status{fmt.Errorf(format, args...), 1} }

// Unclear is an error that tells nothing about what was asked: the status is 2.
func Unclear(err error) error { return status{err, 2} }

// Verdict gives an error its status where it has none: what the API server
// refuses to do is an answer, and all else could not be found out.
func Verdict(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[status](err); ok {
		return err
	}
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsNotFound(err) {
		return status{err, 1}
	}
	return status{err, 2}
}
