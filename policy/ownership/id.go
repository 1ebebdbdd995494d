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

// LabelValue is the value of the ownership label of the object id when the
// GitSync called sync declares it: the GitSync's name, and a hash of the
// GitSync's namespace and of the object's own identity.
func LabelValue(sync types.NamespacedName, id ID) string {
	sum := sha256.Sum256([]byte(id.Group + "\x00" + id.Kind + "\x00" + id.Namespace + "\x00" + id.Name + "\x00" + sync.Namespace))
	return sync.Name + "." + hex.EncodeToString(sum[:6])
}

// Fits tells whether an ownership label's value was made for the object id by
// the GitSync called sync. A value that fits none is a copy made by a controller
// or a person.
func Fits(value string, sync types.NamespacedName, id ID) bool {
	return strings.HasPrefix(value, sync.Name+".") && value == LabelValue(sync, id)
}
