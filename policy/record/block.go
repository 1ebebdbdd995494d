// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxBlock is the size of what is compressed as one: what is decided about
	// one object again and again is nearly the same text.
	maxBlock = 512 << 10
	// maxInBlock bounds how many are forgotten at a time.
	maxInBlock = 256
)

// block holds decisions one after the other, their lines apart from what they
// rest on: most readers want the lines alone. Once it is sealed it is immutable.
type block struct {
	spans        []span
	lines, bases []byte
	sealed       bool
}

// span is where one decision is in a block.
type span struct {
	id         string
	seq        uint64
	time       time.Time
	line, base [2]int // from, to
}

func (b *block) size() int { return len(b.lines) + len(b.bases) + 96*len(b.spans) }

// keep appends a record. It is the writer's alone.
func (r *Ring) keep(record Record, basis *Basis) error {
	line, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode the line: %w", err)
	}
	var base []byte
	if basis != nil {
		if base, err = json.Marshal(basis); err != nil {
			return fmt.Errorf("encode what it rests on: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.blocks) == 0 || r.blocks[len(r.blocks)-1].sealed {
		r.blocks = append(r.blocks, &block{})
	}
	b := r.blocks[len(r.blocks)-1]
	r.next++
	s := span{id: record.Decision, seq: r.next, time: record.Time, line: [2]int{len(b.lines), len(b.lines) + len(line)}}
	s.base = [2]int{len(b.bases), len(b.bases) + len(base)}
	before := b.size()
	b.lines, b.bases, b.spans = append(b.lines, line...), append(b.bases, base...), append(b.spans, s)
	r.records++
	if len(b.lines)+len(b.bases) >= maxBlock || len(b.spans) >= min(maxInBlock, r.o.MaxRecords) {
		// Readers may still look at what it was.
		r.blocks[len(r.blocks)-1] = &block{
			spans: b.spans, sealed: true,
			lines: slices.Clip(r.encoder.EncodeAll(b.lines, nil)), bases: slices.Clip(r.encoder.EncodeAll(b.bases, nil)),
		}
		b = r.blocks[len(r.blocks)-1]
	}
	r.bytes += b.size() - before
	r.trim()
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// trim forgets the oldest block as long as there is too much. r.mu is held.
func (r *Ring) trim() {
	oldest := r.o.Clock().Add(-r.o.MaxAge)
	for len(r.blocks) > 0 {
		b := r.blocks[0]
		last := b.spans[len(b.spans)-1]
		if !last.time.Before(oldest) && (len(r.blocks) == 1 || r.records-len(b.spans) < r.o.MaxRecords && r.bytes <= r.o.MaxBytes) {
			break
		}
		r.blocks = r.blocks[1:]
		r.records -= len(b.spans)
		r.bytes -= b.size()
	}
	r.metrics.kept.Set(float64(r.records))
	r.metrics.bytes.Set(float64(r.bytes))
}

// texts are the lines and the bases of a block, decompressed.
func (b *block) texts(whole bool) (lines, bases []byte, err error) {
	if !b.sealed {
		return b.lines, b.bases, nil
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, nil, fmt.Errorf("set up decompression: %w", err)
	}
	defer z.Close()
	if lines, err = z.DecodeAll(b.lines, nil); err != nil {
		return nil, nil, fmt.Errorf("decompress decisions: %w", err)
	}
	if whole {
		if bases, err = z.DecodeAll(b.bases, nil); err != nil {
			return nil, nil, fmt.Errorf("decompress decisions: %w", err)
		}
	}
	return lines, bases, nil
}

// decode reads one record.
func (s span) decode(lines, bases []byte, whole bool) (Record, error) {
	var out Record
	if err := json.Unmarshal(lines[s.line[0]:s.line[1]], &out); err != nil {
		return out, fmt.Errorf("decode decision %s: %w", s.id, err)
	}
	if whole && s.base[1] > s.base[0] {
		out.Basis = new(Basis)
		if err := json.Unmarshal(bases[s.base[0]:s.base[1]], out.Basis); err != nil {
			return out, fmt.Errorf("decode decision %s: %w", s.id, err)
		}
	}
	return out, nil
}
