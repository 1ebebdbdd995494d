// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration

import "k8s.io/apimachinery/pkg/runtime/schema"

// Sees tells whether a resource is registered when it is declared: a change of
// one that is not can only be reverted.
func Sees(r schema.GroupResource) bool { return !unseen(r) }
