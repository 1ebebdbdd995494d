// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/sync/render"
)

// unclear is an error because of which nothing could be found out: status 2.
type unclear struct{ error }

// ExitCode is the process's.
func (unclear) ExitCode() int { return 2 }

func (u unclear) Unwrap() error { return u.error }

// command is what the flags say.
type command struct {
	path     string
	sync     string
	file     string
	revision string

	kubeconfig, context, namespace, system string

	kind            string
	variables       map[string]string
	releaseName     string
	helmNamespace   string
	targetNamespace string
	valuesFiles     []string
	skip            []string
	keys            []string

	output      string
	showSecrets bool
}

// NewCommand returns the command render. The objects go to the command's
// output, everything else to its error output.
func NewCommand() *cobra.Command {
	c := new(command)
	cmd := &cobra.Command{
		Use:   "render [PATH]",
		Short: "Print what a folder, or a commit, would apply",
		Long: `Print what a folder, or a commit, would apply: plain manifests, a kustomization
or a chart, or several of them, rendered as the sync loop does, with the file and
the line of each object. Nothing outside of PATH's git repository is read, and nothing is written.

With --sync or --file the GitSync says how to render and where in the repository,
and PATH is only where the working copy is. Without a cluster a chart sees the
APIs that Helm knows, and objects of unknown kinds keep their namespaces.

Values of Secrets are masked unless --show-secrets is given.

The status is 0 if it rendered, 1 if something is wrong in the repository, with
file and line of each mistake, and 2 if that could not be found out.`,
		Example: `  mainstay render clusters/prod
  mainstay render --revision origin/main clusters/prod
  mainstay render charts/web --values prod.yaml --target-namespace shop
  mainstay render --sync shop -n mainstay-system
  mainstay render --file gitsync.yaml --revision v1.2.0 -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.path = "."
			if len(args) == 1 {
				c.path = args[0]
			}
			if err := c.check(); err != nil {
				return unclear{err}
			}
			objects, err := c.render(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				if _, ok := errors.AsType[*render.Error](err); ok {
					return err
				}
				return unclear{err}
			}
			return c.print(cmd.OutOrStdout(), objects)
		},
	}
	c.addFlags(cmd)
	return cmd
}

func (c *command) addFlags(cmd *cobra.Command) {
	p := cmd.Flags()
	p.StringVar(&c.revision, "revision", "", "`REV` of the repository to render in place of the working copy")
	p.StringVar(&c.sync, "sync", "", "`NAME` of the GitSync in the cluster that says how to render")
	p.StringVarP(&c.file, "file", "f", "", "`FILE` with the GitSync that says how to render")
	p.StringVar(&c.kubeconfig, "kubeconfig", "", "kubeconfig `FILE`, for --sync; kubectl's own where it is empty")
	p.StringVar(&c.context, "context", "", "`NAME` of the kubeconfig's context to use, for --sync")
	p.StringVarP(&c.namespace, "namespace", "n", "", "`NAMESPACE` of the GitSync; Mainstay's own where it is empty")
	p.StringVar(&c.system, "mainstay-namespace", "mainstay-system", "`NAMESPACE` in which Mainstay runs")
	p.StringVar(&c.kind, "type", "Auto", "how to render: Auto, Plain, Kustomize or Helm")
	p.StringToStringVar(&c.variables, "variable", nil, "`NAME=VALUE` that replaces ${NAME}; may be given several times")
	p.StringVar(&c.releaseName, "release-name", "release", "name of a chart's release")
	p.StringVar(&c.helmNamespace, "release-namespace", "", "namespace of a chart's release; --target-namespace or default where it is empty")
	p.StringVar(&c.targetNamespace, "target-namespace", "", "namespace of all namespaced objects")
	p.StringArrayVar(&c.valuesFiles, "values", nil, "`FILE` with values, relative to the chart or, with a leading slash, to the repository; may be given several times")
	p.StringSliceVar(&c.skip, "skip", nil, "`FOLDERS` of policies, from the repository's root, that plain rendering leaves out")
	p.StringSliceVar(&c.keys, "key", nil, "`FILES` with private keys for what SOPS has encrypted: *.agekey and *.asc")
	p.StringVarP(&c.output, "output", "o", "yaml", "yaml or json")
	p.BoolVar(&c.showSecrets, "show-secrets", false, "print the values of Secrets")
}

func (c *command) check() error {
	switch {
	case c.output != "yaml" && c.output != "json":
		return fmt.Errorf("-o %s is unknown: use yaml or json", c.output)
	case c.sync != "" && c.file != "":
		return errors.New("--sync and --file both say how to render: give one of them")
	}
	return nil
}
