// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// State of an object on the way from one side to the other.
type State string

// The states.
const (
	Equal   State = "equal"
	Differs State = "differs"
	// Missing: git declares it, and it is not there.
	Missing State = "missing"
	// Leaves: git no longer declares it, so that it is pruned.
	Leaves State = "leaves"
	// Permitted: it differs, and an exception lets it, so that a sync leaves it
	// as it is.
	Permitted State = "permitted"
	// Unreadable: the viewer may not read it.
	Unreadable State = "unreadable"
)

// Object is what differs of one object.
type Object struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	State     State  `json:"state"`
	// File and Line in the repository.
	File    string   `json:"file,omitempty"`
	Line    int      `json:"line,omitempty"`
	Changes []Change `json:"changes,omitempty"`
	// Managers are the field managers of the live object, with --live.
	Managers []string `json:"managers,omitempty"`
	// Message says why it could not be read, or what permits it.
	Message string `json:"message,omitempty"`
}

// Change is one field. Values of Secrets are hashes, which differ where the
// values do.
type Change struct {
	Path string `json:"path"`
	// From is what is there now, To what would be.
	From json.RawMessage `json:"from,omitempty"`
	To   json.RawMessage `json:"to,omitempty"`
	// Manager wrote what is there, as far as managedFields tell.
	Manager string `json:"manager,omitempty"`
}

func object(id ownership.ID, state State) Object {
	return Object{Group: id.Group, Kind: id.Kind, Namespace: id.Namespace, Name: id.Name, State: state}
}

func sortObjects(objects []Object) {
	slices.SortFunc(objects, func(a, b Object) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(cli.Kind(a.Group, a.Kind), cli.Kind(b.Group, b.Kind)), strings.Compare(a.Name, b.Name))
	})
}

// mask hides the values of Secrets: a key that nobody knows makes hashes that
// tell equal from unequal within one run, and nothing else.
type mask struct{ key []byte }

func newMask() *mask {
	m := &mask{key: make([]byte, 32)}
	_, _ = rand.Read(m.key) // never fails
	return m
}

// value is a value as it may be shown.
func (m *mask) value(id ownership.ID, path fieldset.Path, v *fastjson.Value) json.RawMessage {
	if v == nil {
		return nil
	}
	text := fieldset.Canonical(nil, v)
	if !hidden(id, path) {
		return text
	}
	h := hmac.New(sha256.New, m.key)
	h.Write(text)
	shown, err := json.Marshal("hidden " + hex.EncodeToString(h.Sum(nil)[:4]))
	if err != nil {
		return nil // a string always encodes
	}
	return shown
}

// hidden tells whether a field may hold a secret: data and annotations of a
// Secret, and all that they are in.
func hidden(id ownership.ID, path fieldset.Path) bool {
	if id.Group != "" || id.Kind != "Secret" {
		return false
	}
	for _, secret := range []fieldset.Path{{{Field: "data"}}, {{Field: "stringData"}}, {{Field: "metadata"}, {Field: "annotations"}}} {
		if path.HasPrefix(secret) || secret.HasPrefix(path) {
			return true
		}
	}
	return false
}
