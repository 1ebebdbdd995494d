// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"
)

// structure of a Deployment's containers, finalizers and so on, as our Apply
// entry would tell.
const structure = `{
	"f:metadata": {
		"f:labels": {"f:app": {}},
		"f:finalizers": {".": {}, "v:\"a\"": {}}
	},
	"f:spec": {
		"f:replicas": {},
		"f:args": {},
		"f:containers": {
			"k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {},
				"f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}
		}
	}
}`

func TestCompare(t *testing.T) {
	for name, tt := range map[string]struct {
		from, to string
		more     string
		want     []string
	}{
		"equal objects do not differ, whatever the order of keys": {
			from: `{"spec":{"a":1,"b":{"c":[1,2]}}}`, to: `{"spec":{"b":{"c":[1,2]},"a":1}}`,
		},
		"a value is replaced": {
			from: `{"spec":{"replicas":1}}`, to: `{"spec":{"replicas":2}}`,
			want: []string{"replace spec.replicas 1 2"},
		},
		"a type is replaced": {
			from: `{"spec":{"x":{"a":1}}}`, to: `{"spec":{"x":[1]}}`,
			want: []string{`replace spec.x {"a":1} [1]`},
		},
		"a field is added and another removed": {
			from: `{"spec":{"a":1}}`, to: `{"spec":{"b":2}}`,
			want: []string{"remove spec.a 1 -", "add spec.b - 2"},
		},
		"an added object is told by its leaves": {
			from: `{"spec":{}}`, to: `{"spec":{"a":{"b":{"c":1},"d":2}}}`,
			want: []string{"add spec.a.b.c - 1", "add spec.a.d - 2"},
		},
		"an added empty object is a difference": {
			from: `{"spec":{}}`, to: `{"spec":{"emptyDir":{}}}`,
			want: []string{"add spec.emptyDir - {}"},
		},
		"an element of a list with keys": {
			from: `{"spec":{"containers":[{"name":"web","image":"a"},{"name":"log","image":"b"}]}}`,
			to:   `{"spec":{"containers":[{"name":"web","image":"c"},{"name":"log","image":"b"}]}}`,
			want: []string{`replace spec.containers[name=web].image "a" "c"`},
		},
		"a sidecar is one difference": {
			from: `{"spec":{"containers":[{"name":"web"}]}}`,
			to:   `{"spec":{"containers":[{"name":"web"},{"name":"x","image":"y"}]}}`,
			want: []string{`add spec.containers[name=x] - {"image":"y","name":"x"}`},
		},
		"an element removed does not disturb the others": {
			from: `{"spec":{"containers":[{"name":"a"},{"name":"b"},{"name":"c"}]}}`,
			to:   `{"spec":{"containers":[{"name":"b"},{"name":"c"}]}}`,
			want: []string{`remove spec.containers[name=a] {"name":"a"} -`},
		},
		"order counts": {
			from: `{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}`,
			to:   `{"spec":{"containers":[{"name":"b"},{"name":"a"}]}}`,
			want: []string{`replace spec.containers [{"name":"a"},{"name":"b"}] [{"name":"b"},{"name":"a"}]`},
		},
		"keys inside keys": {
			from: `{"spec":{"containers":[{"name":"web","ports":[{"containerPort":80,"protocol":"TCP"}]}]}}`,
			to:   `{"spec":{"containers":[{"name":"web","ports":[{"containerPort":80,"protocol":"TCP","name":"http"}]}]}}`,
			want: []string{`add spec.containers[name=web].ports[containerPort=80,protocol=TCP].name - "http"`},
		},
		"two elements with one key make the list atomic": {
			from: `{"spec":{"containers":[{"name":"a"}]}}`,
			to:   `{"spec":{"containers":[{"name":"a"},{"name":"a"}]}}`,
			want: []string{`replace spec.containers [{"name":"a"}] [{"name":"a"},{"name":"a"}]`},
		},
		"an element without its key makes the list atomic": {
			from: `{"spec":{"containers":[{"name":"a"}]}}`,
			to:   `{"spec":{"containers":[{"image":"a"}]}}`,
			want: []string{`replace spec.containers [{"name":"a"}] [{"image":"a"}]`},
		},
		"a list that nobody knows is atomic": {
			from: `{"spec":{"args":["a","b"]}}`, to: `{"spec":{"args":["a"]}}`,
			want: []string{`replace spec.args ["a","b"] ["a"]`},
		},
		"another writer knows the keys of a list": {
			from: `{"spec":{"volumes":[{"name":"a","x":1}]}}`, to: `{"spec":{"volumes":[{"name":"a","x":2}]}}`,
			more: `{"f:spec":{"f:volumes":{"k:{\"name\":\"a\"}":{"f:x":{}}}}}`,
			want: []string{`replace spec.volumes[name=a].x 1 2`},
		},
		"members of a set": {
			from: `{"metadata":{"finalizers":["a","b"]}}`, to: `{"metadata":{"finalizers":["c","a"]}}`,
			want: []string{`remove metadata.finalizers[="b"] "b" -`, `add metadata.finalizers[="c"] - "c"`},
		},
		"the order of a set does not count": {
			from: `{"metadata":{"finalizers":["a","b"]}}`, to: `{"metadata":{"finalizers":["b","a"]}}`,
		},
		"a set that appears": {
			from: `{"metadata":{}}`, to: `{"metadata":{"finalizers":["a"]}}`,
			want: []string{`add metadata.finalizers[="a"] - "a"`},
		},
		"bookkeeping is never a difference": {
			from: `{"apiVersion":"v1","kind":"A","metadata":{"name":"x"},"status":{"a":1}}`,
			to: `{"apiVersion":"v2","kind":"B","status":{"a":2},"metadata":{"name":"x","uid":"u","resourceVersion":"1",
				"generation":2,"creationTimestamp":"t","deletionTimestamp":"t","deletionGracePeriodSeconds":1,"selfLink":"s","managedFields":[{}],
				"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"}}}`,
		},
		"the same names elsewhere are differences": {
			from: `{"spec":{}}`, to: `{"spec":{"status":1,"metadata":{"uid":"u"}}}`,
			want: []string{"add spec.status - 1", `add spec.metadata.uid - "u"`},
		},
		"finalizers and owners are not bookkeeping": {
			from: `{"metadata":{}}`, to: `{"metadata":{"ownerReferences":[{"uid":"u"}]}}`,
			want: []string{`add metadata.ownerReferences - [{"uid":"u"}]`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := ParseSet([]byte(structure))
			if err != nil {
				t.Fatal(err)
			}
			var more func() *Set
			if tt.more != "" {
				more = func() *Set {
					s, err := ParseSet([]byte(tt.more))
					if err != nil {
						t.Fatal(err)
					}
					return s
				}
			}
			var got []string
			for _, d := range Compare(fastjson.MustParse(tt.from), fastjson.MustParse(tt.to), set, more) {
				got = append(got, string(d.Op)+" "+d.Path.String()+" "+show(d.From)+" "+show(d.To))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Compare (-want +got):\n%s", diff)
			}
		})
	}
}

func show(v *fastjson.Value) string {
	if v == nil {
		return "-"
	}
	return string(Canonical(nil, v))
}

func TestPathsOutliveTheirDocuments(t *testing.T) {
	var p fastjson.Parser
	to, err := p.Parse(`{"spec":{"abcdef":1}}`)
	if err != nil {
		t.Fatal(err)
	}
	path := Compare(fastjson.MustParse(`{}`), to, nil, nil)[0].Path
	if _, err := p.Parse(`{"XXXX":{"XXXXXX":1}}`); err != nil {
		t.Fatal(err)
	}
	if got := path.String(); got != "spec.abcdef" {
		t.Errorf("path became %s when its parser was used again", got)
	}
}

func TestCanonicalIsJSON(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"keys are sorted":            {`{"b":1,"a":{"d":1,"c":2}}`, `{"a":{"c":2,"d":1},"b":1}`},
		"lists keep their order":     {`[2,1]`, `[2,1]`},
		"numbers keep their text":    {`1.50`, `1.50`},
		"control characters":         {`"\u001b[0m\u0007\u007f"`, "\"\\u001b[0m\\u0007\x7f\""},
		"signs of HTML stay":         {`"<&>"`, `"<&>"`},
		"quotes beside other planes": {`"\"😀"`, `"\"😀"`},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(Canonical(nil, fastjson.MustParse(tt.in)))
			if got != tt.want {
				t.Errorf("Canonical = %s, want %s", got, tt.want)
			}
			if err := fastjson.Validate(got); err != nil {
				t.Errorf("%s is not JSON: %v", got, err)
			}
		})
	}
	if got := Canonical(nil, nil); got != nil {
		t.Errorf("Canonical of nothing = %q", got)
	}
}

func TestPutMakesTheDifferenceGoAway(t *testing.T) {
	set, err := ParseSet([]byte(structure))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ from, to string }{
		"a field":            {`{"spec":{"replicas":1}}`, `{"spec":{"replicas":2}}`},
		"a missing parent":   {`{}`, `{"spec":{"a":{"b":1}}}`},
		"a removal":          {`{"spec":{"a":1,"b":2}}`, `{"spec":{"b":2}}`},
		"an element's field": {`{"spec":{"containers":[{"name":"web","image":"a"}]}}`, `{"spec":{"containers":[{"name":"web","image":"b"}]}}`},
		"a new element":      {`{"spec":{"containers":[{"name":"a"}]}}`, `{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}`},
		"a gone element":     {`{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}`, `{"spec":{"containers":[{"name":"b"}]}}`},
		"members of a set":   {`{"metadata":{"finalizers":["a","b"]}}`, `{"metadata":{"finalizers":["b","c\u0001"]}}`},
		"another order":      {`{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}`, `{"spec":{"containers":[{"name":"b"},{"name":"a"}]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := fastjson.MustParse(tt.from), fastjson.MustParse(tt.to)
			var arena fastjson.Arena
			differences := Compare(from, to, set, nil)
			if len(differences) == 0 {
				t.Fatal("there is nothing to put")
			}
			for _, d := range differences {
				if d.To != nil && !Equal(At(to, d.Path), d.To) {
					t.Errorf("At(%s) is not what Compare told", d.Path)
				}
				if err := Put(&arena, from, d.Path, d.To); err != nil {
					t.Fatal(err)
				}
			}
			if left := Compare(from, to, set, nil); len(left) > 0 {
				t.Errorf("still different: %v, %s", left[0].Path, from)
			}
		})
	}
}

func TestPutRefusesWhatHasNoPlace(t *testing.T) {
	var arena fastjson.Arena
	for path, object := range map[string]string{
		"a.b":      `{"a":1}`,
		"a[n=x].b": `{"a":{}}`,
		"a[n=x]":   `{"a":{}}`,
	} {
		if err := Put(&arena, fastjson.MustParse(object), mustParse(t, path), arena.NewTrue()); err == nil {
			t.Errorf("Put(%s) into %s succeeded", path, object)
		}
	}
	if err := Put(&arena, arena.NewObject(), nil, arena.NewTrue()); err == nil {
		t.Error("Put with an empty path succeeded")
	}
}

func TestPointer(t *testing.T) {
	object := fastjson.MustParse(`{"metadata":{"annotations":{"a/b~c":"1"},"finalizers":["x","y"]},"spec":{"containers":[{"name":"a"},{"name":"b","image":"i"}]}}`)
	for path, want := range map[string]string{
		`metadata.annotations["a/b~c"]`: "/metadata/annotations/a~1b~0c",
		`spec.containers[name=b].image`: "/spec/containers/1/image",
		`metadata.finalizers[="y"]`:     "/metadata/finalizers/1",
		`spec.containers[name=c]`:       "",
		`spec.nothing.here`:             "",
	} {
		got, ok := Pointer(object, mustParse(t, path))
		if ok != (want != "") || ok && got != want {
			t.Errorf("Pointer(%s) = %q, %t, want %q", path, got, ok, want)
		}
	}
}

func TestSetTouches(t *testing.T) {
	set, err := ParseSet([]byte(structure))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"spec.replicas":                       true,
		"spec":                                true,
		"spec.containers":                     true,
		"spec.containers[name=web].image":     true,
		"spec.containers[name=web].env":       false,
		"spec.containers[name=log]":           false,
		"spec.args":                           true,
		`spec.args[="below an atomic value"]`: true,
		`metadata.finalizers[="a"]`:           true,
		`metadata.finalizers[="b"]`:           false,
		"metadata.labels.app":                 true,
		"metadata.labels.other":               false,
		"spec.paused":                         false,
		"nothing":                             false,
	} {
		if got := set.Touches(mustParse(t, path)); got != want {
			t.Errorf("Touches(%s) = %t, want %t", path, got, want)
		}
		if got := Touches(fastjson.MustParse(structure), mustParse(t, path)); got != want {
			t.Errorf("Touches(%s) of JSON = %t, want %t", path, got, want)
		}
	}
	if (*Set)(nil).Touches(mustParse(t, "spec")) {
		t.Error("no set touches something")
	}
}

func TestSetCoversAndUnion(t *testing.T) {
	parse := func(text string) *Set {
		s, err := ParseSet([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	whole := parse(`{"f:a":{},"f:b":{"f:c":{},"k:{\"n\":\"x\"}":{".":{}}}}`)
	part := parse(`{"f:b":{"f:c":{}}}`)
	other := parse(`{"f:d":{}}`)
	below := parse(`{"f:a":{"f:x":{}}}`)
	for name, tt := range map[string]struct {
		a, b *Set
		want bool
	}{
		"a whole covers its part":                 {whole, part, true},
		"a part does not cover the whole":         {part, whole, false},
		"an atomic value covers what is below it": {whole, below, true},
		"another field is not covered":            {whole, other, false},
		"a union covers both":                     {Union(part, other, nil), Union(other, part), true},
		"everything covers nothing":               {other, nil, true},
		"nothing covers nothing else":             {nil, other, false},
	} {
		if got := tt.a.Covers(tt.b); got != tt.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
	if part.Covers(other) {
		t.Error("a union changed the sets it was made of")
	}
}

func TestParseSetRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{``, `[]`, `{"a":{}}`, `{"x:a":{}}`, `{"f:a":1}`, `{"k:[]":{}}`, `{"k:{":{}}`, `{"v:x":{}}`} {
		if _, err := ParseSet([]byte(text)); err == nil {
			t.Errorf("ParseSet(%q) succeeded", text)
		}
	}
}

func TestManagers(t *testing.T) {
	object := fastjson.MustParse(`{"metadata":{"managedFields":[
		{"manager":"mainstay","operation":"Apply","fieldsV1":{"f:spec":{"f:a":{}}}},
		{"manager":"mainstay","operation":"Apply","subresource":"scale","fieldsV1":{"f:spec":{"f:b":{}}}},
		{"manager":"kubectl-edit","operation":"Update","fieldsV1":{"f:spec":{"f:c":{}}}},
		{"manager":"none","operation":"Update"}]}}`)
	managers, err := Managers(object)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range managers {
		got = append(got, m.Name+" "+m.Operation+" "+m.Subresource)
	}
	if diff := cmp.Diff([]string{"mainstay Apply ", "mainstay Apply scale", "kubectl-edit Update "}, got); diff != "" {
		t.Errorf("Managers (-want +got):\n%s", diff)
	}
	if v := AppliedBy(object, "mainstay"); show(v) != `{"f:spec":{"f:a":{}}}` {
		t.Errorf("AppliedBy = %s", show(v))
	}
	if v := AppliedBy(object, "kubectl-edit"); v != nil {
		t.Errorf("AppliedBy an Update entry = %s", show(v))
	}
	if _, err := Managers(fastjson.MustParse(`{"metadata":{"managedFields":[{"manager":"m","fieldsV1":{"bad":{}}}]}}`)); err == nil {
		t.Error("an unreadable entry is no error")
	}
}

func FuzzCompare(f *testing.F) {
	f.Add(`{"spec":{"containers":[{"name":"web","image":"a"}]}}`, `{"spec":{"containers":[{"name":"web"},{"name":"b"}]}}`)
	f.Add(`{"metadata":{"finalizers":["a"]}}`, `{"metadata":{"finalizers":["\u0001","a"]}}`)
	f.Add(`{"spec":{"a":{}}}`, `{"spec":{"a":[]}}`)
	f.Add(`{"":{"":1}}`, `{"":{"":2}}`)
	set, err := ParseSet([]byte(structure))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		from, errFrom := fastjson.Parse(a)
		to, errTo := fastjson.Parse(b)
		if errFrom != nil || errTo != nil || from.Type() != fastjson.TypeObject || to.Type() != fastjson.TypeObject {
			return
		}
		forward := Compare(from, to, set, nil)
		for _, d := range forward {
			if d.Path.String() == "" || (d.From == nil) != (d.Op == OpAdd) || (d.To == nil) != (d.Op == OpRemove) {
				t.Fatalf("difference %s %s has the wrong values", d.Op, d.Path)
			}
			if Equal(d.From, d.To) {
				t.Fatalf("%s is told to differ and does not", d.Path)
			}
		}
		if (len(forward) == 0) != (len(Compare(to, from, set, nil)) == 0) {
			t.Fatal("there is a difference in one direction only")
		}
		if len(Compare(from, from, set, nil)) > 0 || len(Compare(to, to, set, nil)) > 0 {
			t.Fatal("an object differs from itself")
		}
	})
}
