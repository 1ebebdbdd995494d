// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPathIsWrittenOneWay(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		path Path
		want string // where it differs from text
	}{
		"fields are joined by dots": {
			text: "spec.replicas", path: Path{{Field: "spec"}, {Field: "replicas"}},
		},
		"an element is selected by its merge key": {
			text: "spec.containers[name=web].image",
			path: Path{{Field: "spec"}, {Field: "containers"}, {Keys: []Key{{"name", "web"}}}, {Field: "image"}},
		},
		"several merge keys are sorted by name": {
			text: "ports[protocol=TCP,containerPort=80]",
			path: Path{{Field: "ports"}, {Keys: []Key{{"containerPort", "80"}, {"protocol", "TCP"}}}},
			want: "ports[containerPort=80,protocol=TCP]",
		},
		"a key that is no identifier is quoted": {
			text: `metadata.annotations["cert-manager.io/inject-ca-from"]`,
			path: Path{{Field: "metadata"}, {Field: "annotations"}, {Field: "cert-manager.io/inject-ca-from"}},
		},
		"a quoted identifier loses its quotes": {
			text: `metadata["labels"].app`,
			path: Path{{Field: "metadata"}, {Field: "labels"}, {Field: "app"}},
			want: "metadata.labels.app",
		},
		"an element of a set is its JSON": {
			text: `metadata.finalizers[="example.com/x"]`,
			path: Path{{Field: "metadata"}, {Field: "finalizers"}, {Value: `"example.com/x"`}},
		},
		"a number in a set": {
			text: `spec.ports[=80]`, path: Path{{Field: "spec"}, {Field: "ports"}, {Value: "80"}},
		},
		"a string that looks like a number keeps its quotes": {
			text: `env[name="80"]`, path: Path{{Field: "env"}, {Keys: []Key{{"name", `"80"`}}}},
		},
		"quotes that say nothing are dropped": {
			text: `env[name="A"].value`,
			path: Path{{Field: "env"}, {Keys: []Key{{"name", "A"}}}, {Field: "value"}},
			want: "env[name=A].value",
		},
		"an unquoted value with a sign of the notation gets quotes": {
			text: `env[name=a=b]`, path: Path{{Field: "env"}, {Keys: []Key{{"name", `"a=b"`}}}},
			want: `env[name="a=b"]`,
		},
		"a star in a key is a key": {
			text: `data["*"]`, path: Path{{Field: "data"}, {Field: "*"}},
		},
		"brackets and escapes in a key": {
			text: `data["a]\"b\\"]`, path: Path{{Field: "data"}, {Field: `a]"b\`}},
		},
		"a path may start with a quoted key": {
			text: `["a.b"].c`, path: Path{{Field: "a.b"}, {Field: "c"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.path, got); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
			want := tt.want
			if want == "" {
				want = tt.text
			}
			if got.String() != want {
				t.Errorf("String() = %s, want %s", got, want)
			}
		})
	}
}

func TestParseSaysWhere(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"empty":                        {"", "path is empty"},
		"starts with a dot":            {".spec", "character 1: a path does not start with a dot"},
		"two dots":                     {"a..b", `character 3: a key that is no identifier is written ["like.this"]`},
		"ends with a dot":              {"a.", "character 3"},
		"text after a bracket":         {"a[b=c]d", "character 7: expected . or ["},
		"unclosed bracket":             {"a[", "character 3: unclosed ["},
		"unclosed string":              {`a["b]`, "character 3: unclosed string"},
		"no value":                     {"a[b=]", "character 5: expected a value"},
		"no key":                       {"a[=]", `character 4: an element of a set is written [="value"] or [=5]`},
		"an index":                     {"a[0]", "character 3: expected key=value"},
		"the same key twice":           {"a[b=1,b=2]", "character 7: this key is given twice"},
		"a quoted name of a merge key": {`a[b=1,"c"=2]`, "character 7: expected the name of a merge key"},
		"a set's element without JSON": {"a[=x]", "character 4"},
		"a star":                       {"a.*", "character 3"},
		"a star in brackets":           {"a[*]", "character 3: expected key=value"},
		"not UTF-8":                    {"a[b=\xff]", "is not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tt.text)
			if err == nil {
				t.Fatalf("Parse = %v, want an error with %q", got, tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want %q in it", err, tt.want)
			}
		})
	}
}

func TestPatternCovers(t *testing.T) {
	for name, tt := range map[string]struct {
		pattern, path string
		want          bool
	}{
		"itself":                                    {"spec.replicas", "spec.replicas", true},
		"what is below":                             {"spec.template", "spec.template.spec.containers[name=web].image", true},
		"not what is above":                         {"spec.template.spec", "spec.template", false},
		"not a neighbour":                           {"spec.replicas", "spec.paused", false},
		"not a longer name":                         {"spec.rep", "spec.replicas", false},
		"a star is one key":                         {"metadata.annotations.*", `metadata.annotations["a/b"]`, true},
		"a star is one element":                     {"spec.containers[*].image", "spec.containers[name=web].image", true},
		"a star is not two":                         {"spec.*.image", "spec.a.b.image", false},
		"a star needs something":                    {"spec.*", "spec", false},
		"two stars are any depth":                   {"**.image", "spec.template.spec.containers[name=web].image", true},
		"two stars are also none":                   {"spec.**.image", "spec.image", true},
		"two stars alone are everything":            {"**", "metadata.labels.a", true},
		"two stars at the end":                      {"spec.**", "spec.a.b", true},
		"two stars do not loosen the end":           {"spec.**.image", "spec.a.imagePullPolicy", false},
		"two stars do not loosen the start":         {"spec.**.image", "metadata.image", false},
		"several pairs of stars":                    {"**.a.**.b.**.c", "x.a.y.b.z.z.c.d", true},
		"several pairs of stars, wrong order":       {"**.b.**.a", "x.a.y.b", false},
		"an early match does not spoil a later one": {"a.**.b.c", "a.b.x.b.c", true},
		"elements of other keys":                    {"ports[name=a]", "ports[name=b]", false},
		"keys in another order":                     {"ports[protocol=TCP,port=80]", "ports[port=80,protocol=TCP]", true},
		"a quoted star is a key":                    {`data["*"]`, "data.a", false},
		"a member of a set":                         {`metadata.finalizers[="x"]`, `metadata.finalizers[="x"]`, true},
		"another member of a set":                   {`metadata.finalizers[="x"]`, `metadata.finalizers[="y"]`, false},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := ParsePattern(tt.pattern)
			if err != nil {
				t.Fatal(err)
			}
			path, err := Parse(tt.path)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Covers(path); got != tt.want {
				t.Errorf("%s covers %s = %t, want %t", tt.pattern, tt.path, got, tt.want)
			}
		})
	}
}

func TestPatternWithManyStarsIsFast(t *testing.T) {
	p, err := ParsePattern(strings.TrimSuffix(strings.Repeat("**.a.", 200), ".") + ".b")
	if err != nil {
		t.Fatal(err)
	}
	path := make(Path, 400)
	for i := range path {
		path[i].Field = "a"
	}
	if p.Covers(path) { // takes for ever if it tries all ways
		t.Error("covers a path without its last field")
	}
}

func TestPathPrefix(t *testing.T) {
	path := mustParse(t, "spec.containers[name=web].image")
	for text, want := range map[string]bool{
		"spec": true, "spec.containers[name=web]": true, "spec.containers[name=web].image": true,
		"spec.containers[name=db]": false, "spec.containers[name=web].image.tag": false,
	} {
		if got := path.HasPrefix(mustParse(t, text)); got != want {
			t.Errorf("HasPrefix(%s) = %t, want %t", text, got, want)
		}
	}
	longer := path[:2].With(Segment{Field: "x"})
	if got := path.String(); got != "spec.containers[name=web].image" {
		t.Errorf("With changed the path it was called on: %s", got)
	}
	if got := longer.String(); got != "spec.containers.x" {
		t.Errorf("With = %s", got)
	}
	if !path.Equal(mustParse(t, path.String())) || path.Equal(longer) {
		t.Error("Equal is wrong")
	}
}

func mustParse(t *testing.T, text string) Path {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"spec.replicas", "a[b=c,d=4].e", `a["x/y"]`, `a[="v"]`, `a[="\u0001"]`, "a[b=c=d]", "**.x", "[*]", `a[b="1"]`, "a[=1e3]", `a[b={}]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err == nil {
			again, err := Parse(p.String())
			if err != nil {
				t.Fatalf("Parse(%q).String() = %q does not parse: %v", text, p, err)
			}
			if !p.Equal(again) || again.String() != p.String() {
				t.Fatalf("%q is read as %q, which is read as %q", text, p, again)
			}
		}
		pattern, patternErr := ParsePattern(text)
		if err == nil {
			if patternErr != nil {
				t.Fatalf("%q is a path but no pattern: %v", text, patternErr)
			}
			if !pattern.Covers(p) {
				t.Fatalf("%q does not cover itself", text)
			}
		}
	})
}
