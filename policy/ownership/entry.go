// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"encoding/json"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// Sync is what the judge knows about a GitSync: the head of its inventory.
type Sync struct {
	Namespace  string              `json:"namespace"`
	Name       string              `json:"name"`
	Labels     map[string]string   `json:"labels,omitempty"`
	Mode       v1alpha1.Mode       `json:"mode"`
	Undeclared v1alpha1.Undeclared `json:"undeclared"`
	// Controllers says what becomes of a service account's write to declared
	// fields; empty counts as Refuse.
	Controllers v1alpha1.Controllers `json:"controllers,omitempty"`
	// ServiceAccount is the full user name that is impersonated for writes;
	// empty for Mainstay's own.
	ServiceAccount string `json:"serviceAccount,omitempty"`
	Contact        string `json:"contact,omitempty"`
	// URL is the repository, WebURL the template for links into it.
	URL    string `json:"url"`
	WebURL string `json:"webURL,omitempty"`
	// Generation of the inventory; it grows with every write.
	Generation int64 `json:"generation"`
	// Applied is the revision that is enforced; empty before the first sync.
	Applied Revision `json:"applied"`
	// AppliedSpec is the generation of the GitSync's spec by which it was.
	AppliedSpec int64 `json:"appliedSpec,omitempty"`
	// Adopted is the commit with which objects were taken over that existed
	// before, until another one is applied. Meanwhile nothing is pruned.
	Adopted string `json:"adopted,omitempty"`
}

// Key is the GitSync's namespace and name.
func (s *Sync) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// Revision is one commit as it was found at a ref.
type Revision struct {
	// Name is <ref>@sha1:<commit>.
	Name    string    `json:"name,omitempty"`
	Commit  string    `json:"commit,omitempty"`
	Author  string    `json:"author,omitempty"`
	Time    time.Time `json:"time,omitzero"`
	Subject string    `json:"subject,omitempty"`
}

// Entry is one declared object: a line of the inventory. Entries are immutable
// once they are in an Index.
type Entry struct {
	ID
	// Version of the API that git declares, and the resource's plural name.
	Version  string `json:"version"`
	Resource string `json:"resource"`
	// Applied is what is enforced; nil until the object was applied once.
	Applied *Content `json:"applied,omitempty"`
	// Attempted is what is about to be applied; nil outside a sync.
	Attempted *Content `json:"attempted,omitempty"`
	// Pruning: git no longer declares the object, and it is being deleted; or it
	// is being deleted to be made anew, then Attempted is what it will be.
	Pruning bool `json:"pruning,omitempty"`
	// Released: the object is let go and held no longer; only Mainstay's marks
	// are still to be taken off. An Index does not find it.
	Released bool `json:"released,omitempty"`
	// HandedTo is the key of the GitSync that declares the object from now on.
	// Until that one has it in its inventory, it is held as it was.
	HandedTo string `json:"handedTo,omitempty"`
	// HandedAs is the full name of the account by which that GitSync writes;
	// empty for Mainstay's own.
	HandedAs string `json:"handedAs,omitempty"`
	// OwnMode is the object's own mode, by its annotation in git; empty for
	// that of its GitSync.
	OwnMode v1alpha1.Mode `json:"ownMode,omitempty"`
}

// Content is what one revision says of an object.
type Content struct {
	// Revision that changed the object last.
	Revision Revision `json:"revision"`
	// File and Line in the repository.
	File string `json:"file"`
	Line int    `json:"line"`
	// Lines are the lines of its fields, where they are not those of what the
	// field is in: for each "\n/path/of/steps\t<line>", or "<file>:<line>" where
	// another file sets the field. Place reads it.
	Lines string `json:"lines,omitempty"`
	// Text is a hash of the text that Lines speaks of.
	Text uint64 `json:"text,omitempty"`
	// Digest of Desired.
	Digest string `json:"digest"`
	// Desired is the manifest as it is applied, ownership label included.
	Desired json.RawMessage `json:"desired"`
	// Baseline is what the API server made of Desired: normalised values and
	// what defaulting and other webhooks added in that same write. It has no
	// managedFields, no status and no bookkeeping. Absent until a dry-run or an
	// apply has answered.
	Baseline json.RawMessage `json:"baseline,omitempty"`
	// Fields is the FieldsV1 of our own Apply entry in that answer: the
	// declared fields.
	Fields json.RawMessage `json:"fields,omitempty"`
	// Finished: this Job has run to its end. When it is gone then, it was
	// collected, and it is not made again.
	Finished bool `json:"finished,omitempty"`
	// Mutated says what that answer has otherwise than Desired: somebody's
	// mutating webhook or policy changed it in that same write.
	Mutated []string `json:"mutated,omitempty"`
}

// GVK of the object as git declares it.
func (e *Entry) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: e.Group, Version: e.Version, Kind: e.Kind}
}

// GVR of the object as git declares it.
func (e *Entry) GVR() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: e.Group, Version: e.Version, Resource: e.Resource}
}

// APIVersion of the object as git declares it.
func (e *Entry) APIVersion() string {
	return e.GVK().GroupVersion().String()
}

// Current is the content that is enforced: Applied, or Attempted while the
// object was never applied. It is nil where neither has a baseline yet.
func (e *Entry) Current() *Content {
	if e.Applied != nil {
		return e.Applied
	}
	return e.Attempted
}
