// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

const (
	// maxRefs bounds a listing: about a million refs.
	maxRefs = 96 << 20
	// agent is how Mainstay calls itself to git servers.
	agent = "agent=mainstay/1"
)

// Remote is one repository on a server. It is safe for concurrent use.
type Remote struct {
	dial    connector
	maxPack int64
}

// connector begins conversations with a server.
type connector interface {
	connect(ctx context.Context) (conversation, error)
}

// conversation is with one server: it tells what it can do, then it answers
// requests one after the other.
type conversation interface {
	hello() *hello
	// ask sends a request. The answer has to be read to its end, or closed,
	// before the next.
	ask(ctx context.Context, request string) (io.ReadCloser, error)
	io.Closer
}

// Refs are where a repository's refs point to.
type Refs struct {
	Hashes map[string]plumbing.Hash
	// Peeled has the commits of annotated tags.
	Peeled map[string]plumbing.Hash
	// All tells that the server lists every ref, whatever it is asked for.
	All bool
}

func newRefs() *Refs {
	return &Refs{Hashes: map[string]plumbing.Hash{}, Peeled: map[string]plumbing.Hash{}}
}

// add takes in one line of a listing.
func (r *Refs) add(name, id string) error {
	if !plumbing.IsHash(id) || len(id) != 40 {
		return errPacket
	}
	h := plumbing.NewHash(id)
	if tag, ok := strings.CutSuffix(name, "^{}"); ok {
		r.Peeled[tag] = h
	} else {
		r.Hashes[name] = h
	}
	return nil
}

// Refs asks where the refs with one of the prefixes point to. A server that
// speaks version 0 lists all.
func (r *Remote) Refs(ctx context.Context, prefixes []string) (*Refs, error) {
	c, err := r.dial.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	hello := c.hello()
	if hello.version == 0 {
		return hello.refs, nil
	}
	var ask request
	ask.line("command=ls-refs")
	ask.line(agent)
	ask.delimiter()
	ask.line("peel")
	for _, prefix := range prefixes {
		ask.line("ref-prefix %s", prefix)
	}
	ask.flush()
	answer, err := c.ask(ctx, ask.String())
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	refs, err := readRefs(newPackets(&limited{r: answer, left: maxRefs, err: ErrTooLarge}))
	if err != nil {
		return nil, fmt.Errorf("list refs: %w", err)
	}
	return refs, nil
}

// readRefs reads the answer to ls-refs.
func readRefs(p *packets) (*Refs, error) {
	refs := newRefs()
	for {
		k, line, err := p.line()
		if err != nil {
			return nil, unexpected(err)
		}
		if k != data {
			return refs, nil
		}
		id, rest, ok := strings.Cut(line, " ")
		if !ok {
			return nil, errPacket
		}
		name, attributes, _ := strings.Cut(rest, " ")
		if id == "unborn" {
			continue
		}
		if err := refs.add(name, id); err != nil {
			return nil, err
		}
		for attribute := range strings.FieldsSeq(attributes) {
			if peeled, ok := strings.CutPrefix(attribute, "peeled:"); ok {
				if err := refs.add(name+"^{}", peeled); err != nil {
					return nil, err
				}
			}
		}
	}
}

// hello is how a server introduces itself.
type hello struct {
	version int
	// can holds the capabilities with their values.
	can map[string]string
	// refs are all of the repository's; nil in version 2.
	refs *Refs
}

// readHello reads a server's first words.
func readHello(p *packets) (*hello, error) {
	k, first, err := p.line()
	if err != nil {
		return nil, unexpected(err)
	}
	if k == data && first == "version 2" {
		h := &hello{version: 2, can: map[string]string{}}
		for {
			k, line, err := p.line()
			if err != nil {
				return nil, unexpected(err)
			}
			if k != data {
				return h, h.format()
			}
			name, value, _ := strings.Cut(line, "=")
			h.can[name] = value
		}
	}
	if k == data && first == "version 1" {
		if k, first, err = p.line(); err != nil {
			return nil, unexpected(err)
		}
	}
	return readOldHello(p, k, first)
}

// readOldHello reads version 0's: all refs, with the capabilities behind the
// first.
func readOldHello(p *packets, k kind, line string) (*hello, error) {
	h := &hello{can: map[string]string{}, refs: newRefs()}
	h.refs.All = true
	for first := true; k == data; first = false {
		if first {
			var capabilities string
			var ok bool
			if line, capabilities, ok = strings.Cut(line, "\x00"); !ok {
				return nil, ErrNoVersion
			}
			for capability := range strings.FieldsSeq(capabilities) {
				name, value, _ := strings.Cut(capability, "=")
				h.can[name] = value
			}
		}
		id, name, ok := strings.Cut(line, " ")
		switch {
		case !ok:
			return nil, errPacket
		case id == "shallow", name == "capabilities^{}":
		default:
			if err := h.refs.add(name, id); err != nil {
				return nil, err
			}
		}
		var err error
		if k, line, err = p.line(); err != nil {
			return nil, unexpected(err)
		}
	}
	return h, h.format()
}

// errFormat is a repository whose ids have 64 digits.
var errFormat = errors.New("the repository has SHA-256 object ids, which Mainstay cannot read yet: follow one with SHA-1 ids")

func (h *hello) format() error {
	if format, ok := h.can["object-format"]; ok && format != "sha1" {
		return errFormat
	}
	return nil
}

// supports tells whether a fetch may use a feature, whichever version.
func (h *hello) supports(feature string) bool {
	if h.version == 0 {
		_, ok := h.can[feature]
		return ok
	}
	switch feature {
	case "shallow", "filter":
	case "deepen-since":
		feature = "shallow"
	default:
		return true // the rest belongs to version 2
	}
	for f := range strings.FieldsSeq(h.can["fetch"]) {
		if f == feature {
			return true
		}
	}
	return false
}
