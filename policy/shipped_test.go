// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/library"
)

// TestLibraryPolicies loads every policy of the library as a GitSync would, and
// runs the tests beside it.
func TestLibraryPolicies(t *testing.T) {
	e := newEngine(t)
	l, err := library.Load()
	if err != nil {
		t.Fatal(err)
	}
	helpers, err := libraryModules()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Policies() {
		t.Run(p.Name, func(t *testing.T) {
			got, err := e.Load(t.Context(), Source{Key: "k/" + p.Name, Library: []string{p.Name}})
			report(t, err)
			if len(got.Rules) != len(p.Rules) {
				t.Errorf("rules = %v, the metadata has %v", got.Rules, p.Rules)
			}
			texts := map[string]string{}
			for file, text := range p.Files() {
				texts[shippedPrefix+file] = text
			}
			modules, err := parse(texts)
			report(t, err)
			box, err := newSandbox()
			if err != nil {
				t.Fatal(err)
			}
			count, err := runTests(t.Context(), box, modules, helpers)
			report(t, err)
			if count < 4 {
				t.Errorf("%d tests are too few", count)
			}
		})
	}
}

// report fails a test with every problem of an error.
func report(t *testing.T, err error) {
	t.Helper()
	if le := (*LoadError)(nil); errors.As(err, &le) {
		for _, p := range le.Items {
			t.Error(p)
		}
		t.FailNow()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// keda is a source that switches the library's keda on.
func keda(parameters string) Source {
	s := Source{Key: "gitsync/mainstay-system/shop", Sync: &shop, Library: []string{"keda"}}
	if parameters != "" {
		s.Parameters = v1alpha1.Parameters{"keda": apiextensionsv1.JSON{Raw: []byte(parameters)}}
	}
	return s
}

// scaling is a request of KEDA's for so many replicas.
func scaling(account, to string) *Change {
	c := imageChange()
	c.User = &User{Username: "system:serviceaccount:" + account}
	c.Fields = []Field{field("spec.replicas", "2", to)}
	return c
}

func withScaledObject(e *Engine) *Engine {
	e.SetObject("keda.sh", "ScaledObject", "shop", "web", map[string]any{
		"spec": map[string]any{"scaleTargetRef": map[string]any{"name": "web"}, "maxReplicaCount": int64(5)},
	})
	return e
}

func TestAPolicyOfTheLibraryJudgesWhereItIsSwitchedOn(t *testing.T) {
	const operator = "keda:keda-operator"
	found := func(to string) *Change { return drift(scaling(operator, to), "keda-operator") }
	other := scaling(operator, "4")
	other.Record.Sync.Name = "till"
	for name, tt := range map[string]struct {
		source Source
		change *Change
		want   Verdict
	}{
		"a request within the bounds":       {keda(""), scaling(operator, "4"), Permit},
		"a request beyond them":             {keda(""), scaling(operator, "6"), Refuse},
		"drift within the bounds":           {keda(""), found("4"), Permit},
		"drift beyond them":                 {keda(""), found("6"), Refuse},
		"an account that the default lacks": {keda(""), scaling("autoscaling:keda", "4"), Refuse},
		"an account that a parameter names": {keda(`{"accounts": ["autoscaling:keda"]}`), scaling("autoscaling:keda", "4"), Permit},
		"an object of another GitSync":      {keda(""), other, Refuse},
	} {
		t.Run(name, func(t *testing.T) {
			d := withScaledObject(newEngine(t, tt.source)).Decide(t.Context(), tt.change)
			if d.Verdict != tt.want {
				t.Fatalf("Decide = %+v, want %s", d, tt.want)
			}
			if d.Verdict != Permit {
				return
			}
			if d.Class != RuleLibrary || d.Rule != "library.keda.exception" {
				t.Errorf("class %s, rule %s", d.Class, d.Rule)
			}
			// What the state itself permits needs no record.
			if slices.ContainsFunc(d.Permits, func(p Permitted) bool { return p.Recorded }) {
				t.Errorf("permits = %+v", d.Permits)
			}
		})
	}
}

func TestARefusalNamesThePolicyThatIsMadeForIt(t *testing.T) {
	for name, tt := range map[string]struct {
		sources []Source
		change  *Change
		want    []string
	}{
		"KEDA scales":                     {nil, scaling("keda:keda-operator", "4"), []string{"keda"}},
		"its work is found as drift":      {nil, drift(scaling("", "4"), "keda-operator"), []string{"keda"}},
		"the policy is on, and says no":   {[]Source{keda("")}, scaling("keda:keda-operator", "400"), nil},
		"an account that nobody knows":    {nil, scaling("shop:robot", "4"), nil},
		"a person":                        {nil, imageChange(), nil},
		"KEDA, at what is not its to set": {nil, func() *Change { c := imageChange(); c.User = scaling("keda:keda-operator", "4").User; return c }(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := newEngine(t, tt.sources...).Decide(t.Context(), tt.change)
			if d.Verdict != Refuse || !slices.Equal(d.Library, tt.want) {
				t.Errorf("Decide = %+v, want a refusal that names %v", d, tt.want)
			}
		})
	}
}

func TestWhatIsWrongWithTheUseOfTheLibrary(t *testing.T) {
	unused := Source{Key: "k", Library: []string{"keda"}, Parameters: v1alpha1.Parameters{"kdea": {Raw: []byte(`{}`)}}}
	file := func(name, text string) Source { return Source{Key: "k", Modules: map[string]string{name: text}} }
	for name, tt := range map[string]struct {
		source Source
		says   string
	}{
		"an unknown name":                   {Source{Key: "k", Library: []string{"kedda"}}, `no policy "kedda" (did you mean "keda"?)`},
		"a parameter of the wrong form":     {keda(`{"accounts": 5}`), "parameters.keda.accounts is a list, not 5"},
		"a parameter that there is not":     {keda(`{"acounts": []}`), `did you mean "accounts"?`},
		"parameters for no policy":          {unused, `parameters.kdea are for no policy that is switched on (did you mean "keda"?)`},
		"parameters that are no JSON":       {Source{Key: "k", Parameters: v1alpha1.Parameters{"p": {Raw: []byte("{")}}, Modules: map[string]string{"p.rego": ""}}, "parameters.p"},
		"a package that pretends to be one": {file("keda.rego", "package library.keda\n\nexception contains {\"reason\": \"x\", \"paths\": [\"**\"]} if input.name"), "package library.keda is reserved"},
		"a file that pretends to be one":    {file("library:keda/keda.rego", "package x"), "the name of the file is reserved"},
		"a key for the library alone":       {module("package p\n\nexception contains {\"reason\": \"x\", \"paths\": [\"**\"], \"record\": false} if input.name"), `no key "record"`},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			_, err := e.Load(t.Context(), tt.source)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Load: %v, want %q", err, tt.says)
			}
		})
	}
}

func TestParametersAreTheSourcesOwn(t *testing.T) {
	rule := "package p\n\nexception contains {\"reason\": \"x\", \"paths\": [\"**\"]} if input.name == data.parameters.p.name"
	with := func(key, name string) Source {
		s := module(rule)
		s.Key, s.Parameters = key, v1alpha1.Parameters{"p": {Raw: []byte(`{"name": "` + name + `"}`)}}
		return s
	}
	for name, tt := range map[string]struct {
		sources []Source
		want    Verdict
	}{
		"they are read":                    {[]Source{with("a", "web")}, Permit},
		"others' are not":                  {[]Source{with("a", "db"), {Key: "b", Library: []string{"keda"}}}, Refuse},
		"without any, there is nothing":    {[]Source{module(rule)}, Refuse},
		"other parameters are other rules": {[]Source{with("a", "db"), with("a", "web")}, Permit},
	} {
		t.Run(name, func(t *testing.T) {
			if d := newEngine(t, tt.sources...).Decide(t.Context(), imageChange()); d.Verdict != tt.want {
				t.Errorf("Decide = %+v, want %s", d, tt.want)
			}
		})
	}
}
