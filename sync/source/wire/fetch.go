// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// ErrShallow is a server that cannot leave history out, and would be misled by
// a caller that has none.
var ErrShallow = errors.New("the server cannot send a part of the history")

// ErrByName is a server that gives out no commit but those that refs point to.
var ErrByName = errors.New("the server gives out commits by name only")

// Want says what a pack has to hold.
type Want struct {
	// Commits, or annotated tags, with their trees.
	Commits []plumbing.Hash
	// Have are commits that the caller has, each with its tree and nothing of
	// its history.
	Have []plumbing.Hash
	// Depth of history, 0 for all of it.
	Depth int
	// Since leaves out what is older, rather than Depth.
	Since time.Time
}

func (w *Want) partial() bool { return w.Depth > 0 || !w.Since.IsZero() }

// Fetch asks for a pack, and passes it to store as it comes. Where Want.Have is
// given, its deltas may refer to objects of those commits.
func (r *Remote) Fetch(ctx context.Context, want Want, store func(pack io.Reader) error) error {
	c, err := r.dial.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	h := c.hello()
	if err := h.may(&want); err != nil {
		return err
	}
	ask := h.fetch(&want)
	answer, err := c.ask(ctx, ask)
	if err != nil {
		return err
	}
	defer answer.Close()
	p := newPackets(&limited{r: answer, left: r.maxPack, err: ErrTooLarge})
	pack, err := h.pack(p, &want)
	if err != nil {
		return fmt.Errorf("ask for commits: %w", err)
	}
	if err := store(pack); err != nil {
		return fmt.Errorf("receive the pack: %w", err)
	}
	return nil
}

// may tells whether the server can do what is wanted.
func (h *hello) may(w *Want) error {
	if len(w.Have) > 0 && !h.supports("shallow") {
		return ErrShallow
	}
	if w.Depth > 0 && !h.supports("shallow") {
		w.Depth = 0 // it sends more than is asked for
	}
	if !w.Since.IsZero() && !h.supports("deepen-since") {
		return ErrShallow
	}
	if h.version != 0 || h.supports("allow-reachable-sha1-in-want") || h.supports("allow-tip-sha1-in-want") {
		return nil
	}
	tips := map[plumbing.Hash]bool{}
	for _, id := range h.refs.Hashes {
		tips[id] = true
	}
	for _, id := range w.Commits {
		if !tips[id] {
			return ErrByName
		}
	}
	return nil
}

// Tips are what branches and tags point to.
func (r *Refs) Tips() []plumbing.Hash {
	var tips []plumbing.Hash
	seen := map[plumbing.Hash]bool{}
	for name, id := range r.Hashes {
		if (strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/")) && !seen[id] {
			seen[id] = true
			tips = append(tips, id)
		}
	}
	plumbing.HashesSort(tips)
	return tips
}

// fetch words the request.
func (h *hello) fetch(w *Want) string {
	var ask request
	if h.version == 2 {
		ask.line("command=fetch")
		ask.line(agent)
		ask.delimiter()
		for _, option := range []string{"ofs-delta", "no-progress"} {
			ask.line("%s", option)
		}
		if len(w.Have) > 0 {
			ask.line("thin-pack")
		}
		for _, id := range w.Commits {
			ask.line("want %s", id)
		}
		h.bounds(&ask, w)
		for _, id := range w.Have {
			ask.line("have %s", id)
		}
		ask.line("done")
		ask.flush()
		return ask.String()
	}
	options := []string{agent}
	for _, option := range []string{"multi_ack_detailed", "side-band-64k", "ofs-delta", "no-progress", "shallow", "deepen-since"} {
		if h.supports(option) {
			options = append(options, option)
		}
	}
	if len(w.Have) > 0 {
		options = append(options, "thin-pack")
	}
	for i, id := range w.Commits {
		if i == 0 {
			ask.line("want %s %s", id, strings.Join(options, " "))
		} else {
			ask.line("want %s", id)
		}
	}
	h.bounds(&ask, w)
	ask.flush()
	for _, id := range w.Have {
		ask.line("have %s", id)
	}
	ask.line("done")
	return ask.String()
}

// bounds words what is to be left out. What the caller has counts as without
// history, whatever the clone may hold by chance.
func (h *hello) bounds(ask *request, w *Want) {
	for _, id := range w.Have {
		ask.line("shallow %s", id)
	}
	switch {
	case !w.Since.IsZero():
		ask.line("deepen-since %d", w.Since.Unix())
	case w.Depth > 0:
		ask.line("deepen %d", w.Depth)
	}
}

// pack reads what comes before the pack, and returns the pack.
func (h *hello) pack(p *packets, w *Want) (io.Reader, error) {
	if h.version == 2 {
		for {
			k, line, err := p.line()
			if err != nil {
				return nil, unexpected(err)
			}
			if k == data && line == "packfile" {
				return &sideband{packets: p}, nil
			}
			if k == flush {
				return nil, errPacket // the end, without a pack
			}
		}
	}
	if w.partial() {
		// Which commits have no history in the pack: up to a flush.
		for k := data; k == data; {
			var err error
			if k, _, err = p.line(); err != nil {
				return nil, unexpected(err)
			}
		}
	}
	for {
		_, line, err := p.line()
		if err != nil {
			return nil, unexpected(err)
		}
		if ack, ok := strings.CutPrefix(line, "ACK "); line == "NAK" || ok && !strings.Contains(ack, " ") {
			break
		}
	}
	if h.supports("side-band-64k") {
		return &sideband{packets: p}, nil
	}
	return p.r, nil
}
