// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ownership

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// ID is the identity of an object, whatever its version.
type ID struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// GroupKind of the object.
func (id ID) GroupKind() schema.GroupKind {
	return schema.GroupKind{Group: id.Group, Kind: id.Kind}
}

// String is for people: Deployment.apps shop/web, or Namespace shop.
func (id ID) String() string {
	name := id.Name
	if id.Namespace != "" {
		name = id.Namespace + "/" + id.Name
	}
	return id.GroupKind().String() + " " + name
}

// Hash is short and fits in a label's value.
func (id ID) Hash() string {
	sum := sha256.Sum256([]byte(id.Group + "\x00" + id.Kind + "\x00" + id.Namespace + "\x00" + id.Name))
	return hex.EncodeToString(sum[:6])
}

// LabelValue is the value of the ownership label of the object id when the
// GitSync called sync declares it.
func LabelValue(sync types.NamespacedName, id ID) string {
	return sync.Name + "." + id.Hash()
}

// Fits tells whether an ownership label's value was made for the object id. A
// value that does not fit is a copy made by a controller or a person.
func Fits(value string, id ID) bool {
	i := strings.LastIndexByte(value, '.')
	return i > 0 && value[i+1:] == id.Hash()
}
