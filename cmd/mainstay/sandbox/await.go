// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/process"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// awaitHeld returns when the GitSync is ready and, if its mode is Enforce,
// enforcing. The error of a timeout or of a controller that ended says what the
// GitSync's conditions and the controller's log say.
func awaitHeld(ctx context.Context, config *rest.Config, controller *process.Process, opts Options) error {
	c, err := newClient(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for began := time.Now(); ; {
		sync := &v1alpha1.GitSync{}
		err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: syncName}, sync)
		if err == nil {
			err = unmet(sync)
		}
		if err == nil {
			return nil
		}
		if time.Since(began) > patience && heldThoughNotReady(sync) {
			fmt.Fprintf(opts.Progress, "(the newest commit is not applied, the last good one is held: %v) ", err)
			return nil
		}
		if ctx.Err() == nil {
			last = err // Else it says only that the time is up.
		}
		if !controller.Running() {
			return fmt.Errorf("the controller has ended; the last lines of %s:\n%s", controllerLog(opts.Dir), controller.LogTail(15))
		}
		select {
		case <-ctx.Done():
			if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return context.Cause(ctx)
			}
			return fmt.Errorf("GitSync %s does not hold what git declares after %s: %w; the last lines of %s:\n%s",
				syncName, opts.Timeout, last, controllerLog(opts.Dir), controller.LogTail(15))
		case <-tick.C:
		}
	}
}

// patience is the time after which a GitSync that is not ready is taken for one
// that will not be.
const patience = 10 * time.Second

// heldThoughNotReady says whether an earlier commit is held while the newest
// cannot be: a sandbox whose repository is broken has to come up, so that it
// can be mended.
func heldThoughNotReady(sync *v1alpha1.GitSync) bool {
	conditions := sync.Status.Conditions
	return sync.Status.LastAppliedRevision != "" &&
		meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionEnforcing) &&
		meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionReady)
}

// unmet returns the condition that is still awaited, as an error.
func unmet(sync *v1alpha1.GitSync) error {
	if c := meta.FindStatusCondition(sync.Status.Conditions, v1alpha1.ConditionEnforcing); c != nil && c.Reason == "Suspended" {
		return nil // somebody wants it so, and it ends by itself
	}
	wanted := []string{v1alpha1.ConditionReady}
	if sync.Spec.Enforcement.Mode == v1alpha1.ModeEnforce {
		wanted = append(wanted, v1alpha1.ConditionEnforcing)
	}
	for _, name := range wanted {
		condition := meta.FindStatusCondition(sync.Status.Conditions, name)
		if condition == nil {
			return fmt.Errorf("the controller has said nothing about %s", name)
		}
		if condition.Status != metav1.ConditionTrue {
			return fmt.Errorf("%s is %s (%s): %s", name, condition.Status, condition.Reason, condition.Message)
		}
	}
	return nil
}
