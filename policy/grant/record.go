// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

// Label is on the Secret of every record.
const Label = "mainstay.dev/grant"

const (
	purpose    = "grant"
	dataRecord = "record"
	dataSeal   = "seal"
	namePrefix = "grant-"
)

// Record is what Mainstay has seen of a BreakGlass.
type Record struct {
	UID       types.UID `json:"uid"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	// Digest of the spec that was judged.
	Digest    string `json:"digest"`
	Requester string `json:"requester"`
	// At is when the request was made.
	At time.Time `json:"at"`
	// Scope and Subjects are what was asked for, with its defaults.
	Scope     v1alpha1.BreakGlassScope     `json:"scope"`
	Subjects  []v1alpha1.BreakGlassSubject `json:"subjects"`
	Reason    string                       `json:"reason"`
	Ticket    string                       `json:"ticket,omitempty"`
	Emergency bool                         `json:"emergency,omitempty"`
	// Approver is empty for an emergency. StartsAt and ExpiresAt are nil until
	// the request is approved.
	Approver  string     `json:"approver,omitempty"`
	StartsAt  *time.Time `json:"startsAt,omitempty"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	// HeldUntil is until when what was changed is held after the end; nil where
	// git's values come back then.
	HeldUntil *time.Time `json:"heldUntil,omitempty"`
	// GivenUpAt is when the leader saw that somebody had given up what was changed:
	// from then on it stays given up, whatever becomes of the annotation.
	GivenUpAt *time.Time `json:"givenUpAt,omitempty"`
	// Extends is the uid of the BreakGlass that this one goes on with.
	Extends types.UID `json:"extends,omitempty"`

	// version of the Secret that it was read from.
	version string
}

// NewRecord is that of a request which nobody has approved yet.
func NewRecord(bg *v1alpha1.BreakGlass, asked Asked, now time.Time) Record {
	return Record{
		UID: bg.UID, Namespace: bg.Namespace, Name: bg.Name, Digest: bg.Spec.Digest(), Requester: bg.Spec.RequestedBy, At: now.UTC(),
		Scope: asked.Scope, Subjects: asked.Subjects, Reason: bg.Spec.Reason, Ticket: bg.Spec.Ticket, Emergency: bg.Spec.Emergency,
		Extends: asked.Extends,
	}
}

// Begin starts the time of a grant, and says how long what is changed under it
// is held after its end; zero for not at all. The approver of an emergency is
// empty.
func (r *Record) Begin(approver string, now time.Time, d, hold time.Duration) {
	start, end := now.UTC(), now.UTC().Add(d)
	r.Approver, r.StartsAt, r.ExpiresAt, r.HeldUntil = approver, &start, &end, nil
	if hold > 0 {
		r.HeldUntil = new(end.Add(hold))
	}
}

// Key of the BreakGlass.
func (r *Record) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
}

// live tells whether the record was approved and its end has not come.
func (r *Record) live(now time.Time) bool {
	return r.StartsAt != nil && r.ExpiresAt != nil && now.Before(*r.ExpiresAt)
}

// standsFor tells whether a BreakGlass is the one that was judged, as it was
// judged, and nobody has ended it.
func (r *Record) standsFor(bg *v1alpha1.BreakGlass) bool {
	return bg != nil && bg.UID == r.UID && bg.Namespace == r.Namespace && bg.Name == r.Name && bg.DeletionTimestamp == nil &&
		!bg.Spec.Revoked && bg.Spec.ApprovedBy == r.Approver && bg.Spec.Emergency == r.Emergency && bg.Spec.Digest() == r.Digest
}

func (r *Record) grant() policy.Grant {
	return policy.Grant{
		Namespace: r.Namespace, Name: r.Name, UID: r.UID, Requester: r.Requester, Approver: r.Approver, Subjects: r.Subjects,
		Scope: r.Scope, Reason: r.Reason, Ticket: r.Ticket, StartsAt: *r.StartsAt, ExpiresAt: *r.ExpiresAt, Emergency: r.Emergency,
		HeldUntil: r.HeldUntil,
	}
}

func secretName(uid types.UID) string { return namePrefix + string(uid) }

func encode(r Record, key *seal.Key, namespace string) (*corev1.Secret, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode grant %s: %w", r.Key(), err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: secretName(r.UID), Namespace: namespace, ResourceVersion: r.version, Labels: map[string]string{Label: "true"},
		},
		Type: v1alpha1.SecretTypeGrant,
		Data: map[string][]byte{dataRecord: raw, dataSeal: []byte(key.Seal(purpose, raw))},
	}, nil
}

// decode reads the record in a Secret. One that Mainstay did not seal, or that
// lies under another record's name, is an error.
func decode(secret *corev1.Secret, key *seal.Key) (Record, error) {
	var r Record
	if err := key.Verify(purpose, secret.Data[dataRecord], string(secret.Data[dataSeal])); err != nil {
		return r, fmt.Errorf("grant %s: %w", secret.Name, err)
	}
	if err := json.Unmarshal(secret.Data[dataRecord], &r); err != nil {
		return r, fmt.Errorf("grant %s: %w", secret.Name, err)
	}
	if secretName(r.UID) != secret.Name {
		return r, fmt.Errorf("grant %s: the record belongs under the name %s", secret.Name, secretName(r.UID))
	}
	r.version = secret.ResourceVersion
	return r, nil
}
