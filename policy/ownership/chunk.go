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
	for {
		e := new(Entry)
		switch err := dec.Decode(e); {
		case errors.Is(err, io.EOF):
			return entries, nil
		case err != nil:
			return nil, fmt.Errorf("decode entry %d of chunk: %w", len(entries)+1, err)
		}
		entries = append(entries, e)
	}
}
