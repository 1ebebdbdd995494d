// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	rendering "github.com/mainstay-gitops/mainstay/cmd/mainstay/render"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

type flags struct {
	cli.Flags
	live           bool
	base, clusters string
	keys           []string
}

// NewCommand returns the command diff.
func NewCommand() *cobra.Command {
	f := new(flags)
	cmd := &cobra.Command{
		Use:   "diff [PATH|REV] [GITSYNC]",
		Short: "Show what differs between the cluster and git",
		Long: `Show what a sync would change in the cluster: against what is applied, against a
folder of the working copy before it is pushed, or against a branch, tag or
commit of the clone it is called in. The values of Secrets are not shown.

With --base and --clusters it compares two revisions of git, rendered folder by
folder, and asks no cluster: for pull requests. Where a folder has manifests of
GitSyncs that follow this repository, what they apply is compared, too, rendered
with their path, values and targetNamespace.

The status is 0 if nothing differs, 1 if something does, 2 if that could not be
found out.`,
		Example: `  mainstay diff                          # is the cluster as the applied commit says?
  mainstay diff shop
  mainstay diff . shop                   # what would pushing this working copy change?
  mainstay diff origin/feature shop
  mainstay diff shop --live              # every object, and who writes it
  mainstay diff --base origin/main --clusters 'clusters/*'
  mainstay diff HEAD --base v1.2 --clusters clusters/prod -o json`,
		Args: cobra.MaximumNArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
			names, _ := f.Names(cmd, nil, start)
			return names, cobra.ShellCompDirectiveDefault // and folders
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.base != "" || f.clusters != "" {
				return cli.Verdict(f.revisions(cmd, args))
			}
			return cli.Verdict(f.cluster(cmd, args))
		},
	}
	f.Add(cmd)
	p := cmd.Flags()
	p.BoolVar(&f.live, "live", false, "show every object, also those that are equal, and the field managers that write it")
	p.StringSliceVar(&f.keys, "key", nil, "`FILES` with private keys for what SOPS has encrypted, in place of the GitSync's: *.agekey and *.asc")
	p.StringVar(&f.base, "base", "", "compare with this `REV` of git in place of the cluster")
	p.StringVar(&f.clusters, "clusters", "", "with --base: the folders to render, as a `PATTERN` such as clusters/*")
	return cmd
}

// revisions compares two of them without a cluster.
func (f *flags) revisions(cmd *cobra.Command, args []string) error {
	switch {
	case f.base == "" || f.clusters == "":
		return errors.New("--base and --clusters go together, for example --base origin/main --clusters 'clusters/*'")
	case len(args) > 1:
		return errors.New("with --base only a PATH or a REV can be given: no cluster is asked")
	case f.live:
		return errors.New("--live asks the cluster, and --base does not: leave one of them out")
	}
	if err := f.CheckOutput(); err != nil {
		return err
	}
	argument := "."
	if len(args) == 1 {
		argument = args[0]
	}
	to, _, err := side(argument)
	if err != nil {
		return err
	}
	here := "."
	if info, err := os.Stat(argument); err == nil && info.IsDir() {
		here = argument
	}
	local, err := source.OpenLocal(here)
	if err != nil {
		return err
	}
	from, err := revision(local, f.base)
	if err != nil {
		return err
	}
	p := &pull{from: from, to: to, system: f.System, addresses: local.Addresses()}
	for i, address := range p.addresses {
		p.addresses[i] = bare(address)
	}
	if p.keys, err = rendering.ReadKeys(f.keys); err != nil {
		return err
	}
	results, err := p.between(cmd.Context(), f.clusters, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	differing := 0
	for i := range results {
		differing += results[i].differing()
		if f.Output == "" {
			results[i].write(cmd.OutOrStdout())
		}
	}
	if f.Output == "json" {
		if err := cli.Encode(cmd.OutOrStdout(), map[string]any{"folders": results}); err != nil {
			return err
		}
	}
	if differing > 0 {
		return cli.Answer("%s", differ(differing))
	}
	return nil
}

// cluster compares the cluster with git.
func (f *flags) cluster(cmd *cobra.Command, args []string) error {
	s, err := f.Open(cmd)
	if err != nil {
		return err
	}
	gs, g, path, err := f.sides(cmd, s, args)
	if err != nil {
		return err
	}
	c, err := newCluster(s)
	if err != nil {
		return err
	}
	r, err := c.against(cmd.Context(), gs, g, path, f)
	if err != nil {
		return err
	}
	if s.JSON() {
		err = s.Encode(map[string]any{"namespace": gs.Namespace, "name": gs.Name, "result": r})
	} else {
		fmt.Fprintf(s.Out, "GitSync %s/%s: ", gs.Namespace, gs.Name)
		r.write(s.Out)
	}
	switch n := r.differing(); {
	case err != nil:
		return err
	case n > 0:
		return cli.Answer("%s", differ(n))
	}
	if n := r.count(Unreadable); n > 0 {
		return cli.Unclear(fmt.Errorf("%d objects could not be read", n))
	}
	return nil
}

// sides tells what the arguments mean: one that is neither a folder nor, with
// a second, a revision, is a GitSync if there is one of that name.
func (f *flags) sides(cmd *cobra.Command, s *cli.Session, args []string) (*v1alpha1.GitSync, *git, string, error) {
	name, what := "", ""
	switch len(args) {
	case 2:
		what, name = args[0], args[1]
	case 1:
		if info, err := os.Stat(args[0]); err == nil && info.IsDir() {
			what = args[0]
			break
		}
		if gs, err := s.Find(cmd.Context(), args[0]); err == nil {
			return gs, nil, "", nil
		}
		what = args[0]
	}
	gs, err := s.Find(cmd.Context(), name)
	if err != nil || what == "" {
		return gs, nil, "", err
	}
	g, path, err := side(what)
	if err != nil {
		return nil, nil, "", err
	}
	return gs, &g, path, nil
}

func differ(n int) string {
	if n == 1 {
		return "1 object differs"
	}
	return fmt.Sprintf("%d objects differ", n)
}
