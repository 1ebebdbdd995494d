// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"
)

// doubled doubles an expression over x so many times.
func doubled(start, double string, times int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "x0 := %s\n", start)
	for i := range times {
		fmt.Fprintf(&b, "\tx%d := %s\n", i+1, strings.ReplaceAll(strings.ReplaceAll(double, "x", fmt.Sprintf("x%d", i)), "E", "ex"))
	}
	fmt.Fprintf(&b, "\tcount([x%d]) == 1", times)
	return b.String()
}

// What a policy does must not hurt the judge of all others: it ends in time, it
// allocates no more than is bounded, and it does not permit.
func TestAPolicyCanHurtNobody(t *testing.T) {
	for name, body := range map[string]string{
		"a loop within a loop":                            slow,
		"a long range":                                    "count(numbers.range(1, 1000000000)) > 0",
		"a long range with steps":                         "count(numbers.range_step(1, 100000000000, 2)) > 0",
		"a range of great numbers":                        `count(numbers.range(1, to_number("9999999999999999999999"))) > 0`,
		"many ranges":                                     "some i in numbers.range(1, 100000)\n\tcount(numbers.range(1, 100000)) == i",
		"a number with a great exponent":                  `to_number("1e999999999") > 5`,
		"one that is written out":                         `input.dryRun == (1e999999999 + 1 > 0)`,
		"a number that grows":                             doubled(`to_number("999999999999999999")`, "x * x", 40),
		"products":                                        doubled(`to_number("999999999999999999")`, "product([x, x])", 40),
		"a text that grows":                               doubled(`"xxxxxxxxxxxxxxxx"`, `concat("", [x, x])`, 40),
		"one that is joined by itself":                    doubled(`"aaaaaaaaaaaaaaaa"`, `concat(x, ["b", "b", "b"])`, 40),
		"one that is replaced":                            doubled(`"aaaaaaaaaaaaaaaa"`, `replace(x, "a", x)`, 10),
		"one that is replaced by pattern":                 doubled(`"aaaaaaaaaaaaaaaa"`, `regE.replace(x, "a", x)`, 10),
		"one that is replaced by many":                    doubled(`"aaaaaaaaaaaaaaaa"`, `strings.replace_n({"a": x}, x)`, 10),
		"one that is encoded":                             doubled(`"aaaaaaaaaaaaaaaa"`, `hE.encode(x)`, 40),
		"one that is printed":                             doubled(`"aaaaaaaaaaaaaaaa"`, `sprintf("%s%s", [x, x])`, 40),
		"one that is interpolated":                        doubled(`"aaaaaaaaaaaaaaaa"`, `$"{x}{x}"`, 40),
		"a list that is interpolated":                     doubled(`"aaaaaaaaaaaaaaaa"`, `$"{[x, x, {"k": x}]}"`, 40),
		"one that is printed wide":                        `count(sprintf("%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d%999999d", [1])) > 0`,
		"one that is split":                               doubled(`"aaaaaaaaaaaaaaaa"`, `concat("", array.concat(split(x, ""), split(x, "")))`, 40),
		"a list that grows":                               doubled(`[1, 2, 3, 4]`, `array.concat(x, x)`, 40),
		"a set that grows":                                "s := {[a, b, c, d] | some a in numbers.range(1, 500); some b in numbers.range(1, 500); some c in numbers.range(1, 500); some d in numbers.range(1, 500)}\n\tcount(s) > 0",
		"a list that holds itself twice, written as JSON": doubled(`[1]`, `[x, x]`, 60) + "\n\tcount(json.marshal(x60)) > 0",
		"the same, printed":                               doubled(`[1]`, `[x, x]`, 60) + "\n\tcount(sprintf(\"%v\", [x60])) > 0",
		"the same, flattened":                             doubled(`[1]`, `[x, x]`, 60) + "\n\tcount(array.flatten(x60)) > 0",
		"the same, walked":                                doubled(`[1]`, `[x, x]`, 60) + "\n\tcount([p | walk(x60, [p, _])]) > 0",
		"objects that hold themselves twice, joined":      doubled(`{"a": 1}`, `{"a": x, "b": x}`, 60) + "\n\tcount(object.union(x60, x60)) > 0",
		"a list of all combinations":                      "l := [[a, b, c] | some a in numbers.range(1, 2000); some b in numbers.range(1, 2000); some c in numbers.range(1, 2000)]\n\tcount(l) > 0",
		"an object of them":                               "o := {k: [a, b] | some a in numbers.range(1, 5000); some b in numbers.range(1, 5000); k := (a * 10000) + b}\n\tcount(o) > 0",
		"a question about each of them":                   "every a in numbers.range(1, 50000) {\n\t\tevery b in numbers.range(1, 50000) { a + b > 0 }\n\t}\n\tfalse",
		"a slow pattern on a long text":                   `regex.match("(((a{1,100}){1,10}){1,10})*b", concat("", [sprintf("%999999s", ["a"]), "a"]))`,
		"a long path by a pattern of many":                "some i in numbers.range(1, 1000)\n\tsome j in numbers.range(1, 1000)\n\tglob.match(sprintf(\"%d*%d*\", [i, j]), [], sprintf(\"%1000d\", [i]))",
	} {
		t.Run(name, func(t *testing.T) {
			e, err := New(t.Context(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, kind := range []string{`exception contains {"reason": "r", "paths": ["**"]} if {`, `deny contains {"reason": "r"} if {`} {
				if _, err := e.Load(t.Context(), module("package p\n\n"+kind+"\n\t"+body+"\n}")); err != nil {
					if !strings.Contains(err.Error(), "number too big") && !strings.Contains(err.Error(), "hold of each other") {
						t.Fatal(err)
					}
					return // it does not even load
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := time.Now()
				d := e.Decide(t.Context(), imageChange())
				took := time.Since(start)
				runtime.ReadMemStats(&after)
				if d.Verdict != Refuse || len(d.Errors) == 0 {
					t.Errorf("Decide = %s %v", d.Verdict, d.Errors)
				}
				if took > 5*time.Second {
					t.Errorf("took %s", took)
				}
				if grew := after.TotalAlloc - before.TotalAlloc; grew > 512<<20 {
					t.Errorf("allocated %d MiB", grew>>20)
				}
				for _, text := range d.Errors {
					if strings.Contains(text, boundedPrefix) {
						t.Errorf("nobody wrote this name: %s", text)
					}
				}
			}
		})
	}
}

func TestWhatHoldsItselfTwiceManyTimesDoesNotCompile(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want bool
	}{
		"many times":                 {doubled("[1]", "[x, x]", 20), false},
		"backwards":                  {"x3 = [x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2, x2]\n\tx2 = [x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1, x1]\n\tx1 = [x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0, x0]\n\tx0 = [1]\n\tcount(x3) > 0", false},
		"as members":                 {"some x1 in [[1]]\n\t" + membered(20), false},
		"as an object":               {doubled(`{"a": 1}`, `{"a": x, "b": x}`, 20), false},
		"a few times":                {doubled("[1]", "[x, x]", 8), true},
		"a number, again and again":  {doubled("1", "x + x", 40), true},
		"a text, again and again":    {doubled(`"a"`, `concat("", [x, "b"])`, 40), true},
		"a variable that is renamed": {"a := [1]\n\tb := a\n\tc := b\n\td := c\n\tcount(d) == 1", true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newEngine(t).Load(t.Context(), module("package p\n\ndeny contains {\"reason\": \"r\"} if {\n\t"+tt.body+"\n}"))
			if (err == nil) != tt.want || err != nil && !strings.Contains(err.Error(), "hold of each other") {
				t.Errorf("Load: %v", err)
			}
		})
	}
}

func membered(times int) string {
	var b strings.Builder
	for i := range times {
		fmt.Fprintf(&b, "some x%d in [[x%d, x%d]]\n\t", i+2, i+1, i+1)
	}
	fmt.Fprintf(&b, "count(x%d) > 0", times+1)
	return b.String()
}

// Whatever may be called makes no more than a fixed number of times its arguments,
// or is behind a limit: a function that OPA adds is not forgotten.
func TestWhatMakesTextsAndCollectionsIsBehindALimit(t *testing.T) {
	small := map[string]bool{
		// What these make is no longer than one of their arguments.
		"array.reverse": true, "array.slice": true, "object.get": true, "object.keys": true,
		"minus": true, "max": true, "min": true,
		"substring": true, "trim": true, "trim_left": true, "trim_right": true, "trim_prefix": true, "trim_suffix": true, "trim_space": true,
		"indexof_n": true, "glob.quote_meta": true, "urlquery.decode": true, "type_name": true,
		// A fixed size, or what is looked at one by one, until the deadline.
		"crypto.md5": true, "crypto.sha1": true, "crypto.sha256": true,
		"time.clock": true, "time.date": true, "time.diff": true, "time.format": true, "time.weekday": true,
		"uri.parse": true, "walk": true, "rego.metadata.chain": true, "rego.metadata.rule": true,
		"internal.print": true, "internal.test_case": true,
	}
	for name := range strings.FieldsSeq(allowedBuiltins) {
		b := ast.BuiltinMap[name]
		if b == nil || limits[name] != nil || small[name] {
			continue
		}
		switch result := b.Decl.Result().(type) {
		case nil, types.Boolean, types.Number:
		default:
			t.Errorf("%s makes %s without a limit", name, result)
		}
	}
}

// The functions behind a limit are OPA's own, and give what OPA's give.
func TestWhatFunctionsBehindALimitGive(t *testing.T) {
	e := newEngine(t, module(`package p

exception contains {"reason": "r", "paths": ["**"]} if {
	numbers.range(1, 3) == [1, 2, 3]
	numbers.range(3, 1) == [3, 2, 1]
	numbers.range_step(1, 5, 2) == [1, 3, 5]
	to_number("12") + 2 * 3 - 1 == 17
	7 % 4 == 3
	8 / 2 == 4
	round(1.6) == 2
	abs(-3) == 3
	sum([1, 2]) + product({2, 3}) == 9
	$"{1 + 1} of {["a"]}" == "2 of [\"a\"]"
	format_int(255, 16) == "ff"
	units.parse_bytes("1Ki") == 1024
	bits.and(6, 3) == 2
	concat(",", ["a", "b"]) == "a,b"
	concat("", {"a"}) == "a"
	sprintf("%05d %s %v", [7, "x", {"a": [1]}]) == "00007 x {\"a\": [1]}"
	replace("aba", "a", "cc") == "ccbcc"
	strings.replace_n({"a": "b"}, "aa") == "bb"
	regex.replace("abc", "(b)", "<$1>") == "a<b>c"
	regex.match("^a.*c$", "abc")
	regex.find_n("a", "aXa", -1) == ["a", "a"]
	regex.find_all_string_submatch_n("a(b)", "ab", -1) == [["ab", "b"]]
	regex.split(",", "a,b") == ["a", "b"]
	split("a.b", ".") == ["a", "b"]
	glob.match("a*", [], "abc")
	not glob.match("b*", [], "abc")
	array.concat([1], [2]) == [1, 2]
	{1} | {2} == {1, 2}
	{1, 2} & {2} == {2}
	union({{1}, {2}}) == {1, 2}
	object.union({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}
	object.remove({"a": 1, "b": 2}, ["a"]) == {"b": 2}
	json.marshal({"a": 1}) == "{\"a\":1}"
	json.unmarshal("[1]") == [1]
	json.patch({"a": 1}, [{"op": "remove", "path": "/a"}]) == {}
	{v | walk([1, [2]], [_, v]); is_number(v)} == {1, 2}
	sort({2, 1}) == [1, 2]
	graph.reachable({"a": ["b"], "b": []}, {"a"}) == {"a", "b"}
	net.cidr_contains_matches("10.0.0.0/8", "10.1.1.1") == {["10.0.0.0/8", "10.1.1.1"]}
	base64.encode("a") == "YQ=="
	hex.encode("a") == "61"
	urlquery.encode("a b") == "a+b"
	upper("a") == "A"
	lower("A") == "a"
	not object.subset({"a": 1}, {"b": 2})
}`))
	if d := e.Decide(t.Context(), imageChange()); d.Verdict != Permit || len(d.Errors) > 0 {
		t.Errorf("Decide = %+v", d)
	}
}

func TestWhatIsAllowedExists(t *testing.T) {
	box, err := newSandbox()
	if err != nil {
		t.Fatal(err)
	}
	for name := range limits {
		if !box.allowed[name] || ast.BuiltinMap[name] == nil {
			t.Errorf("there is a limit for %s, which nobody may call", name)
		}
	}
	for name := range box.known {
		for _, prefix := range []string{"http.", "net.lookup", "rand.", "uuid.", "time.now", "opa.", "trace", "io.", "crypto.x509", "crypto.hmac", "providers.", "rego.parse_module", "graphql.", "yaml.", "json.match_schema", "json.verify_schema", "graph.reachable_paths", "net.cidr_expand", "bits.lsh"} {
			if strings.HasPrefix(name, prefix) && box.allowed[name] {
				t.Errorf("%s is allowed", name)
			}
		}
	}
}

// Each built-in that is not allowed is refused by its name, with what to use.
func TestWhatIsNotAllowedDoesNotCompile(t *testing.T) {
	for call, says := range map[string]string{
		`http.send({"method": "get", "url": "http://x"}).status_code == 200`: "data.cluster",
		`net.lookup_ip_addr("example.org") == {""}`:                          "data.cluster",
		`rand.intn("x", 10) == 1`:                                            "the same every time",
		`uuid.rfc4122("x") == "y"`:                                           "the same every time",
		`time.now_ns() > 0`:                                                  "input.time",
		`opa.runtime().env.HOME == "x"`:                                      "input.cluster.name",
		`trace("x")`:                                                         "pure, cheap functions",
		`yaml.unmarshal("a: 1") == {"a": 1}`:                                 "json functions",
		`graph.reachable_paths({}, {"a"}) == set()`:                          "graph.reachable",
		`io.jwt.decode("x") == []`:                                           "pure, cheap functions",
		`bits.lsh(1, 1000000) > 0`:                                           "pure, cheap functions",
		`count(net.cidr_expand("10.0.0.0/8")) > 0`:                           "pure, cheap functions",
	} {
		t.Run(call, func(t *testing.T) {
			_, err := newEngine(t).Load(t.Context(), module("package p\n\ndeny contains {\"reason\": \"r\"} if {\n\t"+call+"\n}"))
			name, _, _ := strings.Cut(call, "(")
			name = strings.TrimPrefix(name, "count(")
			var le *LoadError
			if err == nil || !asLoadError(err, &le) || !slices.ContainsFunc(le.Items, func(p Problem) bool {
				return p.Row == 4 && strings.Contains(p.Hint, says)
			}) || name != "count" && !strings.Contains(err.Error(), name+" is not allowed") {
				t.Errorf("Load: %v, want %s refused at line 4 with %q", err, name, says)
			}
		})
	}
}
