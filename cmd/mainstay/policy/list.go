// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/library"
)

// listed is what mainstay policy list -o json writes.
type listed struct {
	Library []listedPolicy   `json:"library"`
	Builtin []policy.Builtin `json:"builtin"`
	// Loaded is absent where no cluster was asked.
	Loaded []loadedPolicies `json:"loaded,omitempty"`
}

// listedPolicy is one policy of the library.
type listedPolicy struct {
	Name        string              `json:"name"`
	Title       string              `json:"title"`
	Description string              `json:"description"`
	Rules       []library.Rule      `json:"rules"`
	Parameters  []library.Parameter `json:"parameters,omitempty"`
}

type list struct {
	output, file, namespace string
	shipped                 bool
	kube                    kube
}

func newList() *cobra.Command {
	l := new(list)
	cmd := &cobra.Command{
		Use:   "list [NAME]",
		Short: "Show the library, what is built in, and what is loaded",
		Long: `Show the policies of the library and those that are built in, and, where there is
a cluster, what each GitSync and ChangePolicy has loaded.

With the name of a policy of the library: the page about it. With -o rego the Rego
of that policy; without a name, what spec.policies.exceptions compiles to, of the
GitSyncs in --filename or in the cluster.

The status is 0 if it is done, 1 if there is no such policy, and 2 if that could
not be found out.`,
		Example: `  mainstay policy list
  mainstay policy list keda
  mainstay policy list keda -o rego > keda.rego
  mainstay policy list -o rego -f gitsync.yaml
  mainstay policy list -n mainstay-system --context admin`,
		Args: needArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(l.output, "json", "rego"); err != nil {
				return unclear(err)
			}
			shelf, err := library.Load()
			if err != nil {
				return unclear(err)
			}
			switch {
			case len(args) == 1:
				return l.one(cmd.OutOrStdout(), shelf, args[0])
			case l.output == "rego":
				return l.exceptions(cmd)
			default:
				return l.all(cmd, shelf)
			}
		},
		ValidArgsFunction: completeLibrary,
	}
	l.kube.flags(cmd.Flags())
	cmd.Flags().StringVarP(&l.namespace, "namespace", "n", "", "only what is loaded for this `NAMESPACE`; all where it is empty")
	cmd.Flags().StringVarP(&l.file, "filename", "f", "", "read GitSyncs from `FILE` and ask no cluster, with -o rego; - is the standard input")
	cmd.Flags().BoolVar(&l.shipped, "shipped", false, "show what ships with this program alone, and ask no cluster")
	outputFlag(cmd, &l.output, "json", "rego")
	return cmd
}

// one shows a single policy that ships.
func (l *list) one(w io.Writer, shelf *library.Library, name string) error {
	p, err := shelf.Policy(name)
	if err != nil {
		builtins, builtinErr := policy.Builtins()
		if builtinErr != nil {
			return unclear(builtinErr)
		}
		for _, b := range builtins {
			if b.Name == name {
				return l.builtin(w, b)
			}
		}
		return found(err)
	}
	switch l.output {
	case "json":
		return writeJSON(w, describe(p))
	case "rego":
		_, err = io.WriteString(w, p.Files()[name+"/"+name+".rego"])
	default:
		_, err = io.WriteString(w, p.Page)
	}
	return err
}

func (l *list) builtin(w io.Writer, b policy.Builtin) error {
	if l.output == "json" {
		return writeJSON(w, b)
	}
	_, err := io.WriteString(w, b.Rego)
	return err
}

func describe(p *library.Policy) listedPolicy {
	return listedPolicy{Name: p.Name, Title: p.Title, Description: p.Description, Rules: p.Rules, Parameters: p.Parameters}
}

// all shows everything.
func (l *list) all(cmd *cobra.Command, shelf *library.Library) error {
	var out listed
	for _, p := range shelf.Policies() {
		out.Library = append(out.Library, describe(p))
	}
	var err error
	if out.Builtin, err = policy.Builtins(); err != nil {
		return unclear(err)
	}
	if !l.shipped {
		out.Loaded, err = l.loaded(cmd.Context())
		asked := l.kube.kubeconfig != "" || l.kube.context != "" || l.namespace != ""
		switch {
		case err != nil && asked:
			return unclear(err)
		case err != nil:
			fmt.Fprintln(cmd.ErrOrStderr(), "what is loaded is not shown:", err)
		}
	}
	if l.output == "json" {
		return writeJSON(cmd.OutOrStdout(), out)
	}
	return out.write(cmd.OutOrStdout())
}

func (out listed) write(w io.Writer) error {
	var text bytes.Buffer
	t := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "LIBRARY\tswitched on by spec.policies.library")
	for _, p := range out.Library {
		fmt.Fprintf(t, "%s\t%s\n", p.Name, p.Title)
	}
	fmt.Fprintln(t, "\t\nBUILT IN\tswitched off by policies.disabledBuiltins of the configuration")
	for _, b := range out.Builtin {
		fmt.Fprintf(t, "%s\t%s\n", b.Name, b.Title)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range out.Loaded {
		fmt.Fprintln(&text)
		p.write(&text)
	}
	_, err := text.WriteTo(w)
	return err
}

// exceptions shows what the declarative form compiles to.
func (l *list) exceptions(cmd *cobra.Command) error {
	syncs, err := l.gitSyncs(cmd.Context(), cmd.InOrStdin())
	if err != nil {
		return unclear(err)
	}
	shown := 0
	for _, gs := range syncs {
		if len(gs.Spec.Policies.Exceptions) == 0 {
			continue
		}
		text, err := policy.CompileExceptions(gs.Namespace+"/"+gs.Name, gs.Spec.Policies.Exceptions)
		if err != nil {
			return found(fmt.Errorf("GitSync %s/%s: %w", gs.Namespace, gs.Name, err))
		}
		if shown++; shown > 1 {
			text = "\n" + text
		}
		if _, err := io.WriteString(cmd.OutOrStdout(), text); err != nil {
			return err
		}
	}
	if shown == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "no GitSync has spec.policies.exceptions")
	}
	return nil
}

func (l *list) gitSyncs(ctx context.Context, stdin io.Reader) ([]v1alpha1.GitSync, error) {
	if l.file == "" {
		return l.clusterGitSyncs(ctx)
	}
	content, err := os.ReadFile(l.file)
	if l.file == "-" {
		content, err = io.ReadAll(stdin)
	}
	if err != nil {
		return nil, fmt.Errorf("read GitSyncs: %w", err)
	}
	var syncs []v1alpha1.GitSync
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var gs v1alpha1.GitSync
		if err == nil {
			err = yaml.Unmarshal(document, &gs)
		}
		if err != nil {
			return nil, fmt.Errorf("read GitSyncs of %s: %w", l.file, err)
		}
		if gs.Kind == "GitSync" && strings.HasPrefix(gs.APIVersion, v1alpha1.GroupVersion.Group+"/") {
			syncs = append(syncs, gs)
		}
	}
	if len(syncs) == 0 {
		return nil, fmt.Errorf("%s holds no GitSync", l.file)
	}
	return syncs, nil
}
