// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// maxThinBytes bounds what a thin pack may hold: it is completed in memory. A
// larger change is fetched as a whole, which goes to disk as it comes.
const maxThinBytes = 64 * 1024 * 1024

var errThinTooLarge = errors.New("the change is too large for a thin pack")

// storeThin stores a pack whose deltas may refer to objects of the store: the
// objects are made whole in memory, and written as a pack that stands alone.
func storeThin(store *filesystem.Storage, pack io.Reader) (err error) {
	received := &overlay{EncodedObjectStorer: store, objects: map[plumbing.Hash]plumbing.EncodedObject{}}
	// What is received compressed is bounded here, what it expands to there.
	parser, err := packfile.NewParserWithStorage(packfile.NewScanner(&bounded{r: pack, left: maxThinBytes}), received)
	if err != nil {
		return err
	}
	if _, err := parser.Parse(); err != nil {
		return err
	}
	if len(received.hashes) == 0 {
		return nil
	}
	writer, err := store.PackfileWriter()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, writer.Close()) }()
	if _, err := packfile.NewEncoder(writer, received, false).Encode(received.hashes, 0); err != nil {
		return fmt.Errorf("complete the pack: %w", err)
	}
	return nil
}

// overlay reads from a store and writes to memory.
type overlay struct {
	storer.EncodedObjectStorer
	objects map[plumbing.Hash]plumbing.EncodedObject
	hashes  []plumbing.Hash
	bytes   int64
}

func (o *overlay) NewEncodedObject() plumbing.EncodedObject { return &plumbing.MemoryObject{} }

func (o *overlay) SetEncodedObject(object plumbing.EncodedObject) (plumbing.Hash, error) {
	h := object.Hash()
	if _, ok := o.objects[h]; ok {
		return h, nil
	}
	if o.bytes += object.Size(); o.bytes > maxThinBytes {
		return h, errThinTooLarge
	}
	o.objects[h] = object
	o.hashes = append(o.hashes, h)
	return h, nil
}

func (o *overlay) EncodedObject(kind plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	if object, ok := o.objects[h]; ok && (kind == plumbing.AnyObject || kind == object.Type()) {
		return object, nil
	}
	return o.EncodedObjectStorer.EncodedObject(kind, h)
}

// bounded fails where a stream is longer than it may be.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errThinTooLarge
	}
	return n, err
}
