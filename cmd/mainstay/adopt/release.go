// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

func (s *session) releaseNamed(ctx context.Context, name string, wait time.Duration) error {
	gs, err := s.Find(ctx, name)
	if err != nil {
		return err
	}
	return s.release(ctx, gs, wait)
}

func (s *session) releaseAll(ctx context.Context, wait time.Duration) error {
	var list v1alpha1.GitSyncList
	if err := s.Client.List(ctx, &list, client.InNamespace(s.Flags.Namespace)); err != nil {
		return err
	}
	if len(list.Items) == 0 {
		fmt.Fprintln(s.Progress, "There are no GitSyncs.")
	}
	var failed error
	for i := range list.Items {
		failed = errors.Join(failed, s.release(ctx, &list.Items[i], wait))
	}
	return failed
}

// release deletes a GitSync that lets its objects go, and waits until it is
// gone.
func (s *session) release(ctx context.Context, gs *v1alpha1.GitSync, wait time.Duration) error {
	objects := gs.Status.Objects.Declared
	if gs.DeletionTimestamp.IsZero() {
		if gs.Spec.DeletionPolicy == "Delete" {
			patch := []byte(`{"spec":{"deletionPolicy":"Orphan"}}`)
			if err := s.Client.Patch(ctx, gs, client.RawPatch(types.MergePatchType, patch)); err != nil {
				return fmt.Errorf("say that nothing is to be deleted: %w", err)
			}
		}
		if err := s.Client.Delete(ctx, gs, client.Preconditions{UID: &gs.UID}); err != nil {
			return err
		}
	}
	r := Result{Namespace: gs.Namespace, Name: gs.Name, Message: fmt.Sprintf("gitsync %s/%s lets its objects go", gs.Namespace, gs.Name)}
	if wait <= 0 {
		return s.print(r)
	}
	if err := s.awaitGone(ctx, gs, wait); err != nil {
		return err
	}
	r.Released = true
	r.Message = fmt.Sprintf("gitsync %s/%s is gone, its %d objects stay as they are", gs.Namespace, gs.Name, objects)
	return s.print(r)
}

func (s *session) awaitGone(ctx context.Context, gs *v1alpha1.GitSync, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	said := ""
	uid := gs.UID
	for {
		err := s.Client.Get(ctx, client.ObjectKeyFromObject(gs), gs)
		switch {
		case apierrors.IsNotFound(err), err == nil && gs.UID != uid:
			return nil
		case err != nil:
			return fmt.Errorf("wait for gitsync %s: %w", gs.Name, err)
		}
		if r, ready := look(gs); ready.Reason == "Deleting" && ready.Status == metav1.ConditionFalse && r.Message != said {
			said = r.Message
			fmt.Fprintln(s.Progress, said)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gitsync %s/%s is not gone after %s: %w: does Mainstay run? %s", gs.Namespace, gs.Name, wait, ctx.Err(), said)
		case <-ticker.C:
		}
	}
}
