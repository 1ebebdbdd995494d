// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

// TestBuiltinPolicies runs the tests beside the built-in policies.
func TestBuiltinPolicies(t *testing.T) {
	files, err := fs.Glob(regoFiles, "rego/*.rego")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	have := map[string]bool{}
	for _, file := range files {
		have[file] = true
		if file == "rego/lib.rego" || file == "rego/testing.rego" {
			continue // compiled into every source
		}
		text, err := regoFiles.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(text)
	}
	for file := range have {
		if name, ok := strings.CutSuffix(file, ".rego"); ok && !strings.HasSuffix(name, "_test") &&
			file != "rego/testing.rego" && !have[name+"_test.rego"] {
			t.Errorf("%s has no test", file)
		}
	}
	modules, err := parse(texts)
	if err != nil {
		t.Fatal(err)
	}
	library, err := libraryModules()
	if err != nil {
		t.Fatal(err)
	}
	box, err := newSandbox()
	if err != nil {
		t.Fatal(err)
	}
	count, err := runTests(t.Context(), box, modules, library)
	if le := (*LoadError)(nil); errors.As(err, &le) {
		for _, p := range le.Items {
			t.Error(p)
		}
	} else if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d tests", count)
}

func TestBuiltinsCanBeSwitchedOff(t *testing.T) {
	e, err := New(t.Context(), Options{DisabledBuiltins: []string{"hpa"}})
	if err != nil {
		t.Fatal(err)
	}
	if needs := e.Needs(); len(needs) > 0 {
		t.Errorf("without the policy hpa nothing reads %v", needs)
	}
	if _, err := New(t.Context(), Options{DisabledBuiltins: []string{"hpas"}}); err == nil || !strings.Contains(err.Error(), `"hpas"`) {
		t.Errorf("an unknown name gives %v", err)
	}
}
