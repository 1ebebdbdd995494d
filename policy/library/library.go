// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package library

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/open-policy-agent/opa/v1/ast"
)

//go:embed */*.rego */README.md
var files embed.FS

// Prefix of the packages of all policies in the library.
const Prefix = "library."

// Library is what ships with this binary. It is immutable.
type Library struct {
	policies []*Policy
}

// Policy is one policy of the library.
type Policy struct {
	// Name by which it is switched on.
	Name string
	// Title is one line, Description what it permits and why that is right.
	Title, Description string
	// Rules it has: exception, deny.
	Rules []Rule
	// Parameters that it takes, in the order in which its page tells of them.
	Parameters []Parameter
	// Page about it, in Markdown.
	Page string

	known []known
	// files by name below the library's folder, tests included.
	files map[string]string
}

// Rule is one rule of a policy.
type Rule struct {
	// Kind is exception or deny.
	Kind  string `json:"kind"`
	Title string `json:"title"`
}

// Load reads the library of this binary.
func Load() (*Library, error) { return load(files) }

func load(tree fs.FS) (*Library, error) {
	folders, err := fs.ReadDir(tree, ".")
	if err != nil {
		return nil, fmt.Errorf("read the library: %w", err)
	}
	l := &Library{}
	for _, folder := range folders {
		p, err := read(tree, folder.Name())
		if err != nil {
			return nil, fmt.Errorf("read the library's %s: %w", folder.Name(), err)
		}
		l.policies = append(l.policies, p)
	}
	return l, nil
}

// read reads one folder.
func read(tree fs.FS, name string) (*Policy, error) {
	p := &Policy{Name: name, files: map[string]string{}}
	page, err := fs.ReadFile(tree, path.Join(name, "README.md"))
	if err != nil {
		return nil, err
	}
	p.Page = string(page)
	paths, err := fs.Glob(tree, path.Join(name, "*.rego"))
	if err != nil {
		return nil, err
	}
	for _, file := range paths {
		text, err := fs.ReadFile(tree, file)
		if err != nil {
			return nil, err
		}
		p.files[file] = string(text)
	}
	return p, p.annotations(path.Join(name, name+".rego"))
}

// annotations reads the metadata of a policy's main file.
func (p *Policy) annotations(file string) error {
	module, err := ast.ParseModuleWithOpts(file, p.files[file], ast.ParserOptions{RegoVersion: ast.RegoV1, ProcessAnnotation: true})
	if err != nil {
		return err
	}
	for _, rule := range module.Rules {
		kind := rule.Head.Name.String()
		if kind != "exception" && kind != "deny" {
			continue
		}
		r := Rule{Kind: kind}
		for _, a := range rule.Annotations {
			r.Title = a.Title
		}
		p.Rules = append(p.Rules, r)
	}
	for _, a := range module.Annotations {
		if a.Scope != "package" {
			continue
		}
		p.Title, p.Description = a.Title, strings.TrimSpace(a.Description)
		return p.custom(a.Custom)
	}
	return fmt.Errorf("%s: the package has no metadata", file)
}

// custom reads what OPA knows nothing of.
func (p *Policy) custom(values map[string]any) error {
	text, err := json.Marshal(values)
	if err != nil {
		return err
	}
	var c struct {
		Parameters []Parameter `json:"parameters"`
		Knows      []knows     `json:"knows"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	p.Parameters = c.Parameters
	for i := range p.Parameters {
		if err := p.Parameters[i].check(); err != nil {
			return fmt.Errorf("parameter %s: %w", p.Parameters[i].Name, err)
		}
	}
	for _, k := range c.Knows {
		compiled, err := k.compile()
		if err != nil {
			return err
		}
		p.known = append(p.known, compiled)
	}
	return nil
}

// Policies are all of them, by name. The caller changes nothing in them.
func (l *Library) Policies() []*Policy { return slices.Clone(l.policies) }

// Policy finds one by name. The error says which was probably meant.
func (l *Library) Policy(name string) (*Policy, error) {
	names := make([]string, 0, len(l.policies))
	for _, p := range l.policies {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return nil, fmt.Errorf("the library has no policy %q (%s)", name, nearest(name, names))
}

// Modules are the Rego of the policies with these names, without tests, by file
// name: keda/keda.rego. The error names every unknown one.
func (l *Library) Modules(names []string) (map[string]string, error) {
	modules := map[string]string{}
	var unknown []error
	for _, name := range names {
		p, err := l.Policy(name)
		if err != nil {
			unknown = append(unknown, err)
			continue
		}
		for file, text := range p.files {
			if !strings.HasSuffix(file, "_test.rego") {
				modules[file] = text
			}
		}
	}
	return modules, errors.Join(unknown...)
}

// Files are all Rego of a policy, tests included, by file name.
func (p *Policy) Files() map[string]string { return maps.Clone(p.files) }

// nearest names what was probably meant, or all that there is.
func nearest(name string, known []string) string {
	best, distance := "", max(3, len(name)/2)
	for _, k := range known {
		d := levenshtein.ComputeDistance(name, k)
		if strings.HasPrefix(k, name) || strings.HasSuffix(k, name) {
			d = min(d, 1)
		}
		if d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known: " + strings.Join(known, ", ")
}
