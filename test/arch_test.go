// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mainstay-gitops/mainstay"

// allowed says which packages of this module a package may import; those of
// others it always may. A row or an entry that ends in /... stands for all
// below it. The middle, policy, knows neither of the two that enforce, and
// those do not know each other.
var allowed = map[string][]string{
	"config":          {"config/v1alpha1"},
	"config/crds":     {},
	"config/v1alpha1": {},
	"charts":          {},

	"policy":           {"config/v1alpha1", "policy/fieldset", "policy/library", "policy/ownership", "policy/rego"},
	"policy/audit":     {"config/v1alpha1", "policy", "policy/fieldset", "policy/ownership"},
	"policy/facts":     {"policy"},
	"policy/fieldset":  {},
	"policy/ending":    {"config/v1alpha1"},
	"policy/grant":     {"config/v1alpha1", "policy", "policy/ending", "policy/fieldset", "policy/ownership", "policy/permit", "policy/seal"},
	"policy/library":   {"policy/fieldset"},
	"policy/off":       {"config/v1alpha1"},
	"policy/ownership": {"config/v1alpha1", "policy/fieldset", "policy/seal"},
	"policy/pitfall":   {"policy/fieldset"},
	"policy/permit":    {"config/v1alpha1", "policy", "policy/fieldset", "policy/ownership", "policy/seal"},
	"policy/record":    {"policy", "policy/audit", "policy/fieldset", "policy/ownership"},
	"policy/regal":     {},
	"policy/reload":    {"config/v1alpha1", "policy", "policy/seal"},
	"policy/seal":      {},
	"policy/suspend":   {"config/v1alpha1", "policy/ownership", "policy/permit"},

	// It takes the words of a refusal from policy/audit: one wording everywhere.
	"webhook":              {"config/v1alpha1", "policy", "policy/audit", "policy/fieldset", "policy/grant", "policy/ownership", "policy/permit", "policy/suspend"},
	"webhook/cert":         {},
	"webhook/registration": {"config/v1alpha1", "policy/ownership", "webhook"},

	"sync/apply":       {"config/v1alpha1", "policy/fieldset", "policy/ownership"},
	"sync/drift":       {"config/v1alpha1", "policy", "policy/fieldset", "policy/ownership", "policy/permit"},
	"sync/health":      {"policy/ownership"},
	"sync/inventory":   {"config/v1alpha1", "policy/fieldset", "policy/ownership", "policy/seal"},
	"sync/loop":        {"config/v1alpha1", "policy/...", "sync/..."},
	"sync/receive":     {"config/v1alpha1"},
	"sync/render":      {"config/v1alpha1", "policy/fieldset", "policy/ownership", "sync/render/sops"},
	"sync/render/sops": {},
	"sync/source":      {"sync/source/wire"},
	"sync/source/wire": {},
	"sync/verify":      {},
	"sync/watch":       {"config/v1alpha1", "policy/ownership"},

	// It tells people elsewhere; who tells it anything declares an interface.
	"cmd/mainstay/notify": {"config"},

	// Where everything is put together, and tried.
	"cmd/...":  {"..."},
	"test/...": {"..."},
}

// rowsMayBeAhead lets a row stand for a package that is yet to come. Set it to
// false once all of them are there, so that a stale row fails.
const rowsMayBeAhead = false

// pkg is a package folder of this module.
type pkg struct {
	files map[string]*ast.File // By name, tests included.
}

// imports returns what the package imports of this module, by folder, and where.
// Only what is built counts, or only its tests.
func (p *pkg) imports(tests bool) map[string]string {
	found := map[string]string{}
	for name, file := range p.files {
		if strings.HasSuffix(name, "_test.go") != tests {
			continue
		}
		for _, spec := range file.Imports {
			target, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue // The parser has checked it.
			}
			if folder, ok := strings.CutPrefix(target, module+"/"); ok {
				found[folder] = name
			}
		}
	}
	return found
}

// packages parses every package of this module, by folder.
func packages(t *testing.T) map[string]*pkg {
	t.Helper()
	const root = ".."
	found := map[string]*pkg{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if file == root {
				return nil
			}
			_, err := os.Stat(filepath.Join(file, "go.mod"))
			if err == nil || name == "testdata" || name == "bin" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		folder := filepath.ToSlash(relative)
		if found[folder] == nil {
			found[folder] = &pkg{files: map[string]*ast.File{}}
		}
		found[folder].files[name] = parsed
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found["test"] == nil {
		t.Fatal("the walk did not find this package")
	}
	return found
}

// covers tells whether one of the patterns stands for the folder.
func covers(patterns []string, folder string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		parent, ok := strings.CutSuffix(pattern, "...")
		return pattern == folder || ok && strings.HasPrefix(folder+"/", parent)
	})
}

// row returns the row of allowed for a folder: its own, or one that stands for
// all below a folder above it.
func row(folder string) (name string, ok bool) {
	if _, ok := allowed[folder]; ok {
		return folder, true
	}
	for above := folder; above != "."; above = path.Dir(above) {
		if name := above + "/..."; allowed[name] != nil {
			return name, true
		}
	}
	return "", false
}

func TestImportsFollowTheTable(t *testing.T) {
	used := map[string]bool{}
	all := packages(t)
	for _, folder := range slices.Sorted(maps.Keys(all)) {
		name, ok := row(folder)
		if !ok {
			t.Errorf("%s has no row in the table of this test: say what it may import", folder)
			continue
		}
		used[name] = true
		for target, file := range all[folder].imports(false) {
			if !covers(allowed[name], target) {
				t.Errorf("%s/%s imports %s; %s may import %v", folder, file, target, name, allowed[name])
			}
		}
	}
	for name := range allowed {
		if !used[name] && !rowsMayBeAhead {
			t.Errorf("the row %s stands for no package", name)
		}
	}
}

// Tests may import more than what they test, but not across the middle either.
func TestTheHalvesDoNotKnowEachOther(t *testing.T) {
	apart := map[string][]string{
		"policy":  {"webhook/...", "sync/...", "cmd/..."},
		"webhook": {"sync/...", "cmd/..."},
		"sync":    {"webhook/...", "cmd/..."},
	}
	for folder, p := range packages(t) {
		half, _, _ := strings.Cut(folder, "/")
		for _, tests := range []bool{false, true} {
			for target, file := range p.imports(tests) {
				if covers(apart[half], target) {
					t.Errorf("%s/%s imports %s", folder, file, target)
				}
			}
		}
	}
}

func TestEveryPackageHasADocFile(t *testing.T) {
	for folder, p := range packages(t) {
		doc := p.files["doc.go"]
		if doc == nil {
			t.Errorf("%s has no doc.go", folder)
			continue
		}
		// A command's comment begins with its name, a library's with Package.
		text := doc.Doc.Text()
		if name := doc.Name.Name; name != "main" && !strings.HasPrefix(text, "Package "+name+" ") {
			t.Errorf("%s/doc.go: the package comment has to begin with %q", folder, "Package "+name)
		} else if len(text) < 60 {
			t.Errorf("%s/doc.go: the package comment has to say what the package guarantees, is %q", folder, text)
		}
	}
}

func TestEveryFileHasTheLicenceHeader(t *testing.T) {
	const header = "// SPDX-FileCopyrightText: The Mainstay authors\n// SPDX-License-Identifier: Apache-2.0\n"
	for folder, p := range packages(t) {
		for name := range p.files {
			content, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(folder), name))
			if err != nil {
				t.Fatal(err)
			}
			generated := strings.HasPrefix(name, "zz_generated")
			if !strings.HasPrefix(string(content), header) && !(generated && strings.Contains(string(content), header)) {
				t.Errorf("%s/%s does not begin with the two SPDX lines", folder, name)
			}
		}
	}
}

// A file can't import the standard library's sync beside a package of ours of
// that name.
func TestSyncIsAFolderAndNoPackage(t *testing.T) {
	if p := packages(t)["sync"]; p != nil {
		t.Errorf("sync/ holds Go files: %v", slices.Sorted(maps.Keys(p.files)))
	}
}
