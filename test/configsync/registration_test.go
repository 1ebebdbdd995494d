// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"testing"
	"time"
)

// registration are the cases of the merging of their webhook's configuration.
func registration() []scenario {
	// restored has a person edit the configuration, and waits until it is what
	// it was.
	restored := func(t *testing.T, patch string) {
		t.Helper()
		const path = "validatingwebhookconfiguration mainstay"
		before := live(t, path, ".webhooks")
		allowed(t, "patch "+path+" --type=json -p="+patch)
		if took := shared.Await(t, "the configuration is what it was", func() (bool, string) {
			now := live(t, path, ".webhooks")
			return now == before, now
		}); took > 3*time.Second {
			t.Errorf("restored after %s", took)
		}
	}
	const why = "nothing is merged: the configuration is what the inventory says, at any time"
	return []scenario{
		{
			id: "M1", when: "somebody changes the failure policy", theirs: "overwritten with Ignore, at the next commit",
			ours: "back to what it was within a second: Fail for what is held", why: "an outage must not open what git holds",
			try: func(t *testing.T) {
				becomes(t, "validatingwebhookconfiguration mainstay", ".webhooks[0].failurePolicy", "Fail")
				denied(t, "delete configmap held -n v --dry-run=server")
				restored(t, `[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`)
			},
		},
		{
			id: "M2", when: "rules, groups or versions are missing, double or too many", theirs: "merged with what is declared; what is not is kept",
			ours: "back to what it was within a second", why: why,
			try: func(t *testing.T) {
				restored(t, `[{"op":"replace","path":"/webhooks/0/rules","value":[{"operations":["UPDATE","UPDATE"],"apiGroups":["*"],"apiVersions":["v1","v1"],"resources":["pods"]}]}]`)
			},
		},
		{
			id: "M3", when: "an entry is missing, or one too many", theirs: "dropped or added at the next commit",
			ours: "back to what it was within a second", why: why,
			try: func(t *testing.T) {
				restored(t, `[{"op":"remove","path":"/webhooks/0"},{"op":"add","path":"/webhooks/0","value":{"name":"more.example.org","clientConfig":{"url":"https://127.0.0.1:1"},"rules":[],"sideEffects":"None","admissionReviewVersions":["v1"],"failurePolicy":"Ignore"}}]`)
			},
		},
	}
}
