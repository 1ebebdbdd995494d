// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// allowedBuiltins is what policies may call: pure functions of their arguments,
// without network, clock, randomness or the environment, and without those
// that parse untrusted formats at length.
const allowedBuiltins = `
eq assign equal neq gt gte lt lte internal.member_2 internal.member_3 internal.print print
internal.template_string internal.test_case
plus minus mul div rem round ceil floor abs numbers.range numbers.range_step to_number format_int
bits.and bits.or bits.xor bits.negate
and or intersection union count sum product max min sort
array.concat array.flatten array.reverse array.slice
object.filter object.get object.keys object.remove object.subset object.union object.union_n
json.filter json.is_valid json.marshal json.marshal_with_options json.patch json.remove json.unmarshal
concat contains endswith indexof indexof_n lower replace split sprintf startswith substring trim
trim_left trim_prefix trim_right trim_space trim_suffix upper strings.any_prefix_match
strings.any_suffix_match strings.count strings.replace_n strings.reverse strings.split_n
regex.find_all_string_submatch_n regex.find_n regex.is_valid regex.match regex.replace regex.split
regex.template_match glob.match glob.quote_meta
is_array is_boolean is_null is_number is_object is_set is_string type_name
time.add_date time.clock time.date time.diff time.format time.parse_duration_ns time.parse_ns
time.parse_rfc3339_ns time.weekday
units.parse units.parse_bytes semver.compare semver.is_valid
base64.decode base64.encode base64.is_valid base64url.decode base64url.encode
base64url.encode_no_pad hex.decode hex.encode urlquery.decode urlquery.encode
urlquery.decode_object urlquery.encode_object uri.is_valid uri.parse
crypto.md5 crypto.sha1 crypto.sha256
net.cidr_contains net.cidr_contains_matches net.cidr_intersects net.cidr_is_valid net.cidr_merge
graph.reachable walk rego.metadata.chain rego.metadata.rule
`

// instead says what to use in place of a built-in that is not allowed.
func instead(name string) string {
	switch {
	case name == "time.now_ns":
		return "use time.parse_rfc3339_ns(input.time): the one clock that is the same in every judgement"
	case name == "http.send" || strings.HasPrefix(name, "net.lookup"):
		return "policies have no network; read objects of the cluster through data.cluster"
	case name == "opa.runtime":
		return "policies have no environment; input.cluster.name names the cluster"
	case name == "graph.reachable_paths":
		return "use graph.reachable: there may be more paths than anybody can wait for"
	case strings.HasPrefix(name, "rand.") || strings.HasPrefix(name, "uuid."):
		return "a judgement must come out the same every time"
	case strings.HasPrefix(name, "yaml."):
		return "use the json functions; input is parsed already"
	default:
		return "policies may call pure, cheap functions only"
	}
}

// sandbox is what policies are compiled with.
type sandbox struct {
	capabilities *ast.Capabilities
	allowed      map[string]bool
	// known are all of OPA's built-ins, so that one that is not allowed can be
	// told from a function that does not exist.
	known map[string]bool
	// schemas are what types are checked by.
	schemas *ast.SchemaSet
}

func newSandbox() (*sandbox, error) {
	schemas, err := inputSchema()
	if err != nil {
		return nil, err
	}
	all := ast.CapabilitiesForThisVersion()
	s := &sandbox{
		capabilities: &ast.Capabilities{
			FutureKeywords: all.FutureKeywords,
			Features:       all.Features,
			AllowNet:       []string{},
		},
		allowed: map[string]bool{},
		known:   map[string]bool{},
		schemas: schemas,
	}
	for name := range strings.FieldsSeq(allowedBuiltins) {
		s.allowed[name] = true
	}
	for _, b := range all.Builtins {
		s.known[b.Name] = true
		if s.allowed[b.Name] {
			s.capabilities.Builtins = append(s.capabilities.Builtins, b)
		}
	}
	s.capabilities.Builtins = append(s.capabilities.Builtins, boundedBuiltins()...)
	covers := coversDecl()
	s.allowed[covers.Name] = true
	s.capabilities.Builtins = append(s.capabilities.Builtins, &ast.Builtin{Name: covers.Name, Decl: covers.Decl})
	return s, nil
}

// compiler returns a new compiler for modules of the sandbox.
func (s *sandbox) compiler() *ast.Compiler {
	return ast.NewCompiler().
		WithCapabilities(s.capabilities).
		WithStrict(true).
		WithDefaultRegoVersion(ast.RegoV1).
		WithSchemas(s.schemas).
		WithEnablePrintStatements(false).
		WithStageAfterID(ast.StageBuildRequiredCapabilities, ast.CompilerStageDefinition{
			Name: "MainstayBounds", MetricName: "mainstay_bounds", Stage: boundCalls,
		})
}

func coversDecl() *rego.Function {
	return &rego.Function{
		Name:    "mainstay.covers",
		Decl:    types.NewFunction(types.Args(types.S, types.S), types.B),
		Memoize: true,
	}
}

// coversFunction is lib.covers in Go: the same code that matches the paths of
// exceptions.
func coversFunction() func(*rego.Rego) {
	return rego.Function2(coversDecl(), func(_ rego.BuiltinContext, pattern, path *ast.Term) (*ast.Term, error) {
		patternText, _ := pattern.Value.(ast.String)
		pathText, _ := path.Value.(ast.String)
		p, err := fieldset.ParsePattern(string(patternText))
		if err != nil {
			return nil, err
		}
		q, err := fieldset.Parse(string(pathText))
		if err != nil {
			return nil, err
		}
		return ast.InternedTerm(p.Covers(q)), nil
	})
}

func coversForTests() *tester.Builtin {
	decl := coversDecl()
	return &tester.Builtin{Decl: &ast.Builtin{Name: decl.Name, Decl: decl.Decl}, Func: coversFunction()}
}
