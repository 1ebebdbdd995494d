// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package operate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// settle is how long it may take until the controller has seen an annotation.
const settle = 15 * time.Second

// NewSuspend returns the command suspend.
func NewSuspend() *cobra.Command {
	f := new(cli.Flags)
	var duration time.Duration
	var reason string
	cmd := &cobra.Command{
		Use:   "suspend GITSYNC --for DURATION --reason TEXT",
		Short: "Suspend the enforcement of a GitSync for a while",
		Long: `Suspend the enforcement of a GitSync for a while: changes of its objects are
permitted and recorded, nothing is applied or reverted. It ends by itself, and
what was changed goes back then. It takes the verb suspend on gitsyncs, and is
the annotation mainstay.dev/suspend: "<duration> <reason>".

The status is 0 if it is suspended, 1 if that was refused, 2 if that could not be
found out.`,
		Example: `  mainstay suspend shop --for 1h --reason "INC-4711 bad rollout"
  mainstay suspend team-a/web --for 30m --reason "node migration"`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: f.Names,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch reason = strings.TrimSpace(reason); {
			case duration <= 0:
				return cli.Unclear(errors.New("say for how long: --for 1h"))
			case reason == "":
				return cli.Unclear(errors.New(`say why: --reason "INC-4711 bad rollout"`))
			}
			s, gs, err := open(cmd, f, args)
			if err != nil {
				return cli.Verdict(err)
			}
			return cli.Verdict(suspend(cmd.Context(), s, gs, duration, reason))
		},
	}
	f.Add(cmd)
	cmd.Flags().DurationVar(&duration, "for", 0, "how long, for example 1h")
	cmd.Flags().StringVar(&reason, "reason", "", "why; shown wherever it matters")
	return cmd
}

func suspend(ctx context.Context, s *cli.Session, gs *v1alpha1.GitSync, duration time.Duration, reason string) error {
	value := compact(duration) + " " + reason
	if err := annotate(ctx, s, gs, v1alpha1.SuspendAnnotation, &value); err != nil {
		return err
	}
	err := await(ctx, s, gs, settle, func() (bool, error) {
		return gs.Status.Suspended != nil && gs.Status.Suspended.Reason == reason, nil
	})
	if err != nil {
		return fmt.Errorf("the annotation is set, but the controller has not said that it counts: %w", err)
	}
	if s.JSON() {
		return s.Encode(gs.Status.Suspended)
	}
	until := gs.Status.Suspended.Until.Time
	fmt.Fprintf(s.Out, "gitsync %s/%s is suspended until %s (%s), by %s. It ends before with: mainstay resume %[2]s -n %[1]s\n",
		gs.Namespace, gs.Name, until.UTC().Format(time.RFC3339), cli.Ago(until, time.Now()), gs.Status.Suspended.By)
	return nil
}

// compact is a duration without the zeros that Go writes: 1h, not 1h0m0s.
func compact(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// NewResume returns the command resume.
func NewResume() *cobra.Command {
	f := new(cli.Flags)
	cmd := &cobra.Command{
		Use:   "resume GITSYNC",
		Short: "End a suspension now",
		Long: `End a suspension now: git is enforced again, and what was changed meanwhile goes
back. It takes the annotation mainstay.dev/suspend away.

The status is 0 if git is enforced, 1 if that was refused, 2 if that could not be
found out.`,
		Example:           "  mainstay resume shop\n  mainstay resume team-a/web -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: f.Names,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, gs, err := open(cmd, f, args)
			if err != nil {
				return cli.Verdict(err)
			}
			return cli.Verdict(resume(cmd.Context(), s, gs))
		},
	}
	f.Add(cmd)
	return cmd
}

func resume(ctx context.Context, s *cli.Session, gs *v1alpha1.GitSync) error {
	_, set := gs.Annotations[v1alpha1.SuspendAnnotation]
	if !set && gs.Status.Suspended == nil {
		fmt.Fprintf(s.Progress, "gitsync %s/%s is not suspended\n", gs.Namespace, gs.Name)
	} else if err := annotate(ctx, s, gs, v1alpha1.SuspendAnnotation, nil); err != nil {
		return err
	}
	deleting := !gs.DeletionTimestamp.IsZero()
	err := await(ctx, s, gs, settle, func() (bool, error) { return gs.Status.Suspended == nil, nil })
	if deleting && apierrors.IsNotFound(err) {
		fmt.Fprintf(s.Progress, "gitsync %s/%s was being deleted, and is gone\n", gs.Namespace, gs.Name)
		return nil
	}
	if err != nil {
		return fmt.Errorf("the annotation is gone, but the controller has not said so: %w", err)
	}
	if s.JSON() {
		return s.Encode(gs)
	}
	fmt.Fprintf(s.Out, "gitsync %s/%s is enforced\n", gs.Namespace, gs.Name)
	return nil
}
