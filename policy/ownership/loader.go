// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

// Keys in the data of a chunk's Secret.
const (
	ChunkEntries = "entries"
	ChunkSeal    = "seal"
)

// InventoryPayload is what the seal of an Inventory covers.
func InventoryPayload(key types.NamespacedName, d *v1alpha1.InventoryData) []byte {
	return []byte(strings.Join([]string{
		key.String(), strconv.FormatInt(d.Generation, 10), d.Revision,
		strconv.Itoa(int(d.Objects)), d.Head, strings.Join(d.Chunks, ","),
	}, "\x00"))
}

// Purposes of seals.
const (
	sealInventory = "inventory"
	sealChunk     = "chunk"
)

// SealInventory returns the seal of an Inventory's data.
func SealInventory(k *seal.Key, key types.NamespacedName, d *v1alpha1.InventoryData) string {
	return k.Seal(sealInventory, InventoryPayload(key, d))
}

// SealChunk returns the seal of a chunk of the inventory key.
func SealChunk(k *seal.Key, key types.NamespacedName, data []byte) string {
	return k.Seal(sealChunk+"\x00"+key.String(), data)
}

// LoaderOptions are all required.
type LoaderOptions struct {
	// Reader reads Inventories and Secrets, uncached: chunks are large and read
	// once.
	Reader client.Reader
	Key    *seal.Key
	// Namespace of Mainstay, where the chunks are.
	Namespace string
	Index     *Index
}

// Loader fills an Index from the inventories in the cluster.
type Loader struct {
	o LoaderOptions
}

var _ reconcile.Reconciler = (*Loader)(nil)

// NewLoader checks the options.
func NewLoader(o LoaderOptions) (*Loader, error) {
	switch {
	case o.Reader == nil:
		return nil, errors.New("ownership: LoaderOptions.Reader is required")
	case o.Key == nil:
		return nil, errors.New("ownership: LoaderOptions.Key is required")
	case o.Namespace == "":
		return nil, errors.New("ownership: LoaderOptions.Namespace is required")
	case o.Index == nil:
		return nil, errors.New("ownership: LoaderOptions.Index is required")
	}
	return &Loader{o}, nil
}

// LoadAll loads every inventory. A replica serves nothing before it returned
// without an error.
//
// An inventory that was forged or damaged must neither keep Mainstay from
// starting nor free what it holds: its GitSync is known from then on without
// any object, so that objects with its ownership label are locked until the
// leader has written the inventory anew from git.
func (l *Loader) LoadAll(ctx context.Context) error {
	var list v1alpha1.InventoryList
	if err := l.o.Reader.List(ctx, &list); err != nil {
		return fmt.Errorf("list inventories: %w", err)
	}
	for i := range list.Items {
		inventory := &list.Items[i]
		err := l.Load(ctx, inventory)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrUnreadable) {
			return err
		}
		ctrl.LoggerFrom(ctx).Error(err, "inventory refused")
		placeholder := &Sync{Namespace: inventory.Namespace, Name: inventory.Name, Mode: v1alpha1.ModeEnforce}
		if err := l.o.Index.Replace(placeholder, nil); err != nil {
			return err
		}
	}
	return nil
}

// ErrUnreadable is wrapped by Load for an inventory that trying again does not
// mend: without Mainstay's seal, or with a chunk that is missing or damaged.
var ErrUnreadable = errors.New("the inventory can't be read")

// Reconcile loads one inventory after a change of it, or forgets it. A forged
// one changes nothing.
func (l *Loader) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var inventory v1alpha1.Inventory
	err := l.o.Reader.Get(ctx, req.NamespacedName, &inventory)
	switch {
	case apierrors.IsNotFound(err):
		l.o.Index.Remove(req.NamespacedName)
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("get inventory %s: %w", req.NamespacedName, err)
	}
	if err := l.Load(ctx, &inventory); err != nil {
		if errors.Is(err, ErrUnreadable) && !apierrors.IsNotFound(err) {
			ctrl.LoggerFrom(ctx).Error(err, "inventory refused, the last one stays in force")
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, nil
}

// Load verifies one inventory and puts it into the Index. What can't be read is
// an error that wraps ErrUnreadable, and changes nothing.
func (l *Loader) Load(ctx context.Context, inventory *v1alpha1.Inventory) error {
	key := client.ObjectKeyFromObject(inventory)
	d := &inventory.Data
	if known, ok := l.o.Index.Sync(key); ok && known.Generation >= d.Generation {
		return nil
	}
	if err := l.o.Key.Verify(sealInventory, InventoryPayload(key, d), d.Seal); err != nil {
		return fmt.Errorf("inventory %s: %w: %w", key, ErrUnreadable, err)
	}
	sync := new(Sync)
	if err := json.Unmarshal([]byte(d.Head), sync); err != nil {
		return fmt.Errorf("inventory %s: %w: decode head: %w", key, ErrUnreadable, err)
	}
	var entries []*Entry
	for _, name := range d.Chunks {
		chunk, err := l.chunk(ctx, key, name)
		if err != nil {
			return fmt.Errorf("inventory %s: %w", key, err)
		}
		entries = append(entries, chunk...)
	}
	if err := l.o.Index.Replace(sync, entries); err != nil {
		return fmt.Errorf("inventory %s: %w", key, err)
	}
	return nil
}

func (l *Loader) chunk(ctx context.Context, key types.NamespacedName, name string) ([]*Entry, error) {
	var secret corev1.Secret
	if err := l.o.Reader.Get(ctx, types.NamespacedName{Namespace: l.o.Namespace, Name: name}, &secret); err != nil {
		if apierrors.IsNotFound(err) {
			err = fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
		return nil, fmt.Errorf("get chunk %s: %w", name, err)
	}
	data := secret.Data[ChunkEntries]
	if err := l.o.Key.Verify(sealChunk+"\x00"+key.String(), data, string(secret.Data[ChunkSeal])); err != nil {
		return nil, fmt.Errorf("chunk %s: %w: %w", name, ErrUnreadable, err)
	}
	entries, err := DecodeChunk(data)
	if err != nil {
		return nil, fmt.Errorf("chunk %s: %w: %w", name, ErrUnreadable, err)
	}
	return entries, nil
}
