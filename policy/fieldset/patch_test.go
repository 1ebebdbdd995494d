// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"
)

func TestJSONPatch(t *testing.T) {
	tests := map[string]struct{ from, to, want string }{
		"nothing differs, but the order of keys": {`{"a":1,"b":[1,{"c":2}]}`, `{"b":[1,{"c":2}],"a":1}`, ``},
		"a value":                                {`{"a":{"b":1,"c":2}}`, `{"a":{"b":3,"c":2}}`, `[{"op":"replace","path":"/a/b","value":3}]`},
		"a key comes and a key goes":             {`{"a":{"b":1,"k":"kept"}}`, `{"a":{"c":1,"k":"kept"}}`, `[{"op":"replace","path":"/a","value":{"c":1,"k":"kept"}}]`},
		"keys that have to be escaped":           {`{"x":"a long enough text","a/b":1}`, `{"x":"a long enough text","c~d":1}`, `[{"op":"remove","path":"/a~1b"},{"op":"add","path":"/c~0d","value":1}]`},
		"an element of a list":                   {`{"a":[{"n":1},{"n":2},{"n":3}]}`, `{"a":[{"n":1},{"n":5},{"n":3}]}`, `[{"op":"replace","path":"/a/1/n","value":5}]`},
		"elements come in the middle":            {`{"a":[{"name":"first"},{"name":"last"}]}`, `{"a":[{"name":"first"},1,2,{"name":"last"}]}`, `[{"op":"add","path":"/a/1","value":1},{"op":"add","path":"/a/2","value":2}]`},
		"one element comes at the end":           {`{"a":[{"name":"the first"},{"name":"the second"}]}`, `{"a":[{"name":"the first"},{"name":"the second"},3]}`, `[{"op":"add","path":"/a/2","value":3}]`},
		"elements go from the middle":            {`{"a":["a longer text than the operations below have, so that they are better",1,2,"and another one that is as long as that, or longer"]}`, `{"a":["a longer text than the operations below have, so that they are better","and another one that is as long as that, or longer"]}`, `[{"op":"remove","path":"/a/1"},{"op":"remove","path":"/a/1"}]`},
		"another type":                           {`{"a":{"b":1}}`, `{"a":"x"}`, `[{"op":"replace","path":"/a","value":"x"}]`},
		"null is a value":                        {`{"a":null}`, `{"a":1}`, `[{"op":"replace","path":"/a","value":1}]`},
		"the whole document is no address":       {`{"a":1,"b":2}`, `{"c":3}`, `[{"op":"remove","path":"/a"},{"op":"remove","path":"/b"},{"op":"add","path":"/c","value":3}]`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, string(JSONPatch(fastjson.MustParse(test.from), fastjson.MustParse(test.to)))); diff != "" {
				t.Errorf("patch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReorder(t *testing.T) {
	tests := map[string]struct{ list, like, want string }{
		"the order of the other list":          {`[{"k":1},{"k":2},{"k":3}]`, `[{"k":3},{"k":2},{"k":1}]`, `[{"k":3},{"k":2},{"k":1}]`},
		"an element of its own stays in place": {`[{"k":2},{"k":9},{"k":1}]`, `[{"k":1},{"k":2}]`, `[{"k":1},{"k":9},{"k":2}]`},
		"one that it lacks stays away":         {`[{"k":2},{"k":1}]`, `[{"k":1},{"k":7},{"k":2}]`, `[{"k":1},{"k":2}]`},
		"values are kept":                      {`[{"k":2,"v":"x"},{"k":1}]`, `[{"k":1,"v":"y"},{"k":2}]`, `[{"k":1},{"k":2,"v":"x"}]`},
		"an element has no key":                {`[{"k":2},{}]`, `[{"k":1},{"k":2}]`, `[{"k":2},{}]`},
		"two have the same":                    {`[{"k":2},{"k":1}]`, `[{"k":1},{"k":1},{"k":2}]`, `[{"k":2},{"k":1}]`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			list := fastjson.MustParse(test.list)
			Reorder(list, fastjson.MustParse(test.like), []string{"k"})
			if diff := cmp.Diff(test.want, string(Canonical(nil, list))); diff != "" {
				t.Errorf("list (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCompareNamesTheKeysOfAnotherOrder(t *testing.T) {
	set, err := ParseSet([]byte(`{"f:l":{"k:{\"k\":1}":{".":{}}},"f:atomic":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	got := Compare(fastjson.MustParse(`{"l":[{"k":1},{"k":2}],"atomic":[1,2]}`), fastjson.MustParse(`{"l":[{"k":2},{"k":1}],"atomic":[2,1]}`), set, nil)
	var orders [][]string
	for _, d := range got {
		orders = append(orders, d.Order)
	}
	if diff := cmp.Diff([][]string{{"k"}, nil}, orders); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
}

func TestOwnAndDisown(t *testing.T) {
	const all = `{"f:spec":{"f:atomic":{},"f:list":{"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{}}},"f:set":{".":{},"v:\"x\"":{}}}}`
	tests := map[string]struct{ path, without, from string }{
		"a field of an element":              {"spec.list[name=a].image", `{"f:spec":{"f:atomic":{},"f:list":{"k:{\"name\":\"a\"}":{".":{},"f:name":{}}},"f:set":{".":{},"v:\"x\"":{}}}}`, all},
		"an element":                         {"spec.list[name=a]", `{"f:spec":{"f:atomic":{},"f:set":{".":{},"v:\"x\"":{}}}}`, all},
		"a member of a set":                  {`spec.set[="x"]`, `{"f:spec":{"f:atomic":{},"f:list":{"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{}}},"f:set":{".":{}}}}`, all},
		"an atomic value":                    {"spec.atomic", `{"f:spec":{"f:list":{"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{}}},"f:set":{".":{},"v:\"x\"":{}}}}`, all},
		"all of it":                          {"spec", `{}`, all},
		"what nobody owns":                   {"spec.other", all, all},
		"what is below an atomic value":      {"spec.atomic.below", all, all},
		"the last field takes parents along": {"spec.a.b", `{}`, `{"f:spec":{"f:a":{"f:b":{}}}}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path, err := Parse(test.path)
			if err != nil {
				t.Fatal(err)
			}
			fields := fastjson.MustParse(test.from)
			Disown(fields, path)
			if diff := cmp.Diff(test.without, string(Canonical(nil, fields))); diff != "" {
				t.Errorf("disowned (-want +got):\n%s", diff)
			}
			var arena fastjson.Arena
			Own(&arena, fields, fastjson.MustParse(test.from), path)
			if diff := cmp.Diff(test.from, string(Canonical(nil, fields))); diff != "" {
				t.Errorf("owned again (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("an atomic value is owned again as a whole", func(t *testing.T) {
		var arena fastjson.Arena
		fields := fastjson.MustParse(`{"f:spec":{"f:b":{}}}`)
		Own(&arena, fields, fastjson.MustParse(`{"f:spec":{"f:atomic":{}}}`), Path{{Field: "spec"}, {Field: "atomic"}, {Field: "below"}})
		if got, want := string(Canonical(nil, fields)), `{"f:spec":{"f:atomic":{},"f:b":{}}}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
