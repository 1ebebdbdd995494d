// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package library_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/library"
)

func loaded(t *testing.T) *library.Library {
	t.Helper()
	l, err := library.Load()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestEveryPolicyIsComplete(t *testing.T) {
	for _, p := range loaded(t).Policies() {
		t.Run(p.Name, func(t *testing.T) {
			if p.Title == "" || p.Description == "" || len(p.Rules) == 0 {
				t.Errorf("title, description or rules are missing: %+v", p)
			}
			for _, r := range p.Rules {
				if r.Title == "" {
					t.Errorf("a rule %s has no title", r.Kind)
				}
			}
			files := p.Files()
			for _, file := range []string{p.Name + "/" + p.Name + ".rego", p.Name + "/" + p.Name + "_test.rego"} {
				if files[file] == "" {
					t.Errorf("%s is missing", file)
				}
			}
			for _, part := range []string{"# " + p.Name + "\n", "library: [" + p.Name + "]", "**Why it is right.**"} {
				if !strings.Contains(p.Page, part) {
					t.Errorf("the page does not contain %q", part)
				}
			}
			for _, parameter := range p.Parameters {
				if !strings.Contains(p.Page, "| `"+parameter.Name+"` |") {
					t.Errorf("the page does not tell of the parameter %s", parameter.Name)
				}
			}
		})
	}
}

func TestEveryPolicyIsFormatted(t *testing.T) {
	for _, p := range loaded(t).Policies() {
		for file, text := range p.Files() {
			formatted, err := format.SourceWithOpts(file, []byte(text), format.Opts{RegoVersion: ast.RegoV1})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(formatted, []byte(text)) {
				t.Errorf("%s is not as opa fmt writes it:\n%s", file, cmp.Diff(text, string(formatted)))
			}
		}
	}
}

// What the metadata says is the default is what the Rego takes.
func TestDefaultsAreThoseOfTheRego(t *testing.T) {
	for _, p := range loaded(t).Policies() {
		for _, parameter := range p.Parameters {
			if parameter.Default == nil {
				continue
			}
			options := []func(*rego.Rego){rego.Query("data.library." + strings.ReplaceAll(p.Name, "-", "_") + "." + parameter.Name)}
			for file, text := range p.Files() {
				if !strings.HasSuffix(file, "_test.rego") {
					options = append(options, rego.Module(file, strings.ReplaceAll(text, "import data.mainstay.lib\n", "import data.stub as lib\n")))
				}
			}
			options = append(options, rego.Module("stub.rego", stub))
			results, err := rego.New(options...).Eval(t.Context())
			if err != nil || len(results) != 1 {
				t.Errorf("%s: %s is not defined without parameters: %v", p.Name, parameter.Name, err)
				continue
			}
			want, _ := json.Marshal(parameter.Default)
			got, _ := json.Marshal(results[0].Expressions[0].Value)
			if string(got) != string(want) {
				t.Errorf("%s: the default of %s is %s in the Rego, %s in the metadata", p.Name, parameter.Name, got, want)
			}
		}
	}
}

// stub stands for the helpers, of which no default depends.
const stub = `package stub

by_user(_) := false
by_group(_) := false
by_service_account(_, _) := false
by_account(_) := false
is_person := false
is_component := false
covers(_, _) := false
within(_, _) := false
weekday(_) := ""
`

func TestAnUnknownNameSaysWhatWasMeant(t *testing.T) {
	l := loaded(t)
	for name, want := range map[string]string{
		"kdea":     `the library has no policy "kdea" (did you mean "keda"?)`,
		"zzzzzzzz": "known: ",
	} {
		if _, err := l.Modules([]string{"keda", name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestModulesAreThoseWithoutTests(t *testing.T) {
	modules, err := loaded(t).Modules([]string{"keda"})
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(maps.Keys(modules)); len(got) != 1 || got[0] != "keda/keda.rego" {
		t.Errorf("modules = %v", got)
	}
}

func TestParametersAreChecked(t *testing.T) {
	keda, err := loaded(t).Policy("keda")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ given, says string }{
		"none":                      {``, ""},
		"all is well":               {`{"accounts": ["keda:operator", "*:keda-operator"]}`, ""},
		"no object":                 {`[]`, "parameters.keda is an object"},
		"null":                      {`null`, "parameters.keda is an object"},
		"an unknown name":           {`{"account": []}`, `no parameter "account" (did you mean "accounts"?)`},
		"not a list":                {`{"accounts": "keda:operator"}`, `parameters.keda.accounts is a list, not "keda:operator"`},
		"an element that is no one": {`{"accounts": ["keda:a", "system:serviceaccount:keda:a"]}`, "parameters.keda.accounts[1] is a service account as NAMESPACE:NAME"},
	} {
		t.Run(name, func(t *testing.T) {
			err := keda.Check(json.RawMessage(tt.given))
			switch {
			case tt.says == "" && err != nil:
				t.Errorf("got %v", err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}

func TestAWriteIsKnownByAccountKindAndPath(t *testing.T) {
	path := func(text string) []fieldset.Path {
		p, err := fieldset.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return []fieldset.Path{p}
	}
	replicas := path("spec.replicas")
	for name, tt := range map[string]struct {
		write library.Write
		want  []string
	}{
		"KEDA scales":                    {library.Write{Account: "keda:keda-operator", Group: "apps", Kind: "Deployment", Paths: replicas}, []string{"keda"}},
		"KEDA in another namespace":      {library.Write{Account: "x:keda-operator", Group: "apps", Kind: "Deployment", Paths: replicas}, []string{"keda"}},
		"KEDA's replicas found as drift": {library.Write{Manager: "keda", Group: "apps", Kind: "Deployment", Paths: replicas}, []string{"keda"}},
		"another account":                {library.Write{Account: "keda:other", Group: "apps", Kind: "Deployment", Paths: replicas}, nil},
		"another path":                   {library.Write{Account: "keda:keda-operator", Group: "apps", Kind: "Deployment", Paths: path("spec.paused")}, nil},
		"nobody":                         {library.Write{Group: "apps", Kind: "Deployment", Paths: replicas}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := loaded(t).Known(tt.write); !slices.Equal(got, tt.want) {
				t.Errorf("Known = %v, want %v", got, tt.want)
			}
		})
	}
}
