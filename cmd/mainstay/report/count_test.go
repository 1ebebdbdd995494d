// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"testing"

	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

func TestALineOfTheLedgerMayStandForMany(t *testing.T) {
	c := newCounter()
	for _, n := range []int{0, 7} {
		r := record.Record{Line: audit.Line{
			Decision: "d", Verdict: "refuse", Mode: "Audit", Class: "default", Count: n, User: &audit.LineUser{Username: "alice"},
			Object: audit.LineObject{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}, Uncovered: []string{"spec.replicas"},
		}}
		if err := c.add(r); err != nil {
			t.Fatal(err)
		}
	}
	got := c.result()
	if got.Decisions != 8 || got.Would != 8 || len(got.Rows) != 1 || got.Rows[0].Count != 8 || got.Accounts != 1 || got.Objects != 1 {
		t.Errorf("got %+v", got)
	}
}
