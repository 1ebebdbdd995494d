// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/library"
)

// begun is what mainstay policy new and vendor write with -o json.
type begun struct {
	// Written are files that were made or updated, Kept those that were there.
	Written []string `json:"written"`
	Kept    []string `json:"kept"`
}

type begin struct {
	dir, from, output string
	// did is what has been done.
	did begun
}

func newNew() *cobra.Command {
	b := new(begin)
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Start a policy, with its test and a fixture",
		Long: `Start a policy, with its test and a fixture: policies/NAME/NAME.rego,
NAME_test.rego and input.json. They load and pass as they are; say in them who may
change what, and why.

Beside them it puts, once, what editors and OPA's own tools need: Mainstay's
helpers in plain Rego and the JSON schema of input below policies/mainstay, and in
the root of the repository .regal with Mainstay's rules for Regal, and
.vscode/settings.json. With --from it starts from a copy of
a policy of the library.

Nothing that exists is overwritten. The status is 0 if it is done, 1 if there is
such a policy already, and 2 if it could not be written.`,
		Example: `  mainstay policy new night
  mainstay policy new scaling --from keda --dir deploy/policies
  mainstay policy test policies`,
		Args: needArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(b.output, "json"); err != nil {
				return unclear(err)
			}
			if err := b.policy(cmd.Context(), args[0]); err != nil {
				return err
			}
			if b.output == "json" {
				return writeJSON(cmd.OutOrStdout(), b.did)
			}
			return b.print(cmd, fmt.Sprintf(`next:
  edit %[1]s, then
  mainstay policy check %[2]s && mainstay policy test %[2]s
  and switch it on in the GitSync: spec.policies.paths: [%[2]s]`, filepath.ToSlash(filepath.Join(b.dir, args[0], args[0]+".rego")), filepath.ToSlash(b.dir)))
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&b.dir, "dir", "policies", "policy `FOLDER`")
	cmd.Flags().StringVar(&b.from, "from", "", "`NAME` of a policy of the library to start from")
	_ = cmd.RegisterFlagCompletionFunc("from", completeLibrary)
	_ = cmd.MarkFlagDirname("dir")
	outputFlag(cmd, &b.output, "json")
	return cmd
}

func newVendor() *cobra.Command {
	b := new(begin)
	cmd := &cobra.Command{
		Use:   "vendor",
		Short: "Write or update the helpers beside policies",
		Long: `Write or update the helpers beside policies: data.mainstay.lib and
data.mainstay.testing in plain Rego and the JSON schema of input, so that opa
test, Regal and editors work on the folder, and Mainstay's rules for Regal in
.regal/rules/mainstay. Mainstay itself leaves these files out; it has them built in. A file
that was edited by hand is replaced: what you added belongs into a package of your
own.

The status is 0 if it is done, and 2 if it could not be written.`,
		Example: "  mainstay policy vendor\n  mainstay policy vendor --dir deploy/policies",
		Args:    needArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(b.output, "json"); err != nil {
				return unclear(err)
			}
			if err := errors.Join(b.helpers(true), b.tools(true)); err != nil {
				return unclear(err)
			}
			if b.output == "json" {
				return writeJSON(cmd.OutOrStdout(), b.did)
			}
			return b.print(cmd, "")
		},
	}
	cmd.Flags().StringVar(&b.dir, "dir", "policies", "policy `FOLDER`")
	_ = cmd.MarkFlagDirname("dir")
	outputFlag(cmd, &b.output, "json")
	return cmd
}

// completeLibrary completes names of policies of the library.
func completeLibrary(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	l, err := library.Load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, p := range l.Policies() {
		names = append(names, p.Name+"\t"+p.Title)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

var packageName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// policy writes all that belongs to a new policy.
func (b *begin) policy(ctx context.Context, name string) error {
	switch {
	case !packageName.MatchString(name):
		return unclear(fmt.Errorf("%q can't name a package: use small letters, digits and _, for example %q", name, suggested(name)))
	case slices.Contains([]string{"mainstay", "library", "grants", "data", "input"}, name):
		return unclear(fmt.Errorf("the name %q is reserved: choose another one", name))
	}
	folder := filepath.Join(b.dir, name)
	if _, err := os.Stat(filepath.Join(folder, name+".rego")); err == nil {
		return found(fmt.Errorf("%s exists: choose another name, or edit it", filepath.Join(folder, name+".rego")))
	}
	files, err := first(ctx, name)
	if b.from != "" {
		files, err = copied(name, b.from)
	}
	if err != nil {
		return unclear(err)
	}
	for _, file := range []string{name + ".rego", name + "_test.rego", "input.json"} {
		if text, ok := files[file]; ok {
			if err := b.write(filepath.Join(folder, file), text, false); err != nil {
				return unclear(err)
			}
		}
	}
	if err := errors.Join(b.helpers(false), b.tools(false)); err != nil {
		return unclear(err)
	}
	return nil
}

func suggested(name string) string {
	text := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, name)
	if !packageName.MatchString(text) {
		text = "p" + text
	}
	return text
}

// copied are the files of a policy of the library, as a policy of one's own.
func copied(name, from string) (map[string]string, error) {
	l, err := library.Load()
	if err != nil {
		return nil, err
	}
	p, err := l.Policy(from)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	own := "library." + strings.ReplaceAll(from, "-", "_")
	// What only a policy that ships may say.
	record := regexp.MustCompile(`(?m)^\s*"record": false,\n`)
	for file, text := range p.Files() {
		text = strings.NewReplacer(
			"package "+own+"_test", "package "+name+"_test",
			"package "+own, "package "+name,
			"import data."+own+"\n", "import data."+name+" as "+own[len("library."):]+"\n",
			"import data."+own+" as ", "import data."+name+" as ",
		).Replace(text)
		// The order of imports depends on the name.
		var rego string
		if err := formatted(record.ReplaceAllString(text, ""), &rego); err != nil {
			return nil, fmt.Errorf("copy %s: %w", file, err)
		}
		files[name+strings.TrimPrefix(filepath.Base(file), from)] = rego
	}
	return files, nil
}

// helpers writes the vendored files; those that exist only if they are to be
// updated.
func (b *begin) helpers(update bool) error {
	files, err := policy.Helpers()
	if err != nil {
		return err
	}
	files[schemaFile] = string(policy.InputSchema)
	for _, file := range sortedKeys(files) {
		if err := b.write(filepath.Join(b.dir, filepath.FromSlash(file)), files[file], update); err != nil {
			return err
		}
	}
	return nil
}

// tools writes what Regal and editors need into the root of the repository;
// settings that exist are the author's, Mainstay's rules are updated.
func (b *begin) tools(update bool) error {
	root := repository(b.dir)
	inside, err := filepath.Rel(root, b.dir)
	if err != nil {
		inside = b.dir
	}
	settings, rules, err := toolFiles(filepath.ToSlash(inside))
	if err != nil {
		return err
	}
	if !update {
		for _, file := range sortedKeys(settings) {
			if err := b.write(filepath.Join(root, filepath.FromSlash(file)), settings[file], false); err != nil {
				return err
			}
		}
	}
	for _, file := range sortedKeys(rules) {
		if err := b.write(filepath.Join(root, filepath.FromSlash(file)), rules[file], update); err != nil {
			return err
		}
	}
	return nil
}

// repository is the nearest folder above that git knows, or else the one above
// the policies.
func repository(dir string) string {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return filepath.Dir(dir)
	}
	up := ""
	for at := filepath.Dir(absolute); ; at = filepath.Dir(at) {
		up = filepath.Join(up, "..")
		if _, err := os.Stat(filepath.Join(at, ".git")); err == nil {
			return filepath.Join(dir, up)
		}
		if at == filepath.Dir(at) {
			return filepath.Dir(filepath.Clean(dir))
		}
	}
}

// write writes a file; one that exists only if update says so.
func (b *begin) write(path, text string, update bool) error {
	old, err := os.ReadFile(path)
	switch {
	case err == nil && (!update || string(old) == text):
		b.did.Kept = append(b.did.Kept, filepath.ToSlash(path))
		return nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("read %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the folder of %s: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	b.did.Written = append(b.did.Written, filepath.ToSlash(path))
	return nil
}

func (b *begin) print(cmd *cobra.Command, next string) error {
	var text strings.Builder
	for _, file := range b.did.Written {
		fmt.Fprintf(&text, "written  %s\n", file)
	}
	for _, file := range b.did.Kept {
		fmt.Fprintf(&text, "kept     %s\n", file)
	}
	if next != "" {
		fmt.Fprintln(&text, next)
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), text.String())
	return err
}
