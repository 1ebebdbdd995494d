// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package breakglass

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

func newExtend(f *flags) *cobra.Command {
	r := &request{}
	cmd := named(f, &cobra.Command{
		Use:   "extend NAME --for DURATION --reason TEXT",
		Short: "Ask for more time",
		Long: `Ask for more time: a new request for the same changes by the same people, which
needs an approval of its own. What was changed under the old grant stands as long
as the new one. It can be asked for until what was changed has gone back.`,
		Example: `  mainstay breakglass extend bg-7f3k2-x4w9t --for 1h --reason "INC-7: still investigating"
  mainstay bg extend bg-7f3k2-x4w9t --for 1h --reason INC-7 --wait`,
	}, func(s *session, bg *v1alpha1.BreakGlass, cmd *cobra.Command) error {
		r.extends, r.namespace = bg.Name, bg.Namespace
		if r.ticket == "" {
			r.ticket = bg.Spec.Ticket
		}
		if !cmd.Flags().Changed("at-end") {
			r.atEnd = cmp.Or(bg.Spec.AtEnd, v1alpha1.AtEndHold)
		}
		if err := r.check(); err != nil {
			return cli.Unclear(err)
		}
		return s.request(cmd.Context(), r)
	})
	p := cmd.Flags()
	p.DurationVar(&r.duration, "for", 0, "how long, counted from the approval, for example 1h")
	p.StringVar(&r.reason, "reason", "", "why; shown wherever the grant is used")
	p.StringVar(&r.ticket, "ticket", "", "where the incident is followed; that of the old request where it is left out")
	p.BoolVar(&r.emergency, "emergency", false, "do without an approval, and raise an alert; for the groups that the operator has named")
	p.DurationVar(&r.wait, "wait", 0, "wait until it is approved, 15m unless a time is given")
	p.Lookup("wait").NoOptDefVal = (15 * time.Minute).String()
	r.atEndFlag(cmd)
	return cmd
}

func newRevert(f *flags) *cobra.Command {
	var reason string
	cmd := named(f, &cobra.Command{
		Use:   "revert NAME",
		Short: "Put git's values back for what was changed",
		Long: `Put git's values back for what was changed under a grant, now. A grant that is
still active is revoked. The requester, the approver and who holds the verb
approve may. With plain kubectl it is the annotation mainstay.dev/revert on the
BreakGlass, with spec.revoked: true where it is active.`,
		Example: `  mainstay breakglass show bg-7f3k2-x4w9t
  mainstay breakglass revert bg-7f3k2-x4w9t --reason "the old image was fine"`,
	}, func(s *session, bg *v1alpha1.BreakGlass, cmd *cobra.Command) error {
		return s.revert(cmd.Context(), bg, reason)
	})
	cmd.Flags().StringVar(&reason, "reason", "by mainstay breakglass revert", "why")
	return cmd
}

func (s *session) revert(ctx context.Context, bg *v1alpha1.BreakGlass, reason string) error {
	if bg.Annotations[v1alpha1.RevertAnnotation] != "" {
		return cli.Answer("what was changed under %s was given up already", bg.Name)
	}
	change := map[string]any{"metadata": map[string]any{"annotations": map[string]any{v1alpha1.RevertAnnotation: reason}}}
	if bg.Status.Phase == v1alpha1.PhaseActive && !bg.Spec.Revoked {
		change["spec"] = map[string]any{"revoked": true}
	}
	raw, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("encode the change: %w", err)
	}
	for _, c := range bg.Status.AwaitingGit {
		if c.RestartsPods {
			fmt.Fprintf(s.progress, "This restarts the pods of %s.\n", plain(c.Object))
		}
	}
	if err := s.client.Patch(ctx, bg, client.RawPatch(types.MergePatchType, raw)); err != nil {
		return err
	}
	err = s.poll(ctx, bg, activation, func() (bool, error) { return len(bg.Status.AwaitingGit) == 0, nil })
	switch {
	case err != nil && ctx.Err() != nil:
		return err
	case s.json():
		return s.encode(bg)
	case err != nil:
		fmt.Fprintf(s.out, "Git's values are on their way; mainstay breakglass show %s -n %s\n", bg.Name, bg.Namespace)
	default:
		fmt.Fprintf(s.out, "Git's values are back for all that was changed under %s.\n", bg.Name)
	}
	return nil
}

// summary says what became of what was changed.
func (s *session) summary(bg *v1alpha1.BreakGlass) {
	st := bg.Status
	if len(st.AwaitingGit)+len(st.Settled) == 0 {
		return
	}
	fmt.Fprintln(s.out)
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "STATE\tOBJECT\tPATHS\tBY\tDECISION")
	row := func(state string, c v1alpha1.BreakGlassChange) {
		paths := strings.Join(c.Paths, ", ")
		if len(c.Paths) == 0 {
			paths = "(deleted)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", state, plain(c.Object), plain(paths), plain(c.By), c.Decision)
	}
	state := "permitted"
	if st.Phase != v1alpha1.PhaseActive {
		state = "held"
		if st.HeldUntil == nil {
			state = "going back"
		}
	}
	for _, c := range st.AwaitingGit {
		row(state, c)
	}
	for _, c := range st.Settled {
		row(words[c.How], c)
	}
	_ = w.Flush()
	if len(st.AwaitingGit) > 0 {
		fmt.Fprintf(s.out, "\nBring it into git:  kubectl mainstay breakglass patch %[1]s -n %[2]s | git apply\nGive it up:         kubectl mainstay breakglass revert %[1]s -n %[2]s\n", bg.Name, bg.Namespace)
	}
}

// words for how a change is over.
var words = map[string]string{
	v1alpha1.SettledInGit: "in git", v1alpha1.SettledReverted: "reverted", v1alpha1.SettledOverwritten: "overwritten", "": "over",
}

// approvers are who may approve a request, as far as the bindings tell: those
// who may not read them are told the role alone.
func (s *session) approvers(ctx context.Context, bg *v1alpha1.BreakGlass) string {
	var roles rbacv1.ClusterRoleList
	var everywhere rbacv1.ClusterRoleBindingList
	var here rbacv1.RoleBindingList
	if s.client.List(ctx, &roles) != nil || s.client.List(ctx, &everywhere) != nil {
		return ""
	}
	approving := map[string]bool{}
	for _, r := range roles.Items {
		approving[r.Name] = slices.ContainsFunc(r.Rules, mayApprove)
	}
	var subjects []rbacv1.Subject
	for _, b := range everywhere.Items {
		if approving[b.RoleRef.Name] {
			subjects = append(subjects, b.Subjects...)
		}
	}
	if s.client.List(ctx, &here, client.InNamespace(bg.Namespace)) == nil {
		for _, b := range here.Items {
			if b.RoleRef.Kind == "ClusterRole" && approving[b.RoleRef.Name] {
				subjects = append(subjects, b.Subjects...)
			}
		}
	}
	var names []string
	for _, subject := range subjects {
		name := strings.ToLower(subject.Kind) + " " + subject.Name
		if subject.Kind == rbacv1.ServiceAccountKind || subject.Name == bg.Spec.RequestedBy || strings.HasPrefix(subject.Name, "system:") || slices.Contains(names, name) {
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	const most = 10
	if more := len(names) - most; more > 0 {
		names = append(names[:most:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

func mayApprove(r rbacv1.PolicyRule) bool {
	has := func(list []string, want string) bool {
		return slices.Contains(list, want) || slices.Contains(list, "*")
	}
	return has(r.Verbs, "approve") && has(r.APIGroups, v1alpha1.GroupVersion.Group) && has(r.Resources, "breakglasses") && len(r.ResourceNames) == 0
}

// quoted is a command as a shell takes it.
func quoted(command []string) string {
	out := make([]string, len(command))
	for i, arg := range command {
		if arg == "" || strings.ContainsAny(arg, " \t\n'\"\\$`*?[]{}()<>|&;!#~") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		out[i] = arg
	}
	return strings.Join(out, " ")
}
