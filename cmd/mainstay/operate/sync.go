// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// poll is how often a GitSync is looked at while something is awaited.
const poll = 200 * time.Millisecond

// NewSync returns the command sync.
func NewSync() *cobra.Command {
	f := new(cli.Flags)
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "sync [GITSYNC]",
		Short: "Have a GitSync look at its repository now",
		Long: `Have a GitSync look at its repository now, and not only at its next interval.
Without a name it is the only one that there is. It is the annotation
mainstay.dev/requested-at with any new value.

The status is 0 if it was asked for or, with --wait, if it is applied; 1 if the
commit could not be applied; 2 if that could not be found out.`,
		Example: `  mainstay sync
  mainstay sync shop --wait
  mainstay sync team-a/web --wait=2m -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: f.Names,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, gs, err := open(cmd, f, args)
			if err != nil {
				return cli.Verdict(err)
			}
			return cli.Verdict(syncNow(cmd.Context(), s, gs, wait))
		},
	}
	f.Add(cmd)
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait until the commit is applied or failed, 5m unless a time is given")
	cmd.Flags().Lookup("wait").NoOptDefVal = (5 * time.Minute).String()
	return cmd
}

func open(cmd *cobra.Command, f *cli.Flags, args []string) (*cli.Session, *v1alpha1.GitSync, error) {
	s, err := f.Open(cmd)
	if err != nil {
		return nil, nil, err
	}
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	gs, err := s.Find(cmd.Context(), name)
	return s, gs, err
}

// annotate sets annotations of a GitSync; nil takes one away.
func annotate(ctx context.Context, s *cli.Session, gs *v1alpha1.GitSync, name string, value *string) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, name)
	if value != nil {
		patch = fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, name, *value)
	}
	if err := s.Client.Patch(ctx, gs, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("annotate gitsync %s/%s: %w", gs.Namespace, gs.Name, err)
	}
	return nil
}

func syncNow(ctx context.Context, s *cli.Session, gs *v1alpha1.GitSync, wait time.Duration) error {
	request := time.Now().UTC().Format(time.RFC3339Nano)
	if err := annotate(ctx, s, gs, v1alpha1.RequestedAtAnnotation, &request); err != nil {
		return err
	}
	if wait <= 0 {
		if s.JSON() {
			return s.Encode(gs)
		}
		fmt.Fprintf(s.Out, "gitsync %s/%s looks at its repository; see mainstay status %[2]s -n %[1]s\n", gs.Namespace, gs.Name)
		return nil
	}
	said := ""
	err := await(ctx, s, gs, wait, func() (bool, error) {
		reconciling, ready := cli.Condition(gs, v1alpha1.ConditionReconciling), cli.Condition(gs, v1alpha1.ConditionReady)
		if words := reconciling.Message; reconciling.Status == metav1.ConditionTrue && words != said {
			said = words
			fmt.Fprintln(s.Progress, cli.Line(words, 200))
		}
		if stalled := cli.Condition(gs, v1alpha1.ConditionStalled); stalled.Status == metav1.ConditionTrue {
			return false, cli.Answer("%s: %s", stalled.Reason, stalled.Message)
		}
		if gs.Status.Suspended != nil {
			return false, cli.Answer("gitsync %s/%s is suspended until %s: mainstay resume %[2]s -n %[1]s",
				gs.Namespace, gs.Name, gs.Status.Suspended.Until.Format(time.RFC3339))
		}
		handled := gs.Status.LastHandledRequest == request
		switch {
		case ready.Status == metav1.ConditionFalse && (handled || ready.LastTransitionTime.After(begun(request)) || gs.Status.LastAttemptedRevision != gs.Status.LastAppliedRevision) && reconciling.Status != metav1.ConditionTrue:
			return false, cli.Answer("%s: %s", ready.Reason, ready.Message)
		case handled && ready.Status == metav1.ConditionTrue:
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if s.JSON() {
		return s.Encode(gs)
	}
	fmt.Fprintf(s.Out, "%s is applied: %d of %d objects ready\n", cli.Short(gs.Status.LastAppliedRevision), gs.Status.Objects.Ready, gs.Status.Objects.Declared)
	return nil
}

func begun(request string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, request)
	if err != nil {
		return time.Time{} // it was made here
	}
	return t.Truncate(time.Second).Add(-time.Nanosecond)
}

// await looks at a GitSync until done says so.
func await(ctx context.Context, s *cli.Session, gs *v1alpha1.GitSync, limit time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return late(ctx, gs, limit)
		case <-time.After(poll):
		}
		if err := s.Client.Get(ctx, client.ObjectKeyFromObject(gs), gs); err != nil {
			if ctx.Err() != nil {
				return late(ctx, gs, limit)
			}
			return fmt.Errorf("get gitsync %s/%s: %w", gs.Namespace, gs.Name, err)
		}
	}
}

func late(ctx context.Context, gs *v1alpha1.GitSync, limit time.Duration) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	ready := cli.Condition(gs, v1alpha1.ConditionReady)
	return cli.Answer("not done after %s: Ready is %s (%s): %s", limit, ready.Status, ready.Reason, ready.Message)
}
