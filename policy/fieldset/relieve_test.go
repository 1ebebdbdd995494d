// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"testing"

	"github.com/valyala/fastjson"
)

func TestRelieve(t *testing.T) {
	for name, tt := range map[string]struct {
		theirs, ours, want string
	}{
		"a field that both own is taken": {
			`{"f:data":{"f:a":{},"f:b":{}}}`, `{"f:data":{"f:a":{}}}`, `{"f:data":{"f:b":{}}}`,
		},
		"a map of which nothing is left goes with its mark": {
			`{"f:metadata":{"f:labels":{".":{},"f:a":{}},"f:annotations":{"f:x":{}}}}`,
			`{"f:metadata":{"f:labels":{"f:a":{}}}}`,
			`{"f:metadata":{"f:annotations":{"f:x":{}}}}`,
		},
		"an element of a list is taken with what others set in it": {
			`{"f:ports":{"k:{\"port\":80}":{".":{},"f:nodePort":{}},"k:{\"port\":81}":{".":{}}}}`,
			`{"f:ports":{"k:{\"port\":80}":{".":{},"f:port":{}}}}`,
			`{"f:ports":{"k:{\"port\":81}":{".":{}}}}`,
		},
		"an element of a set is taken": {
			`{"f:finalizers":{"v:\"a\"":{},"v:\"b\"":{}}}`, `{"f:finalizers":{"v:\"a\"":{}}}`, `{"f:finalizers":{"v:\"b\"":{}}}`,
		},
		"a value that they own as a whole is taken": {
			`{"f:spec":{}}`, `{"f:spec":{"f:a":{}}}`, `{}`,
		},
		"what ours does not have stays": {
			`{"f:spec":{"f:replicas":{}}}`, `{"f:spec":{"f:paused":{}},"f:data":{"f:a":{}}}`, `{"f:spec":{"f:replicas":{}}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			theirs, ours := fastjson.MustParse(tt.theirs), fastjson.MustParse(tt.ours)
			if taken := Relieve(theirs, ours); taken != (tt.theirs != tt.want) {
				t.Errorf("taken = %t", taken)
			}
			if got, want := string(Canonical(nil, theirs)), string(Canonical(nil, fastjson.MustParse(tt.want))); got != want {
				t.Errorf("left\n%s, want\n%s", got, want)
			}
			if Relieve(theirs, ours) {
				t.Error("there was more to take the second time")
			}
		})
	}
}
