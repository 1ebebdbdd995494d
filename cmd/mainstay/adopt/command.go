// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
)

// defaultWait is how long Mainstay may take.
const defaultWait = 5 * time.Minute

// NewAdopt returns the command adopt.
func NewAdopt() *cobra.Command {
	f, commit, wait := new(cli.Flags), "", defaultWait
	cmd := &cobra.Command{
		Use:   "adopt GITSYNC",
		Short: "Show or accept which existing objects a GitSync takes over",
		Long: `Show which objects a GitSync leaves alone because they existed before and are
not what git says, or have them become what git says with --accept.

The commit is named so that what is accepted is what was looked at. The status is
0 if nothing waits or it is done, 1 if something waits or was refused, 2 if that
could not be found out.`,
		Example: `  mainstay adopt shop
  mainstay adopt shop --accept 3f2a9c1d
  mainstay adopt shop -n shop -o json`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: f.Names,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := open(f, cmd)
			if err != nil {
				return err
			}
			if commit == "" {
				return cli.Verdict(s.show(cmd.Context(), args[0]))
			}
			return cli.Verdict(s.accept(cmd.Context(), args[0], commit, wait))
		},
	}
	f.Add(cmd)
	cmd.Flags().StringVar(&commit, "accept", "", "have what exists become what `COMMIT` says; at least its first 7 digits")
	cmd.Flags().DurationVar(&wait, "wait", wait, "how long to wait until it is done; 0: do not wait")
	return cmd
}

// NewRelease returns the command release.
func NewRelease() *cobra.Command {
	f, all, wait := new(cli.Flags), false, defaultWait
	cmd := &cobra.Command{
		Use:   "release GITSYNC | --all",
		Short: "Let a GitSync's objects go, without deleting anything",
		Long: `Let a GitSync's objects go and delete the GitSync, whatever its deletionPolicy is:
Mainstay takes its label and its field ownership off the objects, and nothing
else of them changes. Nobody holds them then, and nothing is reverted.

The status is 0 if it is done, 1 if it was refused, 2 if it is not known.`,
		Example: `  mainstay release shop
  mainstay release shop -n shop -o json
  mainstay release --all            # before Mainstay is uninstalled`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: f.Names,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return cli.Unclear(errors.New("give the name of one GitSync, or --all"))
			}
			s, err := open(f, cmd)
			if err != nil {
				return err
			}
			if all {
				return cli.Verdict(s.releaseAll(cmd.Context(), wait))
			}
			return cli.Verdict(s.releaseNamed(cmd.Context(), args[0], wait))
		},
	}
	f.Add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every GitSync, of the namespace where -n is given, else of all namespaces")
	cmd.Flags().DurationVar(&wait, "wait", wait, "how long to wait until it is done; 0: do not wait")
	return cmd
}
