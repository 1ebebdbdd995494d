// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reload

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// The last good set of a ChangePolicy that people wrote is kept in a sealed
// Secret of Mainstay's namespace, so that a restart or a new replica serves it
// while the newest one does not load: its denials must not be missing then.

const (
	// sealPurpose keeps the record of a set from passing as anything else.
	sealPurpose = "last good policy"
	recordData  = "policy"
	recordSeal  = "seal"
	// maxRecord bounds what is read of a record.
	maxRecord = 16 << 20
)

// good is a set that loaded.
type good struct {
	// Policy is namespace/name; UID keeps a set from serving for another
	// ChangePolicy of the same name.
	Policy string    `json:"policy"`
	UID    types.UID `json:"uid"`
	// Generation of the ChangePolicy that it was.
	Generation int64                     `json:"generation"`
	Spec       v1alpha1.ChangePolicySpec `json:"spec"`
}

func recordName(key types.NamespacedName) string {
	sum := sha256.Sum256([]byte(key.String()))
	return "mainstay-policy-" + hex.EncodeToString(sum[:10])
}

// keep writes the record of a set that loaded, unless it is there already.
func (r *Reloader) keep(ctx context.Context, cp *v1alpha1.ChangePolicy) error {
	key := client.ObjectKeyFromObject(cp)
	data, err := json.Marshal(good{Policy: key.String(), UID: cp.UID, Generation: cp.Generation, Spec: cp.Spec})
	if err != nil {
		return fmt.Errorf("encode change policy %s: %w", key, err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("compress change policy %s: %w", key, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("compress change policy %s: %w", key, err)
	}
	wanted := map[string][]byte{recordData: packed.Bytes(), recordSeal: []byte(r.o.Key.Seal(sealPurpose, data))}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.o.Namespace, Name: recordName(key)}}
	err = r.o.Client.Get(ctx, client.ObjectKeyFromObject(secret), secret)
	switch {
	case apierrors.IsNotFound(err):
		secret.Type, secret.Data = v1alpha1.SecretTypePolicy, wanted
		err = r.o.Client.Create(ctx, secret, client.FieldOwner(v1alpha1.FieldManager))
	case err == nil && bytes.Equal(secret.Data[recordSeal], wanted[recordSeal]):
		return nil
	case err == nil:
		secret.Data = wanted
		err = r.o.Client.Update(ctx, secret, client.FieldOwner(v1alpha1.FieldManager))
	}
	if err != nil {
		return fmt.Errorf("keep the last good set of change policy %s: %w", key, err)
	}
	return nil
}

// drop forgets the record of a ChangePolicy that is gone.
func (r *Reloader) drop(ctx context.Context, key types.NamespacedName) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.o.Namespace, Name: recordName(key)}}
	if err := client.IgnoreNotFound(r.o.Client.Delete(ctx, secret)); err != nil {
		return fmt.Errorf("forget the last good set of change policy %s: %w", key, err)
	}
	return nil
}

// lastGood reads the record of a ChangePolicy; nil where there is none. One that
// Mainstay did not write is an error.
func (r *Reloader) lastGood(ctx context.Context, cp *v1alpha1.ChangePolicy) (*good, error) {
	key := client.ObjectKeyFromObject(cp)
	var secret corev1.Secret
	err := r.o.Client.Get(ctx, types.NamespacedName{Namespace: r.o.Namespace, Name: recordName(key)}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // it never loaded
	}
	if err != nil {
		return nil, fmt.Errorf("read the last good set of change policy %s: %w", key, err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(secret.Data[recordData]))
	if err != nil {
		return nil, fmt.Errorf("read the last good set of change policy %s: %w", key, err)
	}
	data, err := io.ReadAll(io.LimitReader(unpacked, maxRecord))
	if err != nil {
		return nil, fmt.Errorf("read the last good set of change policy %s: %w", key, err)
	}
	if err := r.o.Key.Verify(sealPurpose, data, string(secret.Data[recordSeal])); err != nil {
		return nil, fmt.Errorf("read the last good set of change policy %s: %w", key, err)
	}
	var g good
	if err := json.Unmarshal(data, &g); err != nil {
		return nil, fmt.Errorf("read the last good set of change policy %s: %w", key, err)
	}
	if g.Policy != key.String() || g.UID != cp.UID {
		return nil, nil //nolint:nilnil // that of another one
	}
	return &g, nil
}
