// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/json"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
)

// Record is one decision: the ledger's line about it, and what it rests on. As
// one line of JSON it is what mainstay decisions export writes.
type Record struct {
	audit.Line
	// Replica that decided.
	Replica string `json:"replica,omitempty"`
	// SameAs is the earlier decision of the same kind about the same change: what
	// both rest on is kept there only.
	SameAs string `json:"sameAs,omitempty"`
	// Withheld says why values are left out for who reads this.
	Withheld string `json:"withheld,omitempty"`
	// Basis is what the decision rests on; nil where it was not asked for, or
	// not kept.
	Basis *Basis `json:"basis,omitempty"`
}

// Basis is what a decision rests on.
type Basis struct {
	// Input is input as policies saw it.
	Input json.RawMessage `json:"input,omitempty"`
	// Sources of the policies that were asked, with the digest of each.
	Sources []policy.SourceDigest `json:"sources,omitempty"`
	// Data is what these may read of data.cluster for this change, and DataDigest
	// its digest. DataLeftOut tells that it was too much to be kept.
	Data        json.RawMessage `json:"data,omitempty"`
	DataDigest  string          `json:"dataDigest,omitempty"`
	DataLeftOut bool            `json:"dataLeftOut,omitempty"`
	// Grant is the BreakGlass that was used.
	Grant *policy.Grant `json:"grant,omitempty"`
	// LeftOut says why there is no Input.
	LeftOut string `json:"leftOut,omitempty"`
}
