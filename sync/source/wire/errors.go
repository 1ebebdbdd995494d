// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"fmt"
	"time"
)

// ServerError is what a server says instead of an answer.
type ServerError struct {
	Text string
}

func (e *ServerError) Error() string { return "the server says: " + e.Text }

// StatusError is an HTTP status that is no success. What the server wrote
// beside it is not kept: it may repeat a credential.
type StatusError struct {
	Code int
	// RetryAfter is how long the server asks to be left alone; 0 if it does not.
	RetryAfter time.Duration
	// Limited tells that it is a limit on the number of requests.
	Limited bool
}

func (e *StatusError) Error() string { return fmt.Sprintf("HTTP status %d", e.Code) }

// RedirectError is a redirect that was not followed.
type RedirectError struct {
	// To is the URL without credentials and query.
	To string
}

func (e *RedirectError) Error() string { return "the server redirects to " + e.To }

// HostKeyError is an SSH server's key that known_hosts does not vouch for.
type HostKeyError struct {
	// Host as a line of known_hosts has it, Scan the command that finds its
	// keys.
	Host, Scan string
	// Type and Fingerprint of the key that was shown; empty where the server
	// has none of the known types.
	Type, Fingerprint string
	// Changed tells that another key of the host is known.
	Changed bool
	cause   error
}

func (e *HostKeyError) Error() string {
	return fmt.Sprintf("host key of %s is not the known one: %v", e.Host, e.cause)
}

func (e *HostKeyError) Unwrap() error { return e.cause }

// ErrDenied is an SSH server's refusal of the key that was shown to it.
var ErrDenied = errors.New("the server refuses the key")

// ErrNoVersion is the answer of something that is no git server.
var ErrNoVersion = errors.New("the answer is not a git server's")

// ErrTooLarge is an answer longer than Options allow.
var ErrTooLarge = errors.New("the answer is larger than is allowed")
