// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// kind of a packet: the three short ones carry nothing.
type kind int

const (
	data kind = iota
	flush
	delimiter
	responseEnd
)

// maxPacket is the longest packet, its length included.
const maxPacket = 65520

var errPacket = errors.New("the answer is not git's protocol")

// packets reads what servers say.
type packets struct {
	r   *bufio.Reader
	buf [maxPacket]byte
}

func newPackets(r io.Reader) *packets { return &packets{r: bufio.NewReaderSize(r, 8192)} }

// next returns the next packet; its content is valid until the one after.
func (p *packets) next() (kind, []byte, error) {
	if _, err := io.ReadFull(p.r, p.buf[:4]); err != nil {
		return 0, nil, err
	}
	n, err := strconv.ParseUint(string(p.buf[:4]), 16, 16)
	if err != nil {
		return 0, nil, errPacket
	}
	switch {
	case n == 0:
		return flush, nil, nil
	case n == 1:
		return delimiter, nil, nil
	case n == 2:
		return responseEnd, nil, nil
	case n < 4 || n > maxPacket:
		return 0, nil, errPacket
	}
	content := p.buf[4:n]
	if _, err := io.ReadFull(p.r, content); err != nil {
		return 0, nil, unexpected(err)
	}
	return data, content, nil
}

// line is next for text: without the newline, and an error where the server
// reports one.
func (p *packets) line() (kind, string, error) {
	k, content, err := p.next()
	if err != nil {
		return k, "", err
	}
	text := strings.TrimSuffix(string(content), "\n")
	if k == data {
		if said, ok := strings.CutPrefix(text, "ERR "); ok {
			return k, "", &ServerError{Text: said}
		}
	}
	return k, text, nil
}

// unexpected makes the end of a stream an error where more has to come.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// request is what is said to a server.
type request struct{ strings.Builder }

func (r *request) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(&r.Builder, "%04x%s\n", len(text)+5, text)
}

func (r *request) flush()     { r.WriteString("0000") }
func (r *request) delimiter() { r.WriteString("0001") }

// sideband is the pack in the first of three interleaved channels.
type sideband struct {
	packets *packets
	rest    []byte
	done    bool
}

// Read implements io.Reader.
func (s *sideband) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.done {
			return 0, io.EOF
		}
		k, content, err := s.packets.next()
		if err != nil {
			// Without the flush at its end the pack may be cut off.
			return 0, unexpected(err)
		}
		if k != data {
			s.done = true
			continue
		}
		if len(content) == 0 {
			continue
		}
		switch content[0] {
		case 1:
			s.rest = content[1:]
		case 2: // progress, for people who watch
		case 3:
			return 0, &ServerError{Text: strings.TrimSpace(string(content[1:]))}
		default:
			return 0, errPacket
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// limited fails where an answer is longer than it may be.
type limited struct {
	r    io.Reader
	left int64
	err  error
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, l.err
	}
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n, l.err
	}
	return n, err
}
