// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

func TestMutated(t *testing.T) {
	const keyed = `{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:name":{},"f:image":{}}}},"f:metadata":{"f:finalizers":{"v:\"a\"":{},"v:\"b\"":{}}}}`
	for name, tt := range map[string]struct {
		sent, stored string
		want         []string
	}{
		"nothing":                           {`{"spec":{"a":1,"b":"x"}}`, `{"spec":{"a":1,"b":"x"},"status":{"c":1}}`, nil},
		"a scalar":                          {`{"spec":{"a":1}}`, `{"spec":{"a":2}}`, []string{"spec.a git: 1, stored: 2"}},
		"a text":                            {`{"spec":{"a":"x y"}}`, `{"spec":{"a":"z"}}`, []string{`spec.a git: "x y", stored: z`}},
		"a field is gone":                   {`{"spec":{"a":"x"}}`, `{"spec":{}}`, []string{"spec.a git: x, stored: nothing"}},
		"a field comes, as by defaulting":   {`{"spec":{"a":1}}`, `{"spec":{"a":1,"b":2}}`, nil},
		"true becomes false":                {`{"spec":{"a":true}}`, `{"spec":{"a":false}}`, []string{"spec.a git: true, stored: false"}},
		"false becomes true":                {`{"spec":{"a":false}}`, `{"spec":{"a":true}}`, []string{"spec.a git: false, stored: true"}},
		"none becomes some":                 {`{"spec":{"replicas":0}}`, `{"spec":{"replicas":5}}`, []string{"spec.replicas git: 0, stored: 5"}},
		"a zero is dropped":                 {`{"spec":{"a":0,"b":false,"c":"","d":null,"e":[],"f":{},"g":{"h":{"i":null}}}}`, `{"spec":{}}`, nil},
		"a zero is defaulted":               {`{"spec":{"timeoutSeconds":0,"protocol":""}}`, `{"spec":{"timeoutSeconds":1,"protocol":"TCP"}}`, nil},
		"an empty label is a value":         {`{"metadata":{"labels":{"a":""}}}`, `{"metadata":{}}`, []string{`metadata.labels.a git: "", stored: nothing`}},
		"a quantity":                        {`{"spec":{"a":"1000m","b":"1024Mi","c":1}}`, `{"spec":{"a":"1","b":"1Gi","c":"1"}}`, nil},
		"another quantity":                  {`{"spec":{"a":"1000m"}}`, `{"spec":{"a":"2"}}`, []string{"spec.a git: 1000m, stored: 2"}},
		"an annotation is no quantity":      {`{"metadata":{"annotations":{"a":"1000m"}}}`, `{"metadata":{"annotations":{"a":"1"}}}`, []string{"metadata.annotations.a git: 1000m, stored: 1"}},
		"a duration":                        {`{"spec":{"a":"60s"}}`, `{"spec":{"a":"1m0s"}}`, nil},
		"a time":                            {`{"spec":{"a":"2026-01-02T03:04:05+02:00"}}`, `{"spec":{"a":"2026-01-02T01:04:05Z"}}`, nil},
		"an address and a network":          {`{"spec":{"a":"2001:db8:0::1","b":"2001:db8:0::/48","c":"10.0.0.7/8"}}`, `{"spec":{"a":"2001:db8::1","b":"2001:db8::/48","c":"10.0.0.0/8"}}`, nil},
		"another address":                   {`{"spec":{"a":"10.0.0.1"}}`, `{"spec":{"a":"10.0.0.2"}}`, []string{"spec.a git: 10.0.0.1, stored: 10.0.0.2"}},
		"text that was wrapped":             {`{"spec":{"caBundle":"YWJj\nZGVm"}}`, `{"spec":{"caBundle":"YWJjZGVm"}}`, nil},
		"an element by its key":             {`{"spec":{"containers":[{"name":"web","image":"a"}]}}`, `{"spec":{"containers":[{"name":"side","image":"s"},{"name":"web","image":"b"}]}}`, []string{"spec.containers[name=web].image git: a, stored: b"}},
		"an element beside git's":           {`{"spec":{"containers":[{"name":"web","image":"a"}]}}`, `{"spec":{"containers":[{"name":"web","image":"a"},{"name":"side","image":"s"}]}}`, nil},
		"the order of a set":                {`{"metadata":{"finalizers":["a","b"]}}`, `{"metadata":{"finalizers":["b","a"]}}`, nil},
		"a member of a set":                 {`{"metadata":{"finalizers":["a","b"]}}`, `{"metadata":{"finalizers":["a"]}}`, []string{`metadata.finalizers[="b"] git: b, stored: nothing`}},
		"a list whose elements get more":    {`{"spec":{"ports":[{"port":80},{"port":81}]}}`, `{"spec":{"ports":[{"port":80,"protocol":"TCP"},{"port":81,"protocol":"TCP"}]}}`, nil},
		"and which gets more elements":      {`{"spec":{"ports":[{"port":80},{"port":81}]}}`, `{"spec":{"ports":[{"port":80,"protocol":"TCP"},{"port":79},{"port":81}]}}`, nil},
		"a list whose element is changed":   {`{"spec":{"ports":[{"port":80}]}}`, `{"spec":{"ports":[{"port":81}]}}`, []string{`spec.ports git: [{"port":80}], stored: [{"port":81}]`}},
		"a list of texts gets one":          {`{"spec":{"args":["a"]}}`, `{"spec":{"args":["a","b"]}}`, []string{`spec.args git: ["a"], stored: ["a","b"]`}},
		"a list of texts in another order":  {`{"spec":{"args":["a","b"]}}`, `{"spec":{"args":["b","a"]}}`, []string{`spec.args git: ["a","b"], stored: ["b","a"]`}},
		"bookkeeping and the status":        {`{"metadata":{"creationTimestamp":null,"uid":"x"},"status":{"a":1}}`, `{"metadata":{"uid":"y"}}`, nil},
		"the label that says whose it is":   {`{"metadata":{"labels":{"mainstay.dev/sync":"a"}}}`, `{"metadata":{"labels":{"mainstay.dev/sync":"b"}}}`, []string{"metadata.labels[\"mainstay.dev/sync\"] git: a, stored: b"}},
		"what a Secret is given in text":    {`{"apiVersion":"v1","kind":"Secret","stringData":{"a":"abc"},"data":{"a":"b2xk"}}`, `{"apiVersion":"v1","kind":"Secret","data":{"a":"YWJj"}}`, nil},
		"another value of a Secret, unsaid": {`{"apiVersion":"v1","kind":"Secret","stringData":{"a":"abc"},"data":{"b":"YWJj"}}`, `{"apiVersion":"v1","kind":"Secret","data":{"a":"eHl6","b":"eHl6"}}`, []string{"data.a is changed", "data.b is changed"}},
		"a long value is cut":               {`{"spec":{"a":"` + strings.Repeat("x", 200) + `"}}`, `{"spec":{"a":"y"}}`, []string{"spec.a git: " + strings.Repeat("x", maxShown) + "…, stored: y"}},
	} {
		t.Run(name, func(t *testing.T) {
			mine, err := fieldset.ParseSet([]byte(keyed))
			if err != nil {
				t.Fatal(err)
			}
			a := &Answer{object: fastjson.MustParse(tt.stored), mine: mine}
			got, err := a.Mutated([]byte(tt.sent))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("mutated (-want +got):\n%s", diff)
			}
		})
	}
}
