// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fastjson"
	"golang.org/x/sync/semaphore"
)

// maxBody is the size of the largest review: etcd's limit of 1.5 MiB for an
// object, twice because a review has the old one too, and as much again for
// what JSON's escapes add.
const maxBody = 7 << 20

// largeBody is from where on a review's memory is not kept for the next one, and
// what it takes to parse it is counted.
const largeBody = 256 << 10

// valueSize is about what one parsed value takes.
const valueSize = 80

// httpError is an answer without a review.
type httpError struct {
	code    int
	message string
}

func (e *httpError) Error() string { return e.message }

func httpErrorf(code int, format string, args ...any) error {
	return &httpError{code, fmt.Sprintf(format, args...)}
}

var errShed = &httpError{http.StatusServiceUnavailable, "Mainstay has too much to do, try again"}

// refuseHTTP answers what is no review, or can't be looked at.
func (h *Handler) refuseHTTP(w http.ResponseWriter, err error) {
	code := http.StatusBadRequest
	if e, ok := errors.AsType[*httpError](err); ok {
		code = e.code
	}
	if code == http.StatusServiceUnavailable {
		h.metrics.shed.Inc()
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, err.Error(), code)
}

// flight bounds the memory of the reviews that are being judged: what comes on
// top waits for its turn, as long as it has time. Large ones wait among
// themselves: however many come, the usual ones are answered.
type flight struct {
	limit, largeLimit int64
	// bytes are those of the usual bodies, large those of the large ones, and
	// parsed those of what large bodies are parsed to: many small values take a
	// multiple of their text.
	bytes, large, parsed *semaphore.Weighted
}

func newFlight(limit int64) *flight {
	largeLimit := max(limit/4, 1)
	return &flight{
		limit: limit, largeLimit: largeLimit,
		bytes: semaphore.NewWeighted(limit), large: semaphore.NewWeighted(largeLimit), parsed: semaphore.NewWeighted(largeLimit),
	}
}

// load is what one review takes.
type load struct {
	flight *flight
	// room is where bytes were taken from.
	room          *semaphore.Weighted
	bytes, parsed int64
	body          *bytes.Buffer
	parser        *fastjson.Parser
}

var (
	buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
	parsers fastjson.ParserPool
)

// enter waits until there is room for a review. What it returns has to leave.
func (f *flight) enter(ctx context.Context, r *http.Request) (*load, error) {
	if r.ContentLength > maxBody {
		return nil, httpErrorf(http.StatusRequestEntityTooLarge, "review is larger than %d bytes", maxBody)
	}
	size := r.ContentLength
	if size < 0 {
		size = maxBody
	}
	l := &load{flight: f, room: f.bytes, bytes: min(size, f.limit)}
	if size > largeBody {
		l.room, l.bytes = f.large, min(size, f.largeLimit)
	}
	if err := l.room.Acquire(ctx, l.bytes); err != nil {
		return nil, errShed
	}
	l.body, l.parser = buffers.Get().(*bytes.Buffer), parsers.Get()
	return l, nil
}

// parse waits until there is room for what a large body is parsed to.
func (l *load) parse(ctx context.Context) error {
	if l.body.Len() <= largeBody {
		return nil
	}
	size := min(int64(valueSize*(1+bytes.Count(l.body.Bytes(), []byte(",")))), l.flight.largeLimit)
	if err := l.flight.parsed.Acquire(ctx, size); err != nil {
		return errShed
	}
	l.parsed = size
	return nil
}

// leave gives back what a review took, once nobody looks at it any more.
func (l *load) leave(req *request) {
	if req != nil && req.judging != nil {
		go func() {
			<-req.judging
			l.release()
		}()
		return
	}
	l.release()
}

func (l *load) release() {
	if l.body.Cap() <= largeBody {
		buffers.Put(l.body)
		parsers.Put(l.parser)
	}
	l.room.Release(l.bytes)
	l.flight.parsed.Release(l.parsed)
}

// read reads and decodes a review.
func (h *Handler) read(ctx context.Context, l *load, entry string, w http.ResponseWriter, r *http.Request) (*request, error) {
	if err := readBody(l.body, w, r); err != nil {
		return nil, err
	}
	if err := l.parse(ctx); err != nil {
		return nil, err
	}
	return decode(l.parser, entry, l.body.Bytes())
}

func readBody(body *bytes.Buffer, w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return httpErrorf(http.StatusMethodNotAllowed, "a review is sent by POST")
	}
	if contentType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(contentType) != "application/json" {
		return httpErrorf(http.StatusUnsupportedMediaType, "content type %q, want application/json", contentType)
	}
	body.Reset()
	if n := r.ContentLength; n > 0 {
		body.Grow(int(n) + bytes.MinRead)
	}
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return httpErrorf(http.StatusRequestEntityTooLarge, "review is larger than %d bytes", maxBody)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("review ends early")
		}
		return fmt.Errorf("read review: %w", err)
	}
	return nil
}

// timeout is what the API server waits, less the answer's way back.
func timeout(r *http.Request) time.Duration {
	// The API server sends this and nothing else.
	text, alone := strings.CutPrefix(r.URL.RawQuery, "timeout=")
	if !alone || strings.ContainsAny(text, "&%+;") {
		text = r.URL.Query().Get("timeout")
	}
	given, err := time.ParseDuration(text)
	if err != nil || given <= 0 {
		given = defaultTimeout
	}
	return min(max(given, minTimeout), maxTimeout) - answerMargin
}
