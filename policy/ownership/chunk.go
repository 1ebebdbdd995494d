// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxChunk bounds what a chunk may decompress to.
const maxChunk = 256 << 20

// EncodeChunk writes entries as JSON lines, compressed with zstd.
func EncodeChunk(entries []*Entry) ([]byte, error) {
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compress chunk: %w", err)
	}
	enc := json.NewEncoder(z)
	enc.SetEscapeHTML(false)
	for _, e := range entries {
		if err := enc.Encode(e); err != nil {
			return nil, errors.Join(fmt.Errorf("encode %s: %w", e.ID, err), z.Close())
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress chunk: %w", err)
	}
	return out.Bytes(), nil
}

// DecodeChunk reads what EncodeChunk wrote. Call it only with bytes whose seal
// was verified.
func DecodeChunk(data []byte) ([]*Entry, error) {
	z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxChunk))
	if err != nil {
		return nil, fmt.Errorf("decompress chunk: %w", err)
	}
	defer z.Close()
	dec := json.NewDecoder(bufio.NewReader(io.LimitReader(z, maxChunk)))
	var entries []*Entry
	seen := repeated{strings: map[string]string{}, raw: map[string]json.RawMessage{}}
	for {
		e := new(Entry)
		switch err := dec.Decode(e); {
		case errors.Is(err, io.EOF):
			return entries, nil
		case err != nil:
			return nil, fmt.Errorf("decode entry %d of chunk: %w", len(entries)+1, err)
		}
		for _, c := range []*Content{e.Applied, e.Attempted} {
			if c != nil {
				seen.share(c)
			}
		}
		entries = append(entries, e)
	}
}

// repeated holds one copy of each value that many entries have alike: the
// revision that changed them, the file they are in and their field sets. They
// are most of what an entry would take.
type repeated struct {
	strings map[string]string
	raw     map[string]json.RawMessage
}

func (r *repeated) share(c *Content) {
	for _, s := range []*string{&c.Revision.Name, &c.Revision.Commit, &c.Revision.Author, &c.Revision.Subject, &c.File} {
		if known, ok := r.strings[*s]; ok {
			*s = known
		} else {
			r.strings[*s] = *s
		}
	}
	if known, ok := r.raw[string(c.Fields)]; ok {
		c.Fields = known
	} else {
		r.raw[string(c.Fields)] = c.Fields
	}
}
