// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"

	"github.com/mainstay-gitops/mainstay/policy"
)

// ownBreakGlass sees to it that nobody asks in another's name.
func (h *Handler) ownBreakGlass(req *request) finding {
	if req.operation != policy.Create {
		return finding{}
	}
	asked := string(req.object.GetStringBytes("spec", "requestedBy"))
	if asked == req.username() {
		return finding{fine: true}
	}
	return finding{reason: fmt.Sprintf("spec.requestedBy is %q and must be the name of whoever writes it, %q", asked, req.username())}
}
