// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package breakglass

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// NewCommand returns the command breakglass. What was asked for goes to the
// command's output, progress to its error output.
func NewCommand() *cobra.Command {
	f := new(flags)
	cmd := &cobra.Command{
		Use:     "breakglass",
		Aliases: []string{"bg"},
		Short:   "Ask for, approve and end time-boxed exceptions",
		Long: `Ask for, approve and end time-boxed exceptions.

A refusal prints the id that request takes: the grant is then as narrow as what
was refused. Somebody else, who holds the verb approve, has to approve it, from
any client. As a file called kubectl-mainstay in the PATH this program is
kubectl mainstay.

The status is 0 if it is done, 1 if it was refused or there is nothing such, and
2 if that could not be found out.`,
		Args: cobra.NoArgs,
	}
	p := cmd.PersistentFlags()
	p.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `FILE`; kubectl's own where it is empty")
	p.StringVar(&f.context, "context", "", "`NAME` of the kubeconfig's context to use")
	p.StringVarP(&f.namespace, "namespace", "n", "", "`NAMESPACE` of the BreakGlass; Mainstay's own where you may write there")
	p.StringVar(&f.system, "mainstay-namespace", "mainstay-system", "`NAMESPACE` in which Mainstay runs")
	p.StringVarP(&f.output, "output", "o", "", "json, or empty for people")
	cmd.AddCommand(newRequest(f), newApprove(f), newList(f), newShow(f), newExtend(f), newRevert(f), newRevoke(f), newPatch(f))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return cmd
}

func newRequest(f *flags) *cobra.Command {
	r := new(request)
	cmd := &cobra.Command{
		Use:   "request [DECISION] --for DURATION --reason TEXT",
		Short: "Ask for a grant",
		Long: `Ask for a grant: with the id of a decision for what was refused, or with flags
for what may be changed. Every flag that is given has to match; the operation is
UPDATE unless --operation says otherwise. What follows -- is the command to
repeat: it is printed when the grant is active.`,
		Example: `  mainstay breakglass request 7f3k2 --for 1h --reason "INC-7: bad image"
  mainstay bg request 7f3k2 --for 1h --reason INC-7 --wait -- kubectl set image deployment/web web=nginx:1.28
  mainstay bg request 7f3k2 --for 30m --reason INC-7 --emergency
  mainstay bg request --for 1h --reason INC-7 --in shop --kind Deployment --name 'web-*' --path spec.replicas`,
		Args: func(cmd *cobra.Command, args []string) error {
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				args = args[:at]
			}
			return cobra.MaximumNArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				args, r.command = args[:at], args[at:]
			}
			if len(args) == 1 {
				var err error
				if r.decision, err = decisionID(args[0]); err != nil {
					return cli.Unclear(err)
				}
			}
			if err := r.check(); err != nil {
				return cli.Unclear(err)
			}
			s, err := f.open(cmd)
			if err != nil {
				return cli.Unclear(err)
			}
			return cli.Verdict(s.request(cmd.Context(), r))
		},
	}
	p := cmd.Flags()
	p.DurationVar(&r.duration, "for", 0, "how long, counted from the approval, for example 1h")
	p.StringVar(&r.reason, "reason", "", "why; shown wherever the grant is used")
	p.StringVar(&r.ticket, "ticket", "", "where the incident is followed")
	r.atEndFlag(cmd)
	p.BoolVar(&r.emergency, "emergency", false, "do without an approval, and raise an alert; for the groups that the operator has named")
	p.DurationVar(&r.wait, "wait", 0, "wait until it is approved, 15m unless a time is given")
	p.Lookup("wait").NoOptDefVal = (15 * time.Minute).String()
	p.StringSliceVar(&r.scope.Namespaces, "in", nil, "namespaces of the objects")
	p.StringSliceVar(&r.scope.Kinds, "kind", nil, "kinds, for example Deployment or Deployment.apps")
	p.StringSliceVar(&r.scope.Names, "name", nil, "names; a * stands for any text")
	// Paths hold commas.
	p.StringArrayVar(&r.scope.Paths, "path", nil, "paths as refusals print them; may be given several times")
	p.StringSliceVar(&r.scope.Operations, "operation", nil, "CREATE, UPDATE, DELETE, CONNECT or SYNC (a commit that a deny holds back)")
	p.StringArrayVar(&r.users, "user", nil, "who may use it; you where nobody is named")
	p.StringArrayVar(&r.groups, "group", nil, "a group that may use it")
	p.StringArrayVar(&r.accounts, "service-account", nil, "`NAMESPACE:NAME` of a service account that may use it")
	return cmd
}

// named is a command about one BreakGlass.
func named(f *flags, cmd *cobra.Command, do func(s *session, bg *v1alpha1.BreakGlass, cmd *cobra.Command) error) *cobra.Command {
	cmd.Args = cobra.ExactArgs(1)
	cmd.ValidArgsFunction = f.names
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := f.open(cmd)
		if err != nil {
			return cli.Unclear(err)
		}
		bg, err := s.find(cmd.Context(), args[0])
		if err != nil {
			return cli.Verdict(err)
		}
		return cli.Verdict(do(s, bg, cmd))
	}
	return cmd
}

func newApprove(f *flags) *cobra.Command {
	return named(f, &cobra.Command{
		Use:   "approve NAME",
		Short: "Approve what somebody else asks for",
		Long: `Approve what somebody else asks for. It takes the verb approve on breakglasses,
as in the ClusterRole mainstay-approver. Look at it with show first.`,
		Example: "  mainstay breakglass show bg-7f3k2-x4w9t\n  mainstay breakglass approve bg-7f3k2-x4w9t",
	}, func(s *session, bg *v1alpha1.BreakGlass, cmd *cobra.Command) error {
		return s.approve(cmd.Context(), bg)
	})
}

func newShow(f *flags) *cobra.Command {
	return named(f, &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a request and what it was used for",
		Example: "  mainstay breakglass show bg-7f3k2-x4w9t\n  mainstay breakglass show bg-7f3k2-x4w9t -o json",
	}, func(s *session, bg *v1alpha1.BreakGlass, _ *cobra.Command) error { return s.show(bg) })
}

func newRevoke(f *flags) *cobra.Command {
	return named(f, &cobra.Command{
		Use:   "revoke NAME",
		Short: "End a grant now",
		Long: `End a grant now, for good. What was changed under it is held, or goes back, as
its atEnd says; revert gives it up. The requester, the approver and who holds the
verb approve may.`,
		Example: "  mainstay breakglass revoke bg-7f3k2-x4w9t",
	}, func(s *session, bg *v1alpha1.BreakGlass, cmd *cobra.Command) error {
		return s.revoke(cmd.Context(), bg)
	})
}

func newList(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List requests, the newest first",
		Example: "  mainstay breakglass list\n  mainstay breakglass list -n shop -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.open(cmd)
			if err != nil {
				return cli.Unclear(err)
			}
			return cli.Verdict(s.list(cmd.Context()))
		},
	}
}
