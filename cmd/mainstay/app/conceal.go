// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// concealer takes a word out of all that the API server says went wrong. Its
// message about a webhook that it can't reach has the webhook's whole URL, and
// would carry the token of the path into conditions, Events and logs.
type concealer struct {
	word atomic.Pointer[string]
}

// maxFailure is more than any answer of the API server that is an error.
const maxFailure = 1 << 20

func (c *concealer) wrap(next http.RoundTripper) http.RoundTripper {
	return &concealing{concealer: c, next: next}
}

type concealing struct {
	*concealer
	next http.RoundTripper
}

var _ utilnet.RoundTripperWrapper = (*concealing)(nil)

// WrappedRoundTripper lets client-go find the transport below.
func (c *concealing) WrappedRoundTripper() http.RoundTripper { return c.next }

// RoundTrip puts as many asterisks in the word's place: the length counts where
// the answer is encoded in binary.
func (c *concealing) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(r)
	if err != nil || response.StatusCode < http.StatusBadRequest {
		return response, err //nolint:wrapcheck // a transport's errors are its own
	}
	word := c.word.Load()
	if word == nil {
		return response, nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxFailure))
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	body = bytes.ReplaceAll(body, []byte(*word), []byte(strings.Repeat("*", len(*word))))
	response.Body = io.NopCloser(bytes.NewReader(body))
	response.ContentLength = int64(len(body))
	return response, nil
}
