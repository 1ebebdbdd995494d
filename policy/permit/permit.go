// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package permit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

// Label is on the Secret of every permit.
const Label = "mainstay.dev/permit"

// Absent is the Value of a permit to have nothing at the path.
const Absent = "absent"

const (
	purpose    = "permit"
	dataRecord = "record"
	dataSeal   = "seal"
)

// Permit lets one value stand at one path of one object.
type Permit struct {
	// UID of the object: a permit does not outlive it.
	UID types.UID    `json:"uid"`
	ID  ownership.ID `json:"id"`
	// Path in the one notation.
	Path string `json:"path"`
	// Value is the keyed hash of the permitted value (Store.Value), or Absent.
	Value string `json:"value"`
	// Rule, Account and Decision that permitted it.
	Rule     string    `json:"rule"`
	Account  string    `json:"account"`
	Decision string    `json:"decision"`
	At       time.Time `json:"at"`
	// Until is the end; nil for none.
	Until *time.Time `json:"until,omitempty"`
	// Held is until when the value is held as it is after that end; nil where it
	// is not.
	Held *time.Time `json:"held,omitempty"`
	// Grant is the uid of the BreakGlass whose rule it is.
	Grant types.UID `json:"grant,omitempty"`
}

// Live tells whether a permit's end has not come.
func (p Permit) Live(now time.Time) bool {
	return p.Until == nil || now.Before(*p.Until)
}

// deletedUID stands for the uid of an object that was deleted by permission: it
// has none any more, and the next one of that name has another.
func deletedUID(id ownership.ID) types.UID { return types.UID("deleted/" + id.String()) }

// OfDeletion tells whether the permit is for the object to be gone.
func (p Permit) OfDeletion() bool { return p.UID == deletedUID(p.ID) }

type slot struct {
	uid  types.UID
	path string
}

func (p Permit) slot() slot { return slot{p.UID, p.Path} }

// name of a permit's Secret: one for each object and path.
func (s slot) name() string {
	sum := sha256.Sum256([]byte(string(s.uid) + "\x00" + s.path))
	return "permit-" + hex.EncodeToString(sum[:16])
}

func encode(p Permit, key *seal.Key, namespace string) (*corev1.Secret, error) {
	record, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode permit: %w", err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.slot().name(), Namespace: namespace, Labels: map[string]string{Label: "true"},
		},
		Type: v1alpha1.SecretTypePermit,
		Data: map[string][]byte{dataRecord: record, dataSeal: []byte(key.Seal(purpose, record))},
	}, nil
}

// decode reads the permit in a Secret. One that Mainstay did not seal, or that
// lies under another permit's name, is an error.
func decode(secret *corev1.Secret, key *seal.Key) (Permit, error) {
	var p Permit
	if err := key.Verify(purpose, secret.Data[dataRecord], string(secret.Data[dataSeal])); err != nil {
		return p, fmt.Errorf("permit %s: %w", secret.Name, err)
	}
	if err := json.Unmarshal(secret.Data[dataRecord], &p); err != nil {
		return p, fmt.Errorf("permit %s: %w", secret.Name, err)
	}
	if p.slot().name() != secret.Name {
		return p, fmt.Errorf("permit %s: the record belongs under the name %s", secret.Name, p.slot().name())
	}
	return p, nil
}
