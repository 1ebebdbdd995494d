// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package decisions

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

func decision(user, extra string) *record.Record {
	return &record.Record{
		Line: audit.Line{Decision: "d", Reason: "alice asked", User: &audit.LineUser{Username: user, Groups: []string{"developers", "system:authenticated"}}},
		Basis: &record.Basis{
			Input: json.RawMessage(`{"name":"web","userInfo":{"username":"` + user + `","uid":"42","groups":["developers","system:authenticated"],"extra":{` + extra + `}},"source":{"author":"Bo Smith","line":3}}`),
			Grant: &policy.Grant{Requester: user, Approver: "carol", Reason: "alice is ill", Ticket: "T-1"},
		},
	}
}

func TestPeopleAreReplacedTheSameByTheSame(t *testing.T) {
	n := newNames()
	one, again := decision("alice", `"example.org/mail":["alice@shop.example"]`), decision("alice", "")
	for _, r := range []*record.Record{one, again} {
		if err := n.replace(r); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "carol", "Bo", "developers", "T-1", `"uid":"42"`} {
		if strings.Contains(string(text), name) {
			t.Errorf("%s is still there: %s", name, text)
		}
	}
	if !strings.Contains(string(text), "system:authenticated") || !strings.Contains(string(text), `"name":"web"`) {
		t.Errorf("more than people is gone: %s", text)
	}
	if one.User.Username != again.User.Username || !strings.HasPrefix(one.User.Username, "user-") {
		t.Errorf("alice is %q and %q", one.User.Username, again.User.Username)
	}
}

// Policies tell components by their tokens: without that they would be judged
// otherwise.
func TestComponentsStayWhoTheyAre(t *testing.T) {
	const name = "system:serviceaccount:kube-system:deployment-controller"
	r := decision(name, `"authentication.kubernetes.io/credential-id":["JTI=1"]`)
	if err := newNames().replace(r); err != nil {
		t.Fatal(err)
	}
	if r.User.Username != name || !strings.Contains(string(r.Basis.Input), "credential-id") || !strings.Contains(string(r.Basis.Input), name) {
		t.Errorf("got %s, %s", r.User.Username, r.Basis.Input)
	}
}

func TestAnInputThatIsNoneIsAnError(t *testing.T) {
	r := decision("alice", "")
	r.Basis.Input = json.RawMessage(`{"userInfo":7}`)
	if err := newNames().replace(r); err == nil || !strings.Contains(err.Error(), "decision d") {
		t.Errorf("error %v", err)
	}
}
