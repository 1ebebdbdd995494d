// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/library"
)

// run runs a command in the folder of the test.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := NewCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// clone is an empty repository, and the current folder.
func clone(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
}

func TestWhatNewWritesLoads(t *testing.T) {
	clone(t)
	if out, err := run(t, "new", "night"); err != nil {
		t.Fatal(err, out)
	}
	l, err := library.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Policies() {
		if out, err := run(t, "new", "own_"+strings.ReplaceAll(p.Name, "-", "_"), "--from", p.Name); err != nil {
			t.Fatal(err, out)
		}
	}
	e, err := policy.New(t.Context(), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := readFolders([]string{"policies"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Load(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Rules) <= len(l.Policies()) || got.Tests < 3 {
		t.Errorf("Load = %+v", got)
	}
}

// OPA's own tester needs nothing of Mainstay's.
func TestWhatNewWritesPassesPlainOPA(t *testing.T) {
	clone(t)
	for _, args := range [][]string{{"new", "night"}, {"new", "scaling", "--from", "keda"}} {
		if out, err := run(t, args...); err != nil {
			t.Fatal(err, out)
		}
	}
	modules := map[string]*ast.Module{}
	err := filepath.WalkDir("policies", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".rego") {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		modules[name], err = ast.ParseModuleWithOpts(name, string(content), ast.ParserOptions{RegoVersion: ast.RegoV1})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	results, err := tester.NewRunner().SetModules(modules).RunTests(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for r := range results {
		if r.Fail || r.Error != nil {
			t.Errorf("%s.%s: %v", r.Package, r.Name, r.Error)
		}
		passed++
	}
	if passed < 10 {
		t.Errorf("%d tests ran", passed)
	}
}

func TestNewWritesAFixtureAndOverwritesNothing(t *testing.T) {
	clone(t)
	const own = "// mine\n"
	if err := os.MkdirAll(".vscode", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(".vscode/settings.json", []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, "new", "night", "--dir", "deploy/policies", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var did begun
	if err := json.Unmarshal([]byte(out), &did); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(did.Written, "deploy/policies/night/night.rego") || !slices.Contains(did.Kept, ".vscode/settings.json") {
		t.Errorf("did %+v", did)
	}
	if text, err := os.ReadFile(".vscode/settings.json"); err != nil || string(text) != own {
		t.Errorf("the settings are %q, %v", text, err)
	}
	if text, err := os.ReadFile(".regal/config.yaml"); err != nil || !strings.Contains(string(text), "- deploy/policies\n") {
		t.Errorf("Regal's settings are %q, %v", text, err)
	}
	content, err := os.ReadFile("deploy/policies/night/input.json")
	if err != nil {
		t.Fatal(err)
	}
	var input struct {
		Operation string                    `json:"operation"`
		UserInfo  struct{ Groups []string } `json:"userInfo"`
	}
	if err := json.Unmarshal(content, &input); err != nil || input.Operation != "UPDATE" || !slices.Contains(input.UserInfo.Groups, "night") {
		t.Errorf("the fixture is %s, %v", content, err)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		says string
		code int
	}{
		"a policy that exists":      {[]string{"new", "night"}, "exists", 1},
		"a name that is no package": {[]string{"new", "Night-Shift"}, `for example "night_shift"`, 2},
		"a reserved name":           {[]string{"new", "library"}, "reserved", 2},
		"an unknown policy":         {[]string{"new", "x", "--from", "kdea"}, `did you mean "keda"?`, 2},
		"no name":                   {[]string{"new"}, "accepts 1 arg", 2},
		"an unknown format":         {[]string{"new", "x", "-o", "yaml"}, "use json", 2},
	} {
		t.Run(name, func(t *testing.T) {
			clone(t)
			if out, err := run(t, "new", "night"); err != nil {
				t.Fatal(err, out)
			}
			_, err := run(t, tt.args...)
			coded, ok := err.(interface{ ExitCode() int })
			if !ok || coded.ExitCode() != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want status %d and %q", err, tt.code, tt.says)
			}
			if _, err := os.Stat("policies/x"); err == nil {
				t.Error("something was written")
			}
		})
	}
}

func TestVendorUpdatesTheHelpers(t *testing.T) {
	clone(t)
	if out, err := run(t, "vendor"); err != nil {
		t.Fatal(err, out)
	}
	const file = "policies/mainstay/lib/lib.rego"
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(want, "\n# edited\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, "vendor")
	if err != nil || !strings.Contains(out, "written  "+file) || !strings.Contains(out, "kept     policies/mainstay/testing/testing.rego") {
		t.Errorf("%v, it says %s", err, out)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file is not as it was, %v", err)
	}
}
