// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

const (
	// pendingReason is that of the condition Ready while objects wait.
	pendingReason = "AdoptionPending"
	// minCommit is how many digits of a commit's id name it.
	minCommit = 7
	pollEvery = 250 * time.Millisecond
)

// look says how a GitSync stands.
func look(gs *v1alpha1.GitSync) (Result, metav1.Condition) {
	ready := metav1.Condition{Status: metav1.ConditionUnknown, Message: "Mainstay has not looked at it yet"}
	if c := meta.FindStatusCondition(gs.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		ready = *c
	}
	_, commit, _ := strings.Cut(gs.Status.LastAttemptedRevision, "@sha1:")
	return Result{
		Namespace: gs.Namespace, Name: gs.Name, Pending: ready.Reason == pendingReason, Commit: commit, Message: ready.Message,
	}, ready
}

// show prints what waits.
func (s *session) show(ctx context.Context, name string) error {
	gs, err := s.Find(ctx, name)
	if err != nil {
		return err
	}
	r, ready := look(gs)
	if !r.Pending && ready.Status == metav1.ConditionTrue {
		r.Message = "nothing waits to be taken over: " + r.Message
	}
	if err := s.print(r); err != nil {
		return err
	}
	if r.Pending {
		return cli.Answer("objects of gitsync %s/%s wait to be taken over", gs.Namespace, gs.Name)
	}
	return nil
}

// accept has what exists become what the commit says, and waits until it has.
func (s *session) accept(ctx context.Context, name, commit string, wait time.Duration) error {
	gs, err := s.Find(ctx, name)
	if err != nil {
		return err
	}
	r, _ := look(gs)
	switch {
	case len(commit) < minCommit:
		return cli.Answer("--accept %s: give at least the first %d digits of the commit", commit, minCommit)
	case !strings.HasPrefix(r.Commit, commit):
		return cli.Answer("--accept %s: the commit that was looked at last is %s: look again with mainstay adopt %s", commit, r.Commit, gs.Name)
	case !r.Pending:
		r.Message = "nothing waits to be taken over: " + r.Message
		return s.print(r)
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AdoptAnnotation, r.Commit)
	if err := s.Client.Patch(ctx, gs, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return err
	}
	if wait <= 0 {
		r.Message = "accepted: what exists becomes what " + r.Commit + " says"
		return s.print(r)
	}
	return s.awaitAccepted(ctx, gs, wait)
}

func (s *session) awaitAccepted(ctx context.Context, gs *v1alpha1.GitSync, wait time.Duration) error {
	fmt.Fprintf(s.Progress, "accepted; waiting until gitsync %s/%s has taken the objects over\n", gs.Namespace, gs.Name)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		if err := s.Client.Get(ctx, client.ObjectKeyFromObject(gs), gs); err != nil {
			return fmt.Errorf("wait for gitsync %s: %w", gs.Name, err)
		}
		r, ready := look(gs)
		switch {
		case ready.Status == metav1.ConditionTrue:
			return s.print(r)
		case !r.Pending && ready.Status == metav1.ConditionFalse:
			if err := s.print(r); err != nil {
				return err
			}
			return cli.Answer("they are taken over, and the sync fails for another reason: %s", ready.Reason)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not done after %s: %w: see kubectl describe gitsync %s -n %s", wait, ctx.Err(), gs.Name, gs.Namespace)
		case <-ticker.C:
		}
	}
}
