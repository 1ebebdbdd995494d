// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// NewCommand returns the command status.
func NewCommand() *cobra.Command {
	f := new(cli.Flags)
	cmd := &cobra.Command{
		Use:   "status [GITSYNC]",
		Short: "Show what is applied, how it is, and what to do next",
		Long: `Show what a GitSync has applied, the health of its objects, what differs from git
and until when that is permitted, its last commits, and what to do next. Without
a name it is a table of all.

The status is 0 if all of them are ready and nothing differs that may not, 1 if
not, 2 if that could not be found out.`,
		Example: `  mainstay status
  mainstay status shop
  mainstay status team-a/web -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: f.Names,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.Open(cmd)
			if err != nil {
				return err
			}
			var all []v1alpha1.GitSync
			if len(args) == 1 {
				gs, err := s.Find(cmd.Context(), args[0])
				if err != nil {
					return cli.Verdict(err)
				}
				all = append(all, *gs)
			} else if all, err = s.List(cmd.Context()); err != nil {
				return cli.Verdict(err)
			}
			return write(s, all, len(args) == 1)
		},
	}
	f.Add(cmd)
	return cmd
}

// Report is what -o json prints of one GitSync.
type Report struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Fine tells that it is ready and that nothing differs which may not.
	Fine bool `json:"fine"`
	// Next says what to do; empty where nothing has to be done.
	Next       string                 `json:"next,omitempty"`
	Mode       v1alpha1.Mode          `json:"mode"`
	Repository string                 `json:"repository"`
	Ref        v1alpha1.Ref           `json:"ref"`
	Path       string                 `json:"path"`
	Status     v1alpha1.GitSyncStatus `json:"status"`
}

func write(s *cli.Session, all []v1alpha1.GitSync, tree bool) error {
	now := time.Now()
	slices.SortFunc(all, func(a, b v1alpha1.GitSync) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	bad := 0
	reports := make([]Report, 0, len(all))
	for i := range all {
		gs := &all[i]
		reports = append(reports, Report{
			Namespace: gs.Namespace, Name: gs.Name, Fine: fine(gs), Next: next(gs), Mode: gs.Spec.Enforcement.Mode,
			Repository: gs.Spec.Source.URL, Ref: gs.Spec.Source.Ref, Path: gs.Spec.Source.Path, Status: gs.Status,
		})
		if !fine(gs) {
			bad++
		}
	}
	switch {
	case s.JSON():
		if err := s.Encode(map[string]any{"gitSyncs": reports}); err != nil {
			return cli.Unclear(err)
		}
	case len(all) == 0:
		fmt.Fprintln(s.Progress, "there is no GitSync; the README's \"Install\" says how to make one")
	case tree:
		fmt.Fprint(s.Out, Tree(&all[0], now))
	default:
		if err := table(s, all, now); err != nil {
			return cli.Unclear(err)
		}
	}
	switch {
	case bad == 1 && len(all) == 1:
		return cli.Answer("gitsync %s/%s is not as it should be", all[0].Namespace, all[0].Name)
	case bad > 0:
		return cli.Answer("%d of %d GitSyncs are not as they should be", bad, len(all))
	}
	return nil
}

func fine(gs *v1alpha1.GitSync) bool {
	return cli.Condition(gs, v1alpha1.ConditionReady).Status == metav1.ConditionTrue &&
		cli.Condition(gs, v1alpha1.ConditionDrifted).Status != metav1.ConditionTrue &&
		gs.Status.Suspended == nil
}

func table(s *cli.Session, all []v1alpha1.GitSync, now time.Time) error {
	w := tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAMESPACE\tNAME\tREADY\tMODE\tREVISION\tAUTHOR\tAPPLIED\tOBJECTS\tDRIFT\tNEXT")
	for i := range all {
		gs := &all[i]
		author, applied := "-", "-"
		if h := gs.Status.History; len(h) > 0 {
			author, applied = cmp.Or(h[0].Author, "-"), cli.Ago(h[0].AppliedAt.Time, now)
		}
		mode := string(gs.Spec.Enforcement.Mode)
		if gs.Status.Suspended != nil {
			mode = "suspended"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d/%d\t%d\t%s\n", gs.Namespace, gs.Name,
			cli.Condition(gs, v1alpha1.ConditionReady).Status, mode, cmp.Or(cli.Short(gs.Status.LastAppliedRevision), "-"), cli.Line(author, 20), applied,
			gs.Status.Objects.Ready, gs.Status.Objects.Declared, gs.Status.Drift.Current, cmp.Or(cli.Line(next(gs), 80), "-"))
	}
	return w.Flush()
}
