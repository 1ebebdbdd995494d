// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyWhatRulesThatCanMatchReadIsConverted(t *testing.T) {
	e := newEngine(t, module(`package p

deny contains {"reason": "elsewhere"} if {
	input.namespace == "elsewhere"
	input.object.spec.a == 1
}

deny contains {"reason": "in the shop"} if {
	input.namespace == "shop"
	helper
}

helper if input.object.spec.b == 1

exception contains {"reason": "somebody else", "paths": ["**"]} if {
	input.userInfo.username == "somebody else"
	input.oldObject.spec.c == 1
}

deny contains {"reason": "replaced"} if {
	input.namespace == "with"
	helper with input.object as {"spec": {"b": 1}}
}`))
	all := []string{"object.metadata.deletionTimestamp", "object.spec.a", "object.spec.b", "oldObject.spec.c"}
	for name, tt := range map[string]struct {
		namespace, user string
		deny, exception bool
		want            []string
	}{
		"none can match":                   {"none", "alice", false, false, all[:1]},
		"one can, by way of a helper":      {"shop", "alice", true, false, []string{all[0], all[2]}},
		"one of each kind can":             {"shop", "somebody else", true, true, []string{all[0], all[2], all[3]}},
		"input is replaced: what all read": {"with", "alice", true, false, []string{"object", all[3]}},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time from the cache
				c := imageChange()
				c.Record.Namespace, c.User.Username = tt.namespace, tt.user
				now := e.sources.Load()
				sources, positions, want := now.inScope(c)
				read := now.narrow(sources, positions, e.earlyInput(c, &want.reads))
				var got []string
				for _, member := range []string{"object", "oldObject"} {
					if r := read.at(member); r != nil {
						got = append(got, r.leaves(member)...)
					}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("reads (-want +got):\n%s", diff)
				}
				if s := sources[1]; s.denials != tt.deny || s.exceptions != tt.exception {
					t.Errorf("asks denials: %t, exceptions: %t; want %t, %t", s.denials, s.exceptions, tt.deny, tt.exception)
				}
			}
		})
	}
}
