// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package breakglass

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// request is what the flags of request say.
type request struct {
	decision                string
	duration, wait          time.Duration
	reason, ticket          string
	emergency               bool
	scope                   v1alpha1.BreakGlassScope
	users, groups, accounts []string
	// atEnd is Hold or Revert, extends the name of a BreakGlass.
	atEnd, extends string
	// namespace of the request where that is known already.
	namespace string
	// command to repeat.
	command []string
}

func (r *request) atEndFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.atEnd, "at-end", v1alpha1.AtEndHold, "Hold: what was changed stays as it is until git says the same; Revert: git's values come back")
	_ = cmd.RegisterFlagCompletionFunc("at-end", cobra.FixedCompletions([]string{v1alpha1.AtEndHold, v1alpha1.AtEndRevert}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// decisionID is the id in what was pasted, with quotes and stops around it.
func decisionID(pasted string) (string, error) {
	id := strings.ToLower(strings.Trim(pasted, " \t\r\n\"'`“”‘’.,;:()[]<>"))
	if len(id) < 5 || len(id) > 16 || strings.ContainsFunc(id, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		return "", fmt.Errorf("%q is no id of a decision: a refusal prints it behind emergency: or decision:, for example 7f3k2", pasted)
	}
	return id, nil
}

func (r *request) scoped() bool {
	s := &r.scope
	return len(s.Namespaces)+len(s.Kinds)+len(s.Names)+len(s.Paths)+len(s.Operations) > 0
}

func (r *request) check() error {
	switch {
	case r.atEnd != v1alpha1.AtEndHold && r.atEnd != v1alpha1.AtEndRevert:
		return fmt.Errorf("--at-end %s is unknown: use Hold or Revert", r.atEnd)
	case r.extends != "":
	case r.decision == "" && !r.scoped():
		return errors.New("say what may be changed: the id of the decision that a refusal printed, or --in, --kind, --name and --path")
	case r.decision != "" && r.scoped():
		return errors.New("a decision says what may be changed: leave out --in, --kind, --name, --path and --operation")
	}
	switch {
	case r.duration <= 0:
		return errors.New("--for is missing, for example --for 1h")
	case r.reason == "":
		return errors.New("--reason is missing")
	}
	for _, account := range r.accounts {
		if namespace, name, ok := strings.Cut(account, ":"); !ok || namespace == "" || name == "" {
			return fmt.Errorf("--service-account %s: must be NAMESPACE:NAME", account)
		}
	}
	return nil
}

func (r *request) subjects() []v1alpha1.BreakGlassSubject {
	var out []v1alpha1.BreakGlassSubject
	for _, name := range r.users {
		out = append(out, v1alpha1.BreakGlassSubject{Kind: v1alpha1.SubjectUser, Name: name})
	}
	for _, name := range r.groups {
		out = append(out, v1alpha1.BreakGlassSubject{Kind: v1alpha1.SubjectGroup, Name: name})
	}
	for _, account := range r.accounts {
		namespace, name, _ := strings.Cut(account, ":")
		out = append(out, v1alpha1.BreakGlassSubject{Kind: v1alpha1.SubjectServiceAccount, Namespace: namespace, Name: name})
	}
	return out
}

// request makes the BreakGlass and says how it goes on.
func (s *session) request(ctx context.Context, r *request) error {
	me, err := s.me(ctx)
	if err != nil {
		return err
	}
	namespace := r.namespace
	if namespace == "" {
		if namespace, err = s.home(ctx); err != nil {
			return err
		}
	}
	bg := &v1alpha1.BreakGlass{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "bg-"},
		Spec: v1alpha1.BreakGlassSpec{
			RequestedBy: me, Decision: r.decision, Subjects: r.subjects(), Reason: r.reason, Ticket: r.ticket,
			Duration: metav1.Duration{Duration: r.duration}, Emergency: r.emergency,
			AtEnd: r.atEnd, Extends: r.extends,
		},
	}
	switch {
	case r.extends != "":
		bg.GenerateName = strings.TrimSuffix(r.extends[:min(len(r.extends), 200)], "-") + "-"
	case r.decision != "":
		bg.GenerateName += r.decision + "-"
	default:
		for i, operation := range r.scope.Operations {
			r.scope.Operations[i] = strings.ToUpper(operation)
		}
		bg.Spec.Scope = &r.scope
	}
	if err := s.client.Create(ctx, bg); err != nil {
		return err
	}
	if err := s.described(ctx, bg); err != nil {
		return err
	}
	if !s.json() {
		s.print(bg)
	}
	switch {
	case r.emergency:
		if err := s.await(ctx, bg, activation); err != nil {
			return err
		}
	case r.wait > 0:
		s.howToApprove(ctx, bg)
		fmt.Fprintf(s.progress, "Waiting for the approval, for %s at most …\n", r.wait)
		if err := s.await(ctx, bg, r.wait); err != nil {
			return err
		}
	default:
		if s.json() {
			return s.encode(bg)
		}
		s.howToApprove(ctx, bg)
		return nil
	}
	if s.json() {
		return s.encode(bg)
	}
	if len(r.command) == 0 {
		fmt.Fprintf(s.out, "Active until %s: run it again.\n", clock(bg.Status.ExpiresAt))
		return nil
	}
	fmt.Fprintf(s.out, "Active until %s: run it again:\n  %s\n", clock(bg.Status.ExpiresAt), quoted(r.command))
	return nil
}

const (
	// describing is how long a new request is given for its status, activation
	// how long an approved one is.
	describing = 3 * time.Second
	activation = 15 * time.Second
	look       = 200 * time.Millisecond
)

// described waits until the status says what exactly was asked for.
func (s *session) described(ctx context.Context, bg *v1alpha1.BreakGlass) error {
	err := s.poll(ctx, bg, describing, func() (bool, error) { return bg.Status.Scope != nil, nil })
	if errors.Is(err, errWaited) {
		return nil
	}
	return err
}

// await waits until a grant is active.
func (s *session) await(ctx context.Context, bg *v1alpha1.BreakGlass, limit time.Duration) error {
	err := s.poll(ctx, bg, limit, func() (bool, error) {
		switch bg.Status.Phase {
		case v1alpha1.PhaseActive:
			return true, nil
		case v1alpha1.PhaseEnded, v1alpha1.PhaseRevoked:
			return false, cli.Answer("%s is %s", bg.Name, strings.ToLower(bg.Status.Phase))
		}
		return false, nil
	})
	if errors.Is(err, errWaited) {
		return cli.Answer("%s is not active after %s; mainstay breakglass show %s", bg.Name, limit, bg.Name)
	}
	return err
}

var errWaited = errors.New("the time is over")

func (s *session) poll(ctx context.Context, bg *v1alpha1.BreakGlass, limit time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errWaited)
	defer cancel()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(look):
		}
		switch err := s.client.Get(ctx, client.ObjectKeyFromObject(bg), bg); {
		case apierrors.IsNotFound(err):
			return cli.Answer("%s was deleted", bg.Name)
		case err != nil && ctx.Err() == nil:
			return err
		}
	}
}

// howToApprove says who may approve, and how.
func (s *session) howToApprove(ctx context.Context, bg *v1alpha1.BreakGlass) {
	who := s.approvers(ctx, bg)
	if who == "" {
		who = "whoever is bound to the ClusterRole mainstay-approver"
	}
	fmt.Fprintf(s.progress, `
Somebody else with the verb approve has to approve it: %[3]s
  kubectl mainstay breakglass approve %[1]s -n %[2]s
  kubectl patch breakglass %[1]s -n %[2]s --type=merge -p '{"spec":{"approvedBy":"THEIR NAME"}}'
`, bg.Name, bg.Namespace, who)
}

func (s *session) approve(ctx context.Context, bg *v1alpha1.BreakGlass) error {
	me, err := s.me(ctx)
	if err != nil {
		return err
	}
	if by := bg.Spec.ApprovedBy; by != "" {
		return cli.Answer("%s has approved %s already", by, bg.Name)
	}
	if err := s.patch(ctx, bg, map[string]any{"approvedBy": me}); err != nil {
		return err
	}
	if err := s.await(ctx, bg, activation); err != nil {
		return err
	}
	if s.json() {
		return s.encode(bg)
	}
	s.print(bg)
	fmt.Fprintf(s.out, "Active until %s. It ends before with: kubectl mainstay breakglass revoke %s -n %s\n", clock(bg.Status.ExpiresAt), bg.Name, bg.Namespace)
	return nil
}

func (s *session) revoke(ctx context.Context, bg *v1alpha1.BreakGlass) error {
	if err := s.patch(ctx, bg, map[string]any{"revoked": true}); err != nil {
		return err
	}
	if s.json() {
		return s.encode(bg)
	}
	if bg.Spec.Holds() {
		fmt.Fprintf(s.out, "%s is revoked: what was changed under it is held as it is until git says the same.\nGive it up: kubectl mainstay breakglass revert %[1]s -n %[2]s\n", bg.Name, bg.Namespace)
		return nil
	}
	fmt.Fprintf(s.out, "%s is revoked: what was changed under it goes back to what git says.\n", bg.Name)
	return nil
}
