// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

const (
	// maxChunk keeps a chunk well below etcd's limit of 1.5 MiB for a request.
	maxChunk = 256 << 10
	// chunkLabel on a chunk names its inventory by a hash.
	chunkLabel = "mainstay.dev/inventory"
)

// Options are all required.
type Options struct {
	// Client writes, uncached.
	Client client.Client
	Key    *seal.Key
	// Namespace of Mainstay.
	Namespace string
	// Index is updated with every save, before other replicas see it.
	Index *ownership.Index
}

// Store saves inventories. It is safe for concurrent use by different GitSyncs.
type Store struct {
	o  Options
	mu sync.Mutex
	// written remembers the chunks of the last save, so that a save rewrites
	// only the chunks whose entries changed.
	written map[types.NamespacedName]*layout
}

type layout struct {
	buckets int
	chunks  []chunk
}

type chunk struct {
	entries []*ownership.Entry
	name    string
}

// New checks the options.
func New(o Options) (*Store, error) {
	switch {
	case o.Client == nil:
		return nil, errors.New("inventory: Options.Client is required")
	case o.Key == nil:
		return nil, errors.New("inventory: Options.Key is required")
	case o.Namespace == "":
		return nil, errors.New("inventory: Options.Namespace is required")
	case o.Index == nil:
		return nil, errors.New("inventory: Options.Index is required")
	}
	return &Store{o: o, written: map[types.NamespacedName]*layout{}}, nil
}

// Save makes entries the whole inventory of the GitSync: in the cluster first,
// then in the Index. It sets sync.Generation. After an error the inventory is
// the old or the new one, never a mixture.
func (s *Store) Save(ctx context.Context, sync *ownership.Sync, entries []*ownership.Entry) error {
	key := sync.Key()
	var inventory v1alpha1.Inventory
	err := s.o.Client.Get(ctx, key, &inventory)
	exists := err == nil
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("get inventory %s: %w", key, err)
	}
	sync.Generation = max(inventory.Data.Generation, s.known(key)) + 1

	next, err := s.chunks(ctx, key, entries)
	if err != nil {
		return fmt.Errorf("save inventory %s: %w", key, err)
	}
	head, err := json.Marshal(sync)
	if err != nil {
		return fmt.Errorf("save inventory %s: encode head: %w", key, err)
	}
	data := v1alpha1.InventoryData{
		Generation: sync.Generation,
		Revision:   sync.Applied.Name,
		Objects:    int32(len(entries)), //nolint:gosec // far below 2^31
		Head:       string(head),
	}
	for _, c := range next.chunks {
		data.Chunks = append(data.Chunks, c.name)
	}
	data.Seal = ownership.SealInventory(s.o.Key, key, &data)

	stale := inventory.Data.Chunks
	inventory.Data = data
	if exists {
		err = s.o.Client.Update(ctx, &inventory)
	} else {
		inventory.ObjectMeta = metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}
		err = s.o.Client.Create(ctx, &inventory)
	}
	if err != nil {
		return fmt.Errorf("write inventory %s: %w", key, err)
	}
	s.mu.Lock()
	s.written[key] = next
	s.mu.Unlock()
	if err := s.o.Index.Replace(sync, entries); err != nil {
		return fmt.Errorf("save inventory %s: %w", key, err)
	}
	return s.drop(ctx, stale, data.Chunks)
}

// Delete removes the inventory of a GitSync, from the Index first.
func (s *Store) Delete(ctx context.Context, key types.NamespacedName) error {
	inventory := v1alpha1.Inventory{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	err := s.o.Client.Get(ctx, key, &inventory)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("get inventory %s: %w", key, err)
	}
	s.o.Index.Remove(key)
	if err == nil {
		if err := client.IgnoreNotFound(s.o.Client.Delete(ctx, &inventory)); err != nil {
			return fmt.Errorf("delete inventory %s: %w", key, err)
		}
	}
	s.mu.Lock()
	delete(s.written, key)
	s.mu.Unlock()
	return s.drop(ctx, inventory.Data.Chunks, nil)
}

func (s *Store) known(key types.NamespacedName) int64 {
	if sync, ok := s.o.Index.Sync(key); ok {
		return sync.Generation
	}
	return 0
}

// chunks writes the chunks that are not in the cluster yet.
func (s *Store) chunks(ctx context.Context, key types.NamespacedName, entries []*ownership.Entry) (*layout, error) {
	s.mu.Lock()
	last := s.written[key]
	s.mu.Unlock()
	buckets := 1
	if last != nil {
		buckets = last.buckets
	}
	for {
		next, tooLarge, err := s.write(ctx, key, entries, buckets, last)
		if err != nil {
			return nil, err
		}
		if !tooLarge {
			return next, nil
		}
		buckets *= 2
	}
}

func (s *Store) write(ctx context.Context, key types.NamespacedName, entries []*ownership.Entry, buckets int, last *layout) (next *layout, tooLarge bool, err error) {
	next = &layout{buckets: buckets, chunks: make([]chunk, buckets)}
	for _, e := range entries {
		h := fnv.New32a()
		h.Write([]byte(e.String()))
		b := int(h.Sum32() % uint32(buckets)) //nolint:gosec // buckets is small and positive
		next.chunks[b].entries = append(next.chunks[b].entries, e)
	}
	encoded := make([][]byte, buckets)
	for i := range next.chunks {
		c := &next.chunks[i]
		slices.SortFunc(c.entries, func(a, b *ownership.Entry) int { return strings.Compare(a.String(), b.String()) })
		if last != nil && last.buckets == buckets && slices.Equal(last.chunks[i].entries, c.entries) {
			c.name = last.chunks[i].name
			continue
		}
		if encoded[i], err = ownership.EncodeChunk(c.entries); err != nil {
			return nil, false, err
		}
		if len(encoded[i]) > maxChunk {
			if len(c.entries) > 1 {
				return nil, true, nil
			}
			if len(encoded[i]) > 4*maxChunk {
				return nil, false, fmt.Errorf("%s is too large to hold: %d KiB compressed, at most %d", c.entries[0].ID, len(encoded[i])>>10, 4*maxChunk>>10)
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range next.chunks {
		if encoded[i] == nil {
			continue
		}
		group.Go(func() error {
			name, err := s.put(ctx, key, encoded[i])
			next.chunks[i].name = name
			return err
		})
	}
	return next, false, group.Wait()
}

// put creates a chunk's Secret; one that exists has the same content already.
func (s *Store) put(ctx context.Context, key types.NamespacedName, data []byte) (string, error) {
	owner := sha256.Sum256([]byte(key.String()))
	seal := ownership.SealChunk(s.o.Key, key, data)
	content := sha256.Sum256(append([]byte(seal), data...))
	hash := hex.EncodeToString(owner[:5])
	name := "inventory-" + hash + "-" + hex.EncodeToString(content[:10])
	immutable := true
	err := s.o.Client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.o.Namespace, Name: name,
			Labels: map[string]string{chunkLabel: hash},
		},
		Type:      v1alpha1.SecretTypeInventory,
		Immutable: &immutable,
		Data:      map[string][]byte{ownership.ChunkEntries: data, ownership.ChunkSeal: []byte(seal)},
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("write chunk %s: %w", name, err)
	}
	return name, nil
}

// Sweep deletes chunks that no inventory names and that are older than age: a
// save that was cut off leaves them behind. Younger ones may belong to a save
// that is being made.
func (s *Store) Sweep(ctx context.Context, age time.Duration) error {
	chunks := new(metav1.PartialObjectMetadataList)
	chunks.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := s.o.Client.List(ctx, chunks, client.InNamespace(s.o.Namespace), client.HasLabels{chunkLabel}); err != nil {
		return fmt.Errorf("list chunks: %w", err)
	}
	var inventories v1alpha1.InventoryList
	if err := s.o.Client.List(ctx, &inventories); err != nil {
		return fmt.Errorf("list inventories: %w", err)
	}
	named := map[string]bool{}
	for _, i := range inventories.Items {
		for _, name := range i.Data.Chunks {
			named[name] = true
		}
	}
	var unnamed []string
	for _, c := range chunks.Items {
		if !named[c.Name] && time.Since(c.CreationTimestamp.Time) > age {
			unnamed = append(unnamed, c.Name)
		}
	}
	return s.drop(ctx, unnamed, nil)
}

// drop deletes chunks that the inventory no longer names.
func (s *Store) drop(ctx context.Context, old, current []string) error {
	for _, name := range old {
		if slices.Contains(current, name) {
			continue
		}
		err := s.o.Client.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.o.Namespace, Name: name}})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete chunk %s: %w", name, err)
		}
	}
	return nil
}
